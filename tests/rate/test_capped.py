"""Clipped ReLU, ReLU6 and QCFS. Neurons follow t * min(relu(mean of z), cap), and QCFS exactly; networks
are traced as they compute, and converted by every method.

Numbers are multiples of 1/64 and thresholds powers of two, so that float64 makes no error.
"""

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from math import floor
from typing import Any

import pytest
import torch
from helpers.methods import neuron, recipe_of, relative_error, send
from helpers.networks import images, make, spiking
from helpers.scalar_neurons import currents, gammas, initials, scalar_if, scalar_memory
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from spiking_yolo.convert.load import Converted
from spiking_yolo.convert.methods import list_methods
from spiking_yolo.graph import Activation, forward
from spiking_yolo.graph.modules import QCFS, ClippedReLU
from spiking_yolo.graph.trace import trace
from spiking_yolo.models.trainable import YOLOv1, build
from spiking_yolo.recipe import Msat, Neuron, Recipe

METHODS = list(list_methods())
CAPS = (0.4, 0.3, 0.25)


class Capped(nn.Module):
    """Three caps that are reached, max pooling, average pooling, a shortcut. [N, 3, 8, 8]."""

    def __init__(self, activation: Callable[[float], nn.Module]):
        super().__init__()
        self.conv1, self.act1 = nn.Conv2d(3, 6, 3, padding=1), activation(CAPS[0])
        self.pool = nn.MaxPool2d(2)
        self.conv2, self.act2 = nn.Conv2d(6, 6, 3, padding=1), activation(CAPS[1])
        self.conv3, self.act3 = nn.Conv2d(6, 6, 3, padding=1), activation(CAPS[2])
        self.mean, self.fc = nn.AvgPool2d(2), nn.Linear(24, 5)
        for conv in (self.conv2, self.conv3):
            conv.weight.data *= 4

    def forward(self, x: Tensor) -> Tensor:
        y = self.pool(self.act1(self.conv1(x)))
        y = self.act3(self.conv3(self.act2(self.conv2(y))) + y)
        return self.fc(self.mean(y).flatten(1))


@cache
def converted(method: str, activation: Any = ClippedReLU, **settings: Any) -> Converted:
    """Calibrated on images(2), in few timesteps."""
    changes = {"calibration.T": 8}
    changes |= {k.replace("__", "."): v for k, v in settings.items()}
    return spiking(make(Capped, activation=activation), images(2), recipe_of(method), changes)


