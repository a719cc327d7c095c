"""Methods with a rule of their own, against numbers worked out by hand and plain loops."""

from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from helpers.methods import fired, method, neuron, points, record, send
from helpers.networks import TinyLeaky, spiking
from helpers.scalar_neurons import currents, thetas
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.convert.learn.statistics import Histogram
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.convert.thresholds import threshold
from spiking_yolo.spikes.counting import count_binary_digits

BURST, DCGS, LIGHT = map(get_recipe, ("burst", "dcgs", "calibration-light"))
# As published.
FEW_SPIKES = get_recipe("few-spikes").with_settings({"neuron.initial": 0.0})


def test_the_bias_of_light_calibration_is_part_of_every_current():
    """theta = 1, start at 1/2, bias 1/4: z = 1/4 fires as 1/2 does. Of a pair, slope 1/2, it turns
    its sign: z = -1/4 and bias -1/2 are -3/4, OFF fires three times in four, each worth -1/2.
    """
    assert send(neuron(LIGHT, bias=[0.25]), [0.25] * 6) == [1, 0, 1, 0, 1, 0]
    assert sum(send(neuron(LIGHT, slope=0.5, bias=[-0.5]), [-0.25] * 4)) == -1.5


def test_the_default_shares_the_percentile_among_the_spikes():
    z = torch.rand(1, 1, 40, 40, generator=torch.Generator().manual_seed(1))
    histogram = Histogram.empty(1)
    histogram.update(z)
    of_whole = BURST.with_settings({"threshold.rule": "percentile"})
    whole = threshold(histogram, 0, of_whole)
    third = threshold(histogram, 0, BURST.with_settings({"neuron.gamma": 3}))
    assert third.item() == pytest.approx(whole.item() / 3)


def test_the_shift_of_a_pair_is_the_same_in_units_of_the_ann():
    """With the opposite sign; thresholds are those without a correction."""
    _, converted = method(TinyLeaky, "calibration-advanced", {"calibration.T": 8})
    plain = method(TinyLeaky, "calibration-advanced", {"calibration.kind": "none"})[1]
    for node in converted.graph.activations:
        site = converted.neurons[node.name]
        on = (site["initial"] - 0.5) * site["theta"]
        off = (site["initial_off"] - 0.5) * site["theta_off"]
        torch.testing.assert_close(on, -off)
        assert "bias" not in site and on.abs().max() > 1e-3
        assert torch.equal(site["theta"], plain.neurons[node.name]["theta"])


def test_dcgs():
    for zs, sent in [
        # due 1.3: theta; 2 * 0.3: theta / 2; 3 * 0.05: theta / 8; 4 * 0.008333: theta / 32; then
        # too little for / 128
        ([1.3, 0, 0, 0, 0], [1, 0.5 / 2, 0.125 / 3, 0.03125 / 4, 0]),
        ([0.74], [0.5]),
        # Fires at three quarters of a threshold.
        ([0.76], [1]),
        ([0.5, -0.1, 0], [0.5, -0.25 / 2, 0.0625 / 3]),
        # Takes back what was sent, and no more.
        ([0.5, -3, 0], [0.5, -1 / 2, 0]),
        ([-2, 0], [0, 0]),
    ]:
        layer = neuron(DCGS)
        assert send(layer, zs) == pytest.approx(sent)
        assert layer.count.item() == sum(value != 0 for value in sent)


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=8), st.floats(0.3, 3))
def test_dcgs_in_the_variables_of_its_authors(zs, theta):
    """mem, exp_in and exp_out as released, for ReLU; x(t) is t times what arrives, bias aside."""
    expected, mem, exp_in, exp_out, net = [], 0.0, 0.0, 0.0, 0.0
    for t, z in enumerate(zs, 1):
        x = t * z
        mem += x + exp_in - exp_out
        # What the rate says without a spike.
        net += exp_out
        spike = 0.0
        for k in range(8):
            size = theta / 2**k
            if mem >= 0.75 * size:
                spike = size
            elif -mem >= 0.75 * size and net >= size:
                spike = -size
            if spike:
                break
            if min(abs(abs(mem) - 0.75 * size), abs(net - size)) < 1e-9:
                return  # either answer is right
        mem, net = mem - spike, net + spike
        exp_in, exp_out = exp_in + x / t, exp_out + spike / t
        expected.append(spike / t / theta)
    assert send(neuron(DCGS, theta=theta), zs) == pytest.approx(expected, abs=1e-9)


