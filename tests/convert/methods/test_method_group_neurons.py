"""Group neurons: one neuron with bursts, against its explicit members."""

from typing import Any

import pytest
import torch
from helpers.methods import method, neuron, record, send
from helpers.networks import Pooled, images
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.convert.methods import get_recipe

RECIPE = get_recipe("group-neurons")
MEMBERS = RECIPE.neuron.gamma


def group(zs: list[float], theta: float) -> tuple[list[int], bool]:
    """What a group of IF neurons with thresholds theta / m, ..., theta fires in each step, and
    whether a potential came so near to a threshold that rounding may decide.
    """
    unit = theta / MEMBERS
    potentials = [unit / 2] * MEMBERS
    fired, close = [], False
    for z in zs:
        potentials = [v + z for v in potentials]
        thresholds = [unit * (k + 1) for k in range(MEMBERS)]
        spikes = [v >= own for v, own in zip(potentials, thresholds, strict=True)]
        close |= any(abs(potentials[0] - own) < 1e-9 for own in thresholds)
        potentials = [v - sum(spikes) * unit for v in potentials]
        fired.append(sum(spikes))
    return fired, close


@given(st.lists(st.floats(-2, 6), min_size=1, max_size=12), st.floats(0.2, 5))
def test_a_group_is_its_members(zs: list[float], theta: float):
    fired, close = group(zs, theta)
    if not close:
        layer = neuron(RECIPE, theta=theta / MEMBERS)
        assert send(layer, zs) == fired
        assert layer.counts.spikes.item() == sum(fired)


@given(
    st.lists(st.floats(-4, 4), min_size=1, max_size=12),
    st.floats(0.2, 5),
    st.floats(0.2, 5),
    st.floats(0.05, 0.9),
)
def test_leaky_relu_has_two_groups(zs: list[float], theta: float, theta_off: float, slope: float):
    on, close = group(zs, theta)
    off, close_off = group([-z for z in zs], theta_off)
    if not (close or close_off):
        layer = neuron(RECIPE, theta / MEMBERS, slope, theta_off / MEMBERS)
        expected = [a - slope * theta_off / theta * b for a, b in zip(on, off, strict=True)]
        assert send(layer, zs) == pytest.approx(expected)
        assert layer.counts.spikes.item() == sum(on) + sum(off)


def test_a_layer_is_its_groups():
    _, converted = method(Pooled, "group-neurons")
    network, currents = converted.network(observed=True), []
    first = next(iter(network.neurons))

    def watch(name: str, t: int, layer: Any, current: Any) -> None:
        if name == first:
            currents.append(current[0, :, 3, 4].tolist())

    x = images(1, seed=7)
    sent = record(network, x, 8)[first][:, 0, :, 3, 4]
    network.run(x, 8, probes=[watch])
    thetas = (converted.neurons[first]["theta"] * MEMBERS).tolist()
    for c, theta in enumerate(thetas):
        fired, close = group([step[c] for step in currents], theta)
        assert close or sent[:, c].tolist() == fired
    assert sent.any() and len({round(theta, 9) for theta in thetas}) == 1
    assert torch.equal(sent, sent.round())
