"""Layers of neurons as functions with gradients, against the same in plain operations of PyTorch."""

import pytest
import torch
from torch import Tensor

from spiking_yolo.convert import straight_through as module
from spiking_yolo.convert.straight_through import fire, smooth_digits
from spiking_yolo.graph import Activation
from spiking_yolo.integer.library import library
from spiking_yolo.snn.counting import count_digits, digit_saving_round

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
    hysteresis: float,
) -> tuple[Tensor, Tensor]:
    """Rounding and digits with the gradients of what they are applied to, and of smooth digits."""
    theta, initial, bias, rest = (p[:, None, None] for p in (theta, initial, bias, rest))
    had = before * theta.detach()
    due = (phi.continuous(z + bias) - had) / theta + initial - 0.5 - rest
    fires = due.abs() >= 0.5 + hysteresis
    due = due.clamp(-127 - before, 127 - before)
    n = due + (digit_saving_round(due, slack) * fires - due).detach()
    smooth = smooth_digits(due * 0.5 / (0.5 + hysteresis))
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
    before, hysteresis = torch.zeros_like(z), 0.0
    if later:
        # Most neurons are near what they have sent.
        near = PHIS[name](z + 0.3 * random(3, 4, 5, 6)) / theta[:, None, None]
        before, hysteresis = near.round().clamp(-127, 127), 0.7
    inputs = [x.requires_grad_() for x in (z, theta, initial, bias, rest)]
    neurons = {"theta": theta, "initial": initial, "bias": bias, "rest": rest}
    results = []
    for value, spent in (
        fire(z, neurons, PHIS[name], cost, 0.15, before if later else None, 0.7),
        plain(z, theta, initial, bias, rest, PHIS[name], cost, 0.15, before, hysteresis),
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
        value, spent = fire(x, neurons, Activation(silu=True), own[1][:1], 0.15, before, 0.25)
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
    value, spent = fire(z, neurons, Activation(slope=1.0), torch.ones(1, 1), 0.0, before, 0.25)
    assert value.tolist() == [[2.0], [2.5]] and spent.tolist() == [0.0, 1.0]