@given(st.floats(-1, 12, width=32), st.integers(1, 8), st.floats(0.25, 5, width=32))
def test_few_spikes_in_the_sub_steps_of_the_paper(x: float, K: int, alpha: float):
    """v(1) = x; in sub-step k the neuron fires if v >= alpha 2^-k, and v falls by as much."""
    v, sent, spikes = x, 0.0, 0
    for k in range(1, K + 1):
        if v >= alpha * 2.0**-k:
            v, sent, spikes = v - alpha * 2.0**-k, sent + alpha * 2.0**-k, spikes + 1
    theta = alpha / 2**K
    if min(x / theta % 1, -x / theta % 1) < 1e-3:
        return  # on the edge between two values
    n = fired(FEW_SPIKES.with_settings({"neuron.gamma": 2**K - 1}), x, theta=theta)
    assert n * theta == pytest.approx(sent)
    assert count_binary_digits(torch.tensor([n])).item() == spikes


def test_binary_digits_are_those_of_python():
    n = torch.arange(300.0)
    assert count_binary_digits(n).tolist() == [bin(k).count("1") for k in range(300)]


@given(st.floats(-0.5, 2, width=32), st.floats(0.25, 5, width=32), st.integers(1, 64))
def test_sfn_sends_what_integrate_and_fire_sends_in_T_steps(x: float, theta: float, T: int):
    """A constant current within 0..theta, where the neuron never falls behind; v(0) = theta / 2."""
    if abs((x * T / theta + 0.5) % 1 - 0.5) > 0.5 - 1e-3:
        return  # on the edge between two values
    potential, spikes = theta / 2, 0
    for _ in range(T):
        potential += x
        if potential >= theta:
            potential -= theta
            spikes += 1
    recipe = get_recipe("sfn").with_settings({"neuron.gamma": T})
    assert fired(recipe, x, theta=theta / T) == spikes


def test_balanced_thresholds_by_hand():
    """An image of ones is a spike in every step, whatever the seed: the currents, and so the
    thresholds, are known.

    Layer 1: currents 1/2 and 3/4, theta = 3/4: the first neuron fires at t = 2, 4, ..., the second
    in every step. Layer 2, weights (3, 2), bias 1/4: its largest current is (3 + 2) * 3/4 + 1/4 =
    4; the ANN's activation is 3 1/4.
    """
    graph = points([([[0.5], [0.75]], [0.0, 0.0]), ([[3.0, 2.0]], [0.25]), ([[1.0]], [0.0])])
    x = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    converted = spiking(graph, x, get_recipe("spike-norm"))
    assert converted.neurons["act1"]["theta"].tolist() == [0.75, 0.75]
    assert converted.neurons["act2"]["theta"].tolist() == [4.0]
    sent = record(converted.simulator(observed=True), x, 6)
    assert sent["act1"][:, 0, :, 0, 0].tolist() == [[0, 1], [1, 1]] * 3
    # Currents 7/4, 4 in turn: U = 7/4, 23/4 -> 0, and so on.
    assert sent["act2"].flatten().tolist() == [0, 1, 0, 1, 0, 1]


@given(currents, thetas, st.sampled_from([1, 3]))
def test_switches_of_tsc_are_changes_of_the_spike_train(
    zs: list[Fraction], theta: Fraction, gamma: int
):
    """With bursts, a switch for every unit of the change. The spikes are RMP's."""
    settings = {"neuron.gamma": gamma}
    layer = neuron(get_recipe("tsc").with_settings(settings), theta)
    sent = send(layer, zs)
    assert sent == send(neuron(get_recipe("rmp").with_settings(settings), theta), zs)
    assert layer.counts.spikes.item() == sum(abs(b - a) for a, b in pairwise([0, *sent]))
