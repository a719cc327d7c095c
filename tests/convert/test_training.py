"""Training of the neurons: gradients against finite differences and plain operations, and what the
descent gains.
"""

import math

import pytest
import torch
from torch import Tensor

from spiking_yolo.convert.learn import straight_through as module
from spiking_yolo.convert.learn import training
from spiking_yolo.convert.learn.straight_through import fire_with_gradients, smooth_digits
from spiking_yolo.decode.boxes import decode
from spiking_yolo.graph import Activation
from spiking_yolo.integer.library import library
from spiking_yolo.models.spec import HeadSpec, Spec
from spiking_yolo.spikes.counting import count_digits, digit_saving_round

CLASSES = Spec("classify", tuple("abcde"), 8, 8)


def test_smooth_digits_follow_the_digits():
    """On average over the numbers between powers of two, to a quarter of a digit."""
    assert smooth_digits(torch.zeros(1)).item() == 0
    for k in range(2, 12):
        n = torch.arange(2.0**k, 2.0 ** (k + 1))
        assert smooth_digits(n).mean().item() == pytest.approx(
            count_digits(n).mean().item(), abs=0.25
        )


def test_divergence_by_hand():
    """Of classes: log 2 where a sure class became one of two equal ones. Of boxes: Bernoulli, per
    score.
    """
    sure, unsure = torch.tensor([[50.0, 0, -50, -50, -50]]), torch.tensor([[0.0, 0, -50, -50, -50]])
    assert training.class_divergence(unsure, sure).item() == pytest.approx(0.6931, abs=1e-3)
    spec = Spec("detect", ("a",), 32, 32, heads=(HeadSpec("yolov3", 1, 1, ((16, 16),)),))
    ann, snn = torch.zeros(1, 6, 1, 1), torch.zeros(1, 6, 1, 1)
    ann[0, 5], snn[0, 5] = 50.0, 0.0  # scores 1/2 * 1 and 1/2 * 1/2
    expected = 0.5 * torch.tensor(0.5 / 0.25).log() + 0.5 * torch.tensor(0.5 / 0.75).log()
    scores = [decode([x], spec)[1] for x in (snn, ann)]
    assert training.divergence(*scores).item() == pytest.approx(expected.item(), rel=1e-4)


def test_displacement_by_hand():
    """One cell, two anchors. The ANN's sure box, of 16 pixels, is twice as wide in the SNN: IoU and
    GIoU are a half. The other, of no confidence, is elsewhere, and does not count.
    """
    spec = Spec("detect", ("a",), 32, 32, heads=(HeadSpec("yolov3", 1, 2, ((16, 16), (8, 8))),))
    ann = torch.zeros(1, 12, 1, 1)
    ann[0, 4], ann[0, 10] = 50.0, -50.0
    snn = ann.clone()
    snn[0, 2], snn[0, 6] = torch.tensor(2.0).log(), 3.0
    boxes, _ = decode([snn], spec)
    ann_boxes, scores = decode([ann], spec)
    assert training.displacement(boxes, ann_boxes, scores).item() == pytest.approx(0.5, abs=1e-4)
    assert training.displacement(ann_boxes, ann_boxes, scores).item() == pytest.approx(0, abs=1e-5)


def test_answer_error_of_a_classifier_by_hand():
    outputs, expected = [torch.tensor([[1.0, 0, 0, 0, 0]])], [torch.tensor([[2.0, 0, 0, 0, 0]])]
    distance = training.mean_relative_error(outputs, expected).item()
    assert distance == pytest.approx(0.5)
    by_hand = math.log(0.5) / 4
    by_hand += math.log(training.class_divergence(outputs[0], expected[0]).item()) * 3 / 8
    assert training.answer_error(
        outputs, expected, CLASSES, training.OF_CLASSES
    ).item() == pytest.approx(by_hand, rel=1e-5)


def test_boxes_count_where_they_were_trained_by_their_overlap():
    """Logits of x equally far from the ANN's: the sigmoid of one is nearly as before, that of the
    other half of it.
    """
    ann = torch.ones(1, 6, 1, 1)
    near, far = ann.clone(), ann.clone()
    near[0, 0], far[0, 0] = 3.0, -1.0

    def gap(kind: str) -> float:
        spec = Spec("detect", ("a",), 32, 32, heads=(HeadSpec(kind, 1, 1, ((16, 16),)),))
        errors = [
            training.answer_error([y], [ann], spec, training.shares_of(spec)).item()
            for y in (far, near)
        ]
        return errors[0] - errors[1]

    assert gap("yolov3") == pytest.approx(0) and gap("yolov5") > 0.05


def test_of_an_end_to_end_head_the_surest_place_counts():
    """Two cells of equal boxes, one of score 0.9 and one of 0.1; the same distance is off in one of
    them. Weighed by the scores the error of the boxes is 9 times as large in the first, and 81
    times by their squares.
    """
    ann = torch.ones(1, 5, 1, 2)
    ann[0, 4] = torch.tensor([9.0, 1 / 9]).log()
    sure, unsure = ann.clone(), ann.clone()
    sure[0, 2, 0, 0] = unsure[0, 2, 0, 1] = 1.5

    def gap(nms: bool) -> float:
        heads = (HeadSpec("yolov8", 1, 1, bins=1),)
        spec = Spec("detect", ("a",), 32, 64, heads=heads, nms=nms)
        errors = [
            training.answer_error([y], [ann], spec, training.shares_of(spec)).item()
            for y in (sure, unsure)
        ]
        return errors[0] - errors[1]

    assert gap(True) == pytest.approx(math.log(9) / 4, rel=1e-3)
    assert gap(False) == pytest.approx(math.log(81) * 0.35, rel=1e-3)


