"""Neurons against scalar second implementations in exact fractions, and their invariants.

Inputs are multiples of 1/64, thresholds of 1/8 and slopes are powers of two, so that float64 makes
no error.
"""

from fractions import Fraction
from typing import Any

import pytest
import torch
from helpers.methods import neuron
from helpers.scalar_neurons import (
    currents,
    gammas,
    initials,
    scalar_ibt,
    scalar_if,
    scalar_memory,
    slopes,
    thetas,
)
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.convert.thresholds import check_activations
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Activation, Graph, Node
from spiking_yolo.rate.neurons import build_neurons
from spiking_yolo.rate.neurons.integrate_and_fire import ImbalancedThreshold, IntegrateAndFire, room
from spiking_yolo.rate.neurons.layer import NeuronLayer, register
from spiking_yolo.rate.neurons.on_off import OnOff
from spiking_yolo.rate.neurons.sigma_delta import SigmaDelta
from spiking_yolo.recipe import Neuron, Recipe
from spiking_yolo.spikes.layout import per_channel


def layer(settings: Neuron, theta: Any, slope: Any = 0, theta_off: Any = 1) -> NeuronLayer:
    return neuron(Recipe("test", neuron=settings), theta, slope, theta_off)


def spikes(layer: NeuronLayer, zs: list) -> list[float]:
    return [n for n, _ in drive(layer, zs)]


def drive(layer: NeuronLayer, zs: list) -> list[tuple[float, float]]:
    """Spikes and potential after every step of a single neuron."""
    steps = []
    for z in zs:
        n = layer(torch.tensor([[float(z)]], dtype=torch.float64)).item()
        steps.append((n, layer.potential.item() if hasattr(layer, "potential") else 0.0))
    return steps


@given(currents, thetas, gammas, initials, st.booleans())
def test_integrate_and_fire(zs: list, theta: Fraction, gamma: int, initial: Fraction, zero: bool):
    reset = "zero" if zero else "subtract"
    tested = layer(Neuron(gamma=gamma, initial=float(initial), reset=reset), theta)
    assert isinstance(tested, IntegrateAndFire)
    steps = drive(tested, zs)
    assert steps == list(scalar_if(zs, theta, gamma, initial, zero))
    assert tested.count.item() == sum(n for n, _ in steps)
    if not zero:  # conservation
        sent = theta * sum(int(n) for n, _ in steps)
        assert sum(zs) + initial * theta - Fraction(steps[-1][1]) == sent


@given(currents, thetas, gammas, initials, slopes)
def test_imbalanced_threshold(zs, theta, gamma, initial, slope):
    tested = layer(Neuron("ibt", gamma=gamma, initial=float(initial)), theta, slope)
    assert isinstance(tested, ImbalancedThreshold)
    steps = drive(tested, zs)
    assert steps == list(scalar_ibt(zs, theta, gamma, initial, slope))
    assert tested.count.item() == sum(abs(n) for n, _ in steps)
    subtracted = sum(int(n) * theta / (1 if n > 0 else slope) for n, _ in steps)
    assert sum(zs) + initial * theta - Fraction(steps[-1][1]) == subtracted


@given(currents, thetas, gammas, initials, slopes | st.just(Fraction(0)))
def test_signed_memory(zs: list, theta: Fraction, gamma: int, initial: Fraction, slope: Fraction):
    tested = layer(Neuron("sigma-delta", gamma=gamma, initial=float(initial)), theta, slope)
    assert isinstance(tested, SigmaDelta)
    steps = drive(tested, zs)
    assert steps == list(scalar_memory(zs, theta, gamma, initial, slope))
    assert tested.count.item() == sum(abs(n) for n, _ in steps)


@given(
    currents,
    thetas,
    gammas,
    initials,
    slopes,
    st.sampled_from([Fraction(1, 2), Fraction(1), Fraction(4)]),
)
def test_on_off_pair(zs, theta, gamma, initial, slope, ratio):
    """Two IF neurons, one fed -z. The value sent is n_on * theta_on - slope * n_off * theta_off;
    both count.
    """
    tested = layer(Neuron(gamma=gamma, initial=float(initial)), theta, slope, theta * ratio)
    assert isinstance(tested, OnOff) and tested.neurons_per_site == 2
    sent = spikes(tested, zs)
    on = [n for n, _ in scalar_if(zs, theta, gamma, initial)]
    off = [n for n, _ in scalar_if([-z for z in zs], theta * ratio, gamma, initial)]
    assert sent == [a - slope * b * ratio for a, b in zip(on, off, strict=True)]
    assert tested.count.item() == sum(on) + sum(off)


