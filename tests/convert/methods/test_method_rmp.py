"""RMP: balanced thresholds times beta, and a residual potential that stays."""

from fractions import Fraction
from typing import Any

import pytest
import torch
from helpers.methods import method, neuron, points, record, send
from helpers.networks import Pooled, TinyLeaky, images, spiking
from helpers.scalar_neurons import currents, scalar_if, thetas
from hypothesis import given, settings

from spiking_yolo.convert.methods import get_recipe

RMP = get_recipe("rmp")


def test_residual_by_hand():
    """z = 3/4, theta = 1: after its spikes U holds 2/4, 1/4, 0: three spikes in four steps, where a
    reset has two.
    """
    layer, residual = neuron(RMP), []
    for z in [0.75] * 4:
        send(layer, [z])
        residual.append(layer.potential.item())
    assert residual == [0.75, 0.5, 0.25, 0] and layer.count.item() == 3
    assert sum(send(neuron(get_recipe("spike-norm")), [0.75] * 4)) == 2


@settings(deadline=None)
@given(currents, thetas)
def test_residual_against_a_second_implementation(zs: list[Fraction], theta: Fraction):
    layer = neuron(RMP, theta)
    for z, (n, residual) in zip(zs, scalar_if(zs, theta, 1, Fraction(0)), strict=True):
        assert send(layer, [z]) == [n]
        assert layer.potential.item() == residual


def test_thresholds_by_hand():
    """Layer 1: currents 1/2 and 1, theta = 1/2 * 1: both fire in every step. Layer 2 receives (3 +
    2) * 1/2 = 5/2.
    """
    graph = points([([[0.5], [1.0]], [0.0, 0.0]), ([[3.0, 2.0]], [0.0]), ([[1.0]], [0.0])])
    x = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    converted = spiking(graph, x, RMP, {"threshold.scale": 0.5})
    assert converted.neurons["act1"]["theta"].tolist() == [0.5, 0.5]
    assert converted.neurons["act2"]["theta"].tolist() == [1.25]


@pytest.mark.parametrize("cls", [Pooled, TinyLeaky])
def test_beta_lowers_the_balanced_threshold(cls: Any):
    """The first layer's exactly; later layers receive other spikes then, but of about the same
    size.
    """
    _, ours = method(cls, "rmp")
    _, whole = method(cls, "rmp", {"threshold.scale": 1.0})
    first, *later = ours.neurons
    for key in {"theta", "theta_off"} & set(ours.neurons[first]):
        torch.testing.assert_close(ours.neurons[first][key], 0.8 * whole.neurons[first][key])
        for name in later:
            assert (ours.neurons[name][key] < whole.neurons[name][key]).all()


def test_the_residual_makes_up_for_what_a_reset_loses():
    """Same thresholds, no beta: with subtraction the first layer's rates approach the ANN's, with
    zero they do not.
    """
    x, errors = images(2), {}
    for reset in ("subtract", "zero"):
        model, converted = method(Pooled, "rmp", {"threshold.scale": 1.0, "neuron.reset": reset})
        expected = torch.relu(model.body[0](x))  # type: ignore[index, operator]
        name = next(iter(converted.neurons))
        rate = (
            record(converted.network(observed=True), x, 256)[name].mean(0)
            * converted.neurons[name]["theta"][:, None, None]
        )
        errors[reset] = ((rate - expected).norm() / expected.norm()).item()
    assert errors["subtract"] < 0.01 and errors["zero"] > 0.05