PHIS = {
    "leaky": Activation(slope=0.1),
    "relu6": Activation(cap=6.0),
    "qcfs": Activation(cap=3.0, levels=4),
    "silu": Activation(silu=True),
    "mish": Activation(mish=True),
    "identity": Activation(slope=1.0),
    "softmax": Activation(softmax=True),
}


def plain(
    z: Tensor,
    theta: Tensor,
    initial: Tensor,
    bias: Tensor,
    rest: Tensor,
    phi: Activation,
    cost: Tensor,
    slack: float,
    before: Tensor,
    dead_zone: float,
) -> tuple[Tensor, Tensor]:
    """Rounding and digits with the gradients of what they are applied to, and of smooth digits."""
    theta, initial, bias, rest = (p[:, None, None] for p in (theta, initial, bias, rest))
    had = before * theta.detach()
    due = (phi.continuous(z + bias) - had) / theta + initial - 0.5 - rest
    fires = due.abs() >= 0.5 + dead_zone
    due = due.clamp(-127 - before, 127 - before)
    n = due + (digit_saving_round(due, slack) * fires - due).detach()
    smooth = smooth_digits(due * 0.5 / (0.5 + dead_zone))
    digits = smooth + (count_digits(n.round()) - smooth).detach()
    return had + (n + rest) * theta, (digits * cost).sum((1, 2, 3))


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("name", PHIS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_operations_and_gradients(name: str, later: bool, dtype: torch.dtype):
    """In C, and in PyTorch."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    z, bias = random(3, 4, 5, 6) * 3, random(4) / 4
    z[0, 0, :2] *= 50
    if name == "softmax":
        bias = torch.zeros_like(bias)
    theta, initial, rest = random(4).abs() / 4 + 0.02, random(4).abs(), random(4).mul(4).round() / 4
    cost = random(1, 1 if name == "leaky" else 4, 5, 6).abs()
    weights = random(3, 4, 5, 6), random(3)
    before, dead_zone = torch.zeros_like(z), 0.0
    if later:
        # Most neurons are near what they have sent.
        near = PHIS[name](z + 0.3 * random(3, 4, 5, 6)) / theta[:, None, None]
        before, dead_zone = near.round().clamp(-127, 127), 0.7
    inputs = [x.requires_grad_() for x in (z, theta, initial, bias, rest)]
    neurons = {"theta": theta, "initial": initial, "bias": bias, "rest": rest}
    results = []
    for value, spent in (
        fire_with_gradients(z, neurons, PHIS[name], cost, 0.15, before if later else None, 0.7),
        plain(z, theta, initial, bias, rest, PHIS[name], cost, 0.15, before, dead_zone),
    ):
        total = (value * weights[0]).sum() + (spent * weights[1]).sum()
        gradients = torch.autograd.grad(total, inputs)
        if name == "softmax":
            gradients = [g for g, x in zip(gradients, inputs, strict=True) if x is not bias]
        results.append([value, spent, *gradients])
    tolerance = 1e-4 if dtype == torch.float32 else 1e-7
    for own, other in zip(*results, strict=True):
        torch.testing.assert_close(own, other, rtol=tolerance, atol=tolerance)


@pytest.mark.skipif(library() is None, reason="not built")
@pytest.mark.parametrize("channels", [3, 40])
def test_neurons_that_send_all_they_can(channels: int, monkeypatch: pytest.MonkeyPatch):
    """In C, of whole vectors and of others, against PyTorch."""
    generator = torch.Generator().manual_seed(0)
    z, *own = torch.randn(4, 2, channels, 50, generator=generator) * 200
    neurons = {"theta": torch.full((channels,), 0.7), "initial": torch.tensor(0.5)}
    before = own[0].round().clamp(-127, 127)
    results = []
    for _ in range(2):
        x = z.clone().requires_grad_()
        value, spent = fire_with_gradients(
            x, neurons, Activation(silu=True), own[1][:1], 0.15, before, 0.25
        )
        gradient = torch.autograd.grad((value * own[2]).sum() + spent.sum(), x)[0]
        results.append((value, spent, gradient))
        monkeypatch.setattr(module, "library", lambda: None)
    for c, pytorch in zip(*results, strict=True):
        torch.testing.assert_close(c, pytorch, rtol=1e-4, atol=1e-3)
    sent = results[0][0].detach() / 0.7
    assert sent.max() == pytest.approx(127) and sent.min() >= -127


def test_a_later_frame_by_hand():
    """4 thetas of 1/2 were sent. 2.3 is .6 thetas more, which is kept back; 2.5 is one."""
    neurons = {"theta": torch.tensor([0.5]), "initial": torch.tensor(0.5)}
    z, before = torch.tensor([[2.3], [2.5]]), torch.full((2, 1), 4.0)
    value, spent = fire_with_gradients(
        z, neurons, Activation(slope=1.0), torch.ones(1, 1), 0.0, before, 0.25
    )
    assert value.tolist() == [[2.0], [2.5]] and spent.tolist() == [0.0, 1.0]