@torch.no_grad()
@pytest.mark.parametrize("activation", ["clip", "qcfs"])
@pytest.mark.parametrize("name", ["resnet20", "vgg16", "yolov1"])
def test_what_is_trained_here_is_traced(name: str, activation: str):
    """With batch norm that was seen by data, and caps that are reached."""
    options = {"activation": activation, "levels": 4}

    def network() -> nn.Module:
        if name == "yolov1":
            return YOLOv1(classes=3, pool="max", **options)
        narrow = {"width": 0.1, "pool": "avg"} if name == "vgg16" else {}
        return build(name, 10, **options, **narrow)

    model, x = make(network), torch.rand(2, 3, 32, 32, dtype=torch.float64)  # type: ignore[arg-type]
    for module in model.modules():
        if isinstance(module, QCFS | ClippedReLU):
            module.theta.fill_(0.7)
    graph = trace(model, x[:1])
    levels = 4 if activation == "qcfs" else None
    cap = graph.activations[0].phi.cap
    assert {node.phi for node in graph.activations} == {Activation(cap=cap, levels=levels)}
    torch.testing.assert_close(forward(graph, x)[0], model(x), rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", METHODS)
def test_every_method_comes_close_and_no_threshold_is_above_the_cap(name: str):
    """As in test_method_all, on images that it was not calibrated on; the second time with
    thresholds that want to.
    """
    x, network = images(2, seed=7), converted(name)
    errors = [
        relative_error(s.outputs, make(Capped, activation=ClippedReLU)(x))
        for s in network.network().run(x, 64, [1]).snapshots.values()
    ]
    assert errors[1] < (0.4 if name == "spike-norm" else 0.1), errors
    # Complete after one step.
    assert errors[1] < errors[0] or network.recipe.complete, errors
    for one in (network, converted(name, threshold__scale=10_000.0)):
        for node, cap in zip(one.graph.activations, CAPS, strict=True):
            theta = one.neurons[node.name]["theta"]
            assert (theta <= torch.tensor(cap)).all()
            assert one is network or (theta == torch.tensor(cap)).all()


thetas = st.sampled_from([Fraction(1, 4), Fraction(1), Fraction(2)])
caps = st.integers(1, 300).map(lambda n: Fraction(n, 64))
HALF = Fraction(1, 2)


def capped(settings: Neuron, theta: Any, cap: Any, **msat: Any) -> Any:
    recipe = Recipe("test", neuron=settings, msat=Msat(**msat))
    return neuron(recipe, theta, cap=float(cap))


@given(currents, thetas, gammas, initials, caps)
def test_integrate_and_fire(zs, theta, gamma, initial, cap):
    """Also where the bound is left out because the neuron saturates by itself."""
    tested = capped(Neuron(gamma=gamma, initial=float(initial)), theta, cap)
    assert send(tested, zs) == [n for n, _ in scalar_if(zs, theta, gamma, initial, cap=cap)]


@given(currents, thetas, gammas, initials, caps)
def test_sigma_delta(zs: list, theta: Fraction, gamma: int, initial: Fraction, cap: Fraction):
    tested = capped(Neuron("sigma-delta", gamma=gamma, initial=float(initial)), theta, cap)
    assert send(tested, zs) == [n for n, _ in scalar_memory(zs, theta, gamma, initial, 0, cap)]


KINDS = {
    "if": (Neuron(), {}),
    "if, half": (Neuron(initial=0.5), {}),
    "if, shift": (Neuron(shift=64), {}),
    "burst": (Neuron(gamma=8), {}),
    "ibt": (Neuron("ibt"), {}),
    "switches": (Neuron(events="switches"), {}),
    "msat": (Neuron("msat", gamma=8), {"tau_rd": 0}),
}


@given(
    st.sampled_from([*KINDS]),
    st.lists(st.floats(-5, 5), min_size=1, max_size=30),
    st.floats(0.1, 3),
    st.floats(0.1, 3),
)
def test_no_neuron_sends_more_than_the_cap_allows(kind: str, zs: list, theta: float, cap: float):
    """Whatever comes in, and with thresholds that no conversion would give: half a spike above cap
    * t at most.
    """
    chosen, msat = KINDS[kind]
    tested, total = capped(chosen, theta, cap, **msat), 0.0
    for t, z in enumerate(zs, 1):
        total += send(tested, [z])[0] * theta
        largest = max(getattr(tested, "threshold", tested.theta).max().item(), theta)
        assert total <= cap * t + largest / 2 + 1e-9


@given(
    st.integers(-400, 2000),
    st.sampled_from([1, 2, 4, 8, 16]),
    st.sampled_from([Fraction(1, 2), Fraction(3), Fraction(8)]),
)
def test_qcfs_is_exact_after_as_many_steps_as_levels(n: int, levels: int, theta: Fraction):
    """Bu 2022: threshold theta, U(0) = theta / 2, T = L: the rate is clip(floor(z L / theta + 1/2)
    / L, 0, 1) theta.
    """
    # Not on the edge between two levels.
    z = theta * n / 1000 + Fraction(1, 4096)
    tested = capped(Neuron(initial=0.5), theta, theta)
    rate = int(sum(send(tested, [z] * levels))) * theta / levels
    level = min(max(floor(z * levels / theta + HALF), 0), levels)
    assert rate == Fraction(level, levels) * theta
