"""Thresholds from histograms against the same statistic of the raw values."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from spiking_yolo.convert.statistics import DIVISIONS, OCTAVES, Histogram
from spiking_yolo.convert.thresholds import (
    base_parameters,
    extreme,
    layer_thresholds,
    local_balance,
    mmse,
    percentile,
    threshold,
)
from spiking_yolo.graph import Activation, Graph, Node
from spiking_yolo.recipe import Recipe

PLAIN = Recipe("plain")


def samples(n: int = 20000, seed: int = 0) -> Tensor:
    """Three channels of pre-activations: normal, long-tailed, and mostly negative with a larger
    scale.
    """
    g = torch.Generator().manual_seed(seed)
    normal, tail, low = (torch.randn(n, generator=g) for _ in range(3))
    return torch.stack([normal, tail * tail.abs(), 40 * low - 60], 1)


def histogram(x: Tensor) -> Histogram:
    h = Histogram.empty(x.shape[1])
    for part in x.chunk(3):
        h.update(part)
    return h


def side(x: Tensor, sign: int) -> np.ndarray:
    x = -x if sign else x
    return x[x > 0].double().numpy()


def test_percentile_is_in_the_bin_of_the_exact_one():
    for percent in [1, 50, 90, 99, 99.9, 99.99, 100]:
        for sign in [0, 1]:
            x = samples()
            got = percentile(histogram(x), sign, percent)
            for c in range(x.shape[1]):
                exact = np.percentile(side(x[:, c], sign), percent, method="inverted_cdf")
                assert got[c].item() == pytest.approx(
                    exact, rel=1 / DIVISIONS, abs=side(x[:, c], sign).max() * 2.0**-OCTAVES
                )


def test_percentile_is_linear_within_a_bin():
    """A hundred equal values fill one bin [16/16, 25/24): the percentile runs through it and stops
    at the maximum.
    """
    h = histogram(torch.full((100, 1), 1.02))
    assert percentile(h, 0, 24).item() == pytest.approx(1 + 0.24 / DIVISIONS)
    assert percentile(h, 0, 100).item() == np.float32(1.02)
    h.update(torch.full((100, 1), 0.3))
    assert percentile(h, 0, 62).item() == pytest.approx(1 + 0.24 / DIVISIONS)


def test_local_balance_on_raw_values():
    """Three channels that settle at different times, with and without a cap."""
    x = samples()
    for cap in (None, 0.8):
        balanced = local_balance(histogram(x), 0, cap)
        for c, raw in enumerate(x.T.double().numpy()):
            a = np.clip(raw, 0, cap)
            theta, step = 0.0, 1.0
            while step > 1e-3 * theta:
                step = 2 * np.maximum(a - theta, 0).mean()
                theta += step
            assert balanced[c].item() == pytest.approx(theta, rel=0.02), (cap, c)


def test_extremes_are_exact():
    x = samples()
    h = histogram(x)
    assert torch.equal(extreme(h, 0), x.amax(0).double())
    assert torch.equal(extreme(h, 1), -x.amin(0).double())
    positive = histogram(torch.tensor([[1.0], [2.0]]))
    assert extreme(positive, 1).item() == 0 and percentile(positive, 1, 99.9).item() == 0


def quantiser_error(a: np.ndarray, theta: float, levels: int, gamma: int, rounds: bool) -> float:
    """Li 2021, equation of section 3.1, on raw values."""
    steps = np.floor(a * levels / theta + (0.5 if rounds else 0.0))
    return float(np.mean((np.clip(steps, 0, gamma * levels) * theta / levels - a) ** 2))


@pytest.mark.parametrize("rounds", [False, True])
@pytest.mark.parametrize("cap", [None, 0.3, 1.1, 2.0, 1e3])
def test_mmse_against_brute_force(rounds: bool, cap: float | None):
    """The threshold's error on the raw values is the least over the same 95 candidates, up to the
    bins' width. Of the activations min(z, cap) many are the cap itself.
    """
    x = samples(10000).abs() * torch.tensor([1.0, -1.0, 1.0])
    h = histogram(x)
    for levels, gamma in product((4, 8, 32), (1, 4)):
        for c, sign in enumerate((0, 1, 0)):
            got = mmse(h, sign, levels, gamma, rounds, cap)[c].item()
            a = np.minimum(side(x[:, c], sign), cap or np.inf)
            candidates = [a.max() * k / 100 for k in range(100, 5, -1)]
            least = min(quantiser_error(a, theta, levels, gamma, rounds) for theta in candidates)
            assert np.abs(np.array(candidates) / got - 1).min() < 1e-6
            assert quantiser_error(a, got, levels, gamma, rounds) <= 1.03 * least + 1e-12


def test_every_statistic_is_of_what_the_cap_leaves():
    """The maximum is the cap itself, reached or not; a percentile is at most the cap; MMSE is of
    the rest.
    """
    h = histogram(samples())
    for rule in ("max", "balance"):
        recipe = PLAIN.with_settings({"threshold.rule": rule})
        assert threshold(h, 0, recipe, 0.5).tolist() == [0.5] * 3
        assert threshold(h, 0, recipe, 1e4).tolist() == [1e4] * 3
    smallest_error = PLAIN.with_settings({"threshold.rule": "mmse", "threshold.levels": 8})
    assert torch.equal(threshold(h, 0, smallest_error, 0.5), mmse(h, 0, 8, 1, False, 0.5))
    median = PLAIN.with_settings({"threshold.percentile": 50})
    plain = threshold(h, 0, median)
    assert plain[0] < 0.7 < plain[2]
    assert torch.equal(
        threshold(h, 0, median, 0.7), torch.minimum(plain, torch.tensor(0.7, dtype=torch.float64))
    )


def test_thresholds_are_scaled_statistics_but_never_above_the_cap():
    h, phi = {"a": histogram(samples()), "b": histogram(samples())}, {"slope": 0.0, "cap": 0.5}
    nodes = (
        Node("x", "input"),
        Node("a", "activation", ("x",), phi),
        Node("b", "activation", ("a",), phi),
    )
    for scale, theta in ((0.2, 0.1), (1.0, 0.5), (4.0, 0.5)):
        recipe = PLAIN.with_settings({"threshold.rule": "max", "threshold.scale": scale})
        neurons = base_parameters(Graph(nodes, ("b",), {}), h, recipe)
        for name in "ab":
            assert neurons[name]["theta"].tolist() == pytest.approx([theta] * 3)


def test_mmse_takes_the_neuron_into_account():
    """In differential coding a neuron catches up later, so gamma does not widen the range."""
    for settings, gamma, rounds in [
        ({}, 1, False),
        ({"neuron.gamma": 4}, 4, False),
        ({"neuron.gamma": 4, "neuron.initial": 0.5}, 4, True),
        ({"neuron.gamma": 4, "neuron.kind": "sigma-delta"}, 1, False),
    ]:
        h = histogram(samples())
        recipe = PLAIN.with_settings({"threshold.rule": "mmse", "threshold.levels": 8, **settings})
        assert torch.equal(threshold(h, 0, recipe), mmse(h, 0, 8, gamma, rounds))


def test_a_dead_channel_takes_the_largest_threshold_of_the_layer():
    x = samples()
    x[:, 1] = -x[:, 1].abs()
    theta = layer_thresholds(histogram(x), Activation(), PLAIN)["theta"]
    assert theta[1] == theta.max() > theta.min() > 0


def test_a_dead_layer_takes_one():
    for x in (torch.zeros(10, 2), -torch.ones(10, 2)):
        recipe = PLAIN.with_settings({"threshold.scale": 0.5})
        theta = layer_thresholds(histogram(x), Activation(), recipe)["theta"]
        assert theta.tolist() == [0.5, 0.5] and theta.dtype == torch.float32


def test_each_side_of_a_pair_has_its_own_threshold():
    x = samples()
    maximum = PLAIN.with_settings({"threshold.rule": "max"})
    site = layer_thresholds(histogram(x), Activation(0.1), maximum)
    assert torch.equal(site["theta"], x.amax(0)) and torch.equal(site["theta_off"], -x.amin(0))


def test_signed_memory_covers_the_larger_of_both_sides():
    x = samples() * torch.tensor([1.0, 1.0, 0.5]) - torch.tensor([0.0, 0.0, 100.0])
    settings = {"threshold.rule": "max", "neuron.kind": "sigma-delta", "threshold.scale": 0.25}
    recipe = PLAIN.with_settings(settings)
    site = layer_thresholds(histogram(x), Activation(0.5), recipe)
    expected = torch.maximum(x.amax(0).double(), -0.5 * x.amin(0).double()) * 0.25
    assert set(site) == {"theta"} and torch.equal(site["theta"], expected.float())
    # One channel needs its negative side.
    assert x[:, 2].amax() <= 0 < x[:, 0].amax()
