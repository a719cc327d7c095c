"""Training of the neurons: gradients against finite differences, and what the descent gains."""

import math

import pytest
import torch
from helpers.networks import TinyLeaky, images, make, spiking

from spiking_yolo.convert import training
from spiking_yolo.convert.differentiable import CompleteNetwork
from spiking_yolo.convert.straight_through import smooth_digits
from spiking_yolo.convert.weight_bits import rounded_weights
from spiking_yolo.decode.boxes import decode
from spiking_yolo.models.spec import HeadSpec, Spec
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.counting import count_digits

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


def test_kernels_are_on_the_grid_of_eight_bits_and_pass_gradients():
    """In the network that is trained; each has the scale of its output channel."""
    converted = spiking(make(TinyLeaky), images(8), Recipe("tested"))
    kernels = training.TrainableKernels(converted.graph, converted.graph.tensors)
    network = CompleteNetwork(converted.graph, (8, 8))
    thetas = {n.name: converted.neurons[n.name]["theta"] for n in converted.graph.activations}
    with torch.no_grad():
        for change in kernels.changes.values():
            change.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
    trained = network.with_tensors(kernels.values())
    tensors = trained._rounded(converted.neurons).tensors
    names = list(kernels.changes)
    own = {name: tensors[name].detach() for name in names}
    again = rounded_weights(converted.graph, own, 8, thetas)
    for name in names:
        torch.testing.assert_close(own[name], again[name])
    # d sum(w) / d change is the scale of its output channel: rounding is passed through.
    torch.stack([tensors[name].sum() for name in names]).sum().backward()
    for name in names:
        rms = converted.graph.tensors[name].flatten(1).square().mean(1).sqrt()
        gradient = kernels.changes[name].grad
        assert gradient is not None
        torch.testing.assert_close(gradient.flatten(1).amax(1), rms)
        torch.testing.assert_close(gradient.flatten(1).amin(1), rms)