@given(st.integers(-64, 64), thetas, initials, slopes, st.integers(1, 40), st.booleans())
def test_a_constant_current_is_sent_as_the_grid_of_rates_says(n, theta, initial, slope, T, shifted):
    """What cannot go wrong: at most a threshold in each step, and no burst."""
    z = theta * Fraction(n, 64)
    of_if = Neuron(initial=float(initial)), 0, z
    of_ibt = Neuron("ibt", initial=float(initial)), slope, z / slope if n < 0 else z
    if shifted:
        of_if = Neuron(shift=16), 0, z - theta / 32
    for chosen, alpha, current in (of_if, of_ibt):
        tested = layer(chosen, theta, alpha)
        sent = sum(spikes(tested, [current] * T))
        mean = tested.rate_grid(torch.tensor([[float(current)]]).double(), [tested.theta], T)
        assert mean.item() * T == pytest.approx(sent * float(theta)), chosen.kind


def test_what_is_sent_stays_below_the_cap():
    """Of 1.5, 4.5 may have been sent in three steps and 2 have been: 2.5, or five spikes worth a
    half each.
    """
    half = torch.tensor(0.5)
    assert room(torch.tensor(1.5), 3, torch.tensor(2.0), half) == 5
    tested = neuron(Recipe("test", neuron=Neuron(gamma=2)), 3, cap=6)
    assert drive(tested, [9, 9, 0]) == [(2, 3), (2, 6), (2, 0)]


def test_memory_with_a_smaller_spike_and_with_silence():
    """1.375 is rounded to 1, then to 1.5 by halves, which is its nearest quarter too; counted in
    spikes.
    """
    tested = layer(Neuron("sigma-delta", gamma=4, initial=0.5), 1)
    assert tested(torch.tensor([[1.375]], dtype=torch.float64)).item() == 1
    nothing = torch.zeros(1, 1, dtype=torch.float64)
    assert tested(nothing, spike_weight=0.5).item() == 0.5
    assert tested(nothing, spike_weight=0.25).item() == 0
    assert tested(torch.tensor([[-1.0]], dtype=torch.float64), spike_weight=0.25).item() == -1
    assert tested.count.item() == 1 + 1 + 4


def test_thresholds_are_per_channel():
    params = {"theta": torch.tensor([1.0, 2.0]), "initial": torch.tensor(0.0)}
    tested = build_neurons(params, Recipe("test", neuron=Neuron(gamma=8)), Activation())
    tested.reset()
    spikes = tested(torch.full((1, 2, 1, 2), 4.0))
    assert spikes.tolist() == [[[[4.0, 4.0]], [[2.0, 2.0]]]]
    assert per_channel(torch.tensor([1.0, 2.0]), torch.zeros(3, 2, 4, 4)).shape == (2, 1, 1)


def test_a_kind_follows_what_it_says_and_networks_with_more_are_refused():
    """A file of one's own: importing it makes neuron.kind=plain possible."""

    @register("plain")
    class Plain(IntegrateAndFire):
        pass

    recipe = Recipe("test").with_settings({"neuron.kind": "plain"})
    params = {"theta": torch.ones(1), "initial": torch.tensor(0.0)}
    assert isinstance(build_neurons(params, recipe, Activation()), Plain)
    for activation, what in (
        (Activation(0.1), "slope"),
        (Activation(cap=6.0), "cap"),
        (Activation(silu=True), "silu"),
        (Activation(mish=True), "mish"),
    ):
        act = Node("act", "activation", ("x",), vars(activation))
        with pytest.raises(UserError, match=f"node 'act'.*{what}"):
            check_activations(Graph((Node("x", "input"), act), ("act",), {}), recipe)
    with pytest.raises(UserError, match=r"neuron\.reset=zero needs"):
        recipe.with_settings({"neuron.reset": "zero"})
