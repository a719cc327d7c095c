import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from spiking_yolo.errors import UserError
from spiking_yolo.graph.modules import QCFS, ClippedReLU, activation


def test_forward_by_hand():
    """theta 2, 4 levels: steps of 0.5, rounded to the nearest, clipped to [0, 2]."""
    x = torch.tensor([-1.0, 0.2, 0.3, 0.74, 0.76, 1.9, 5.0])
    expected = torch.tensor([0.0, 0.0, 0.5, 0.5, 1.0, 2.0, 2.0])
    assert torch.equal(QCFS(levels=4, theta=2.0)(x), expected)


def test_backward_by_hand():
    """Straight through: inside the range d/dx = 1; d/dtheta = q - x / theta there, 1 above it, 0
    below.
    """
    layer = QCFS(levels=4, theta=2.0)
    x = torch.tensor([-1.0, 0.3, 5.0], requires_grad=True)
    for i, (dx, dtheta) in enumerate([(0.0, 0.0), (1.0, 0.25 - 0.15), (0.0, 1.0)]):
        x.grad = layer.theta.grad = None
        layer(x)[i].backward()
        assert x.grad is not None and layer.theta.grad is not None
        assert x.grad[i].item() == pytest.approx(dx)
        assert layer.theta.grad.item() == pytest.approx(dtheta, abs=1e-6)


@given(st.floats(-20, 20), st.integers(1, 32), st.floats(0.1, 10))
def test_is_within_half_a_step_of_the_clipped_relu(x: float, levels: int, theta: float):
    quantised = QCFS(levels, theta)(torch.tensor(x)).item()
    clipped = ClippedReLU(theta)(torch.tensor(x)).item()
    assert abs(quantised - clipped) <= theta / levels / 2 + 1e-4
    assert quantised * levels / theta == pytest.approx(round(quantised * levels / theta), abs=1e-3)


def test_clipped_relu_learns_its_cap_from_clipped_inputs_only():
    layer = ClippedReLU(1.0)
    layer(torch.tensor([-1.0, 0.5, 2.0, 3.0])).sum().backward()
    assert layer.theta.grad is not None and layer.theta.grad.item() == 2


def test_activation_by_name():
    assert isinstance(activation("relu"), nn.ReLU)
    assert activation("leaky")(torch.tensor(-1.0)).item() == pytest.approx(-0.1)
    assert activation("qcfs", 5).levels == 5
    assert activation("relu") is not activation("relu")
    with pytest.raises(UserError, match="choose one of relu"):
        activation("gelu")
    with pytest.raises(UserError, match="level"):
        activation("qcfs", 0)
