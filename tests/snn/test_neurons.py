"""Neurons against scalar second implementations in exact fractions, and their invariants.

Inputs are multiples of 1/64, thresholds of 1/8 and slopes are powers of two, so that float64 makes
no error.
"""

from fractions import Fraction
from functools import partial
from typing import Any

import pytest
import torch
from helpers.methods import neuron
from helpers.scalar_neurons import (
    currents,
    gammas,
    initials,
    phi,
    scalar_ibt,
    scalar_if,
    scalar_memory,
    slopes,
    thetas,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from spiking_yolo.convert.thresholds import check_activations
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Activation, Graph, Node
from spiking_yolo.recipe import Neuron, Recipe
from spiking_yolo.snn.layout import per_channel
from spiking_yolo.snn.neurons import build_neurons
from spiking_yolo.snn.neurons.integrate_and_fire import ImbalancedThreshold, IntegrateAndFire, room
from spiking_yolo.snn.neurons.layer import NeuronLayer, register
from spiking_yolo.snn.neurons.on_off import OnOff
from spiking_yolo.snn.neurons.sigma_delta import SigmaDelta, multi_threshold_spike


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


@settings(deadline=None)
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


@settings(deadline=None)
@given(currents, thetas, gammas, initials, slopes)
def test_imbalanced_threshold(
    zs: list, theta: Fraction, gamma: int, initial: Fraction, slope: Fraction
):
    tested = layer(Neuron("ibt", gamma=gamma, initial=float(initial)), theta, slope)
    assert isinstance(tested, ImbalancedThreshold)
    steps = drive(tested, zs)
    assert steps == list(scalar_ibt(zs, theta, gamma, initial, slope))
    assert tested.count.item() == sum(abs(n) for n, _ in steps)
    subtracted = sum(int(n) * theta / (1 if n > 0 else slope) for n, _ in steps)
    assert sum(zs) + initial * theta - Fraction(steps[-1][1]) == subtracted


@settings(deadline=None)
@given(currents, thetas, gammas, initials, slopes | st.just(Fraction(0)))
def test_signed_memory(zs: list, theta: Fraction, gamma: int, initial: Fraction, slope: Fraction):
    tested = layer(Neuron("sigma-delta", gamma=gamma, initial=float(initial)), theta, slope)
    assert isinstance(tested, SigmaDelta)
    steps = drive(tested, zs)
    assert steps == list(scalar_memory(zs, theta, gamma, initial, slope))
    assert tested.count.item() == sum(abs(n) for n, _ in steps)


@settings(deadline=None)
@given(
    currents,
    thetas,
    gammas,
    initials,
    slopes,
    st.sampled_from([Fraction(1, 2), Fraction(1), Fraction(4)]),
)
def test_on_off_pair(
    zs: list, theta: Fraction, gamma: int, initial: Fraction, slope: Fraction, ratio: Fraction
):
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


@settings(deadline=None)
@given(st.data(), thetas, gammas, slopes | st.just(Fraction(0)))
def test_signed_memory_follows_phi_within_half_a_threshold(
    data: Any, theta: Fraction, gamma: int, slope: Fraction
):
    limit = int(gamma * theta * 64)
    whole = data.draw(st.lists(st.integers(-limit, limit), min_size=1, max_size=30))
    zs = [Fraction(n, 64) for n in whole]
    sent = spikes(layer(Neuron("sigma-delta", gamma=gamma, initial=0.5), theta, slope), zs)
    for t in range(1, len(zs) + 1):
        due = phi(sum(zs[:t], Fraction(0)), slope)
        assert abs(sum(map(int, sent[:t])) * theta - due) <= theta / 2


@settings(deadline=None)
@given(st.data(), thetas, gammas)
def test_constant_input_is_sent_within_a_threshold(data: Any, theta: Fraction, gamma: int):
    z = Fraction(data.draw(st.integers(0, int(gamma * theta * 64))), 64)
    sent = spikes(layer(Neuron(gamma=gamma), theta), [z] * 20)
    for t in range(1, 21):
        assert 0 <= t * z - sum(map(int, sent[:t])) * theta < theta


def test_by_hand():
    """theta 1. IF: U = 5/8, 10/8 - 1, 7/8, 12/8 - 1. IBT with alpha 1/2 fires -1 at U <= -2. Memory
    takes back.
    """
    signed = partial(Neuron, "sigma-delta", initial=0.5)
    table: list[tuple[Neuron, float, list[float], list[float]]] = [
        (Neuron(), 0, [0.625] * 4, [0, 1, 0, 1]),
        (Neuron(reset="zero"), 0, [0.625] * 4, [0, 1, 0, 1]),
        (Neuron(initial=0.5), 0, [0.625] * 4, [1, 0, 1, 1]),
        (Neuron("ibt"), 0.5, [-0.75] * 4, [0, 0, -1, 0]),
        (signed(gamma=4), 0, [3, -2, -4, 4], [3, -2, -1, 1]),
        (signed(gamma=2), 0, [5, 0, 0, 0], [2, 2, 1, 0]),
    ]
    for chosen, slope, zs, expected in table:
        assert spikes(layer(chosen, 1, slope), zs) == expected
    assert drive(layer(Neuron(reset="zero"), 1), [0.625] * 2)[1] == (1, 0.0)
    # A shift of 4 adds an eighth of theta in each step.
    assert drive(layer(Neuron(shift=4), 2), [1.5, 0.5, 0]) == [(0, 1.75), (1, 0.5), (0, 0.75)]


@settings(deadline=None)
@given(st.integers(-64, 64), thetas, initials, slopes, st.integers(1, 40), st.booleans())
def test_a_constant_current_is_sent_as_the_grid_of_rates_says(
    n: int, theta: Fraction, initial: Fraction, slope: Fraction, T: int, shifted: bool
):
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


def test_one_of_eight_powers_of_two():
    """The largest one of which three quarters are due, or that a negative spike may take back."""
    due = [1.5, 0.75, 0.74, 0.375, 0.75 / 128, 0.005, 0, -0.2, -3, -3]
    least = [9, 0.25, 9, 9, 9, 9, 9, 9, 9, 0.3]
    sent = [1, 1, 0.5, 0.5, 1 / 128, 0, 0, -0.25, -1, -0.25]
    found = multi_threshold_spike(torch.tensor(due).double(), torch.tensor(least).double())
    assert found.tolist() == sent
    assert multi_threshold_spike(torch.tensor([-3.0]), None).item() == -1
    # t-th parts of 1 of 1.6, 1 of 2 x 0.6, 1/4 of 3 x 0.1; at last -1 of 4 x -19/12.
    tested = layer(Neuron("dcgs"), 1)
    assert spikes(tested, [1.6, 0, 0, -2]) == pytest.approx([1, 1 / 2, 1 / 12, -1 / 4])
    assert tested.count.item() == 4
    # Only with a slope may it send what it has not sent before.
    assert spikes(layer(Neuron("dcgs"), 1, 0.5), [-2]) == [-1] and spikes(tested, [0]) == [-0.2]
    assert spikes(layer(Neuron("dcgs"), 1), [-2]) == [0]


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
