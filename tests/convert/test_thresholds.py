"""The histogram against plain counting of the raw values, and thresholds from it against the same
statistic of these.
"""

import bz2
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.networks import TinyLeaky, images, make, statistics
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from spiking_yolo.convert import thresholds
from spiking_yolo.convert.learn.statistics import (
    DIVISIONS,
    OCTAVES,
    Histogram,
    Statistics,
    collect_histograms,
    edges,
)
from spiking_yolo.convert.load import convert
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.convert.thresholds import (
    LEVELS,
    base_parameters,
    extreme,
    layer_thresholds,
    least_thetas,
    local_balance,
    mmse,
    percentile,
    scaled,
    threshold,
)
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Activation, Graph, Node, forward
from spiking_yolo.graph.trace import trace
from spiking_yolo.models.spec import Spec
from spiking_yolo.recipe import RULES, Recipe, Threshold

# Few significant digits, widely different magnitudes: the counts are then exact in float32.
values = st.builds(lambda m, e: m * 2.0**e, st.integers(-64, 64), st.integers(-20, 20))
batches = st.lists(st.lists(values, min_size=4, max_size=4), min_size=1, max_size=5)


def counted(*batches: Tensor) -> Histogram:
    histogram = Histogram.empty(batches[0].shape[1])
    for x in batches:
        histogram.update(x)
    return histogram


def assert_equal(a: Histogram, b: Histogram) -> None:
    for name in ("counts", "exponent", "minimum", "maximum"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    assert a.total == b.total


def test_counts_by_hand():
    """Top 2^2 for a maximum of 3: 3 = 1.5 * 2^1 lies in the middle of the last octave, 1.5 in the
    one before.
    """
    h = counted(torch.tensor([3.0, 1.5, 0.0, -0.75, 1e-6]).reshape(5, 1))
    assert h.exponent.tolist() == [2] and h.total == 5
    last = 1 + (OCTAVES - 1) * DIVISIONS
    positive = {last + DIVISIONS // 2: 1, last - DIVISIONS + DIVISIONS // 2: 1, 0: 1}
    assert {i: int(n) for i, n in enumerate(h.counts[0, 0]) if n} == positive
    middle = last - 2 * DIVISIONS + DIVISIONS // 2
    assert {i: int(n) for i, n in enumerate(h.counts[1, 0]) if n} == {middle: 1}
    assert (h.minimum.item(), h.maximum.item()) == (-0.75, 3.0)


def test_counts_against_numpy():
    x = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0))
    x *= torch.tensor([0.1, 1.0, 30.0])
    h = counted(x)
    for c in range(3):
        for sign, side in enumerate((x[:, c][x[:, c] > 0], -x[:, c][x[:, c] < 0])):
            bins = edges().numpy() * 2.0 ** h.exponent[c].item()
            expected, _ = np.histogram(side.double().numpy(), bins)
            # An edge's rounding.
            assert np.abs(np.cumsum(expected) - h.counts[sign, c].cumsum(0).numpy()).max() <= 1


@example([[0, 0, 0, 0], [2.0**-18, 0, 2.0**-16, 0]])
@given(batches)
def test_growing_ranges_in_one_pass_equal_one_update_with_everything(rows: list[list[float]]):
    """Batches of two channels, in any order of magnitude, zeros included."""
    parts = [torch.tensor(row).reshape(2, 2) for row in rows]
    assert_equal(counted(*parts), counted(torch.cat(parts)))


@given(batches)
def test_pooled_is_the_histogram_of_all_channels_as_one(rows: list[list[float]]):
    x = torch.tensor(rows)
    assert_equal(counted(x).pooled(), counted(x.reshape(-1, 1)))


def test_histograms_count_every_pre_activation_of_every_site():
    model, x = make(TinyLeaky), images(4)
    graph = trace(model, x[:1])
    taps: dict[str, Tensor] = {}
    forward(graph, x, lambda node, before, after: taps.update({node.name: before}))
    split = collect_histograms(graph, [x[:1], x[1:]])
    assert list(split) == ["act1", "act2", "act3"]
    for name, before in taps.items():
        assert_equal(split[name], counted(before))
        assert split[name].total == before[:, 0].numel()


def packed_bytes(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(bz2.compress(data)), dtype=torch.uint8)


HOSTILE: dict[str, Any] = {
    "bomb": lambda m, t: t.update(counts=packed_bytes(bytes(10**8))),
    "too few counts": lambda m, t: t.update(counts=packed_bytes(bytes(10))),
    "not compressed": lambda m, t: t.update(counts=torch.ones(50, dtype=torch.uint8)),
    "cut off": lambda m, t: t.update(counts=t["counts"][:-20].clone()),
    "channels below zero": lambda m, t: m.update(channels=dict.fromkeys(m["channels"], -1)),
    "a total as a word": lambda m, t: m.update(totals=dict.fromkeys(m["totals"], "x")),
}


def test_contents_come_back_and_damaged_ones_are_refused():
    whole = statistics(trace(make(TinyLeaky), images(1)), images(2))
    again = Statistics.of_contents(*whole.contents(), "0" * 64, (8, 8))
    for name, histogram in whole.histograms.items():
        assert_equal(again.histograms[name], histogram)
    for change in HOSTILE.values():
        tensors, content = whole.contents()
        change(content, tensors)
        with pytest.raises((LookupError, OSError, RuntimeError, TypeError, ValueError)):
            Statistics.of_contents(tensors, content, "0" * 64, (8, 8))


def test_statistics_of_another_network_are_refused():
    graph = trace(make(TinyLeaky), images(1))
    s = statistics(graph, images(1))
    missing = Statistics(dict(list(s.histograms.items())[1:]), s.weights_sha256, s.imgsz, s.images)
    with pytest.raises(UserError, match="of another network"):
        convert(graph, Spec("classify", ("a",), 8, 8), missing, get_recipe("p-norm"))


def test_activations_that_are_not_finite_name_the_node():
    graph = trace(make(TinyLeaky), images(1))
    huge = {key: value * 1e200 for key, value in graph.tensors.items()}
    with pytest.raises(UserError, match="the input of node 'act1' is not finite"):
        collect_histograms(replace(graph, tensors=huge), [images(1)])


PLAIN = Recipe("plain")


def samples(n: int = 20000, seed: int = 0) -> Tensor:
    """Three channels of pre-activations: normal, long-tailed, and mostly negative with a larger
    scale.
    """
    g = torch.Generator().manual_seed(seed)
    normal, tail, low = (torch.randn(n, generator=g) for _ in range(3))
    return torch.stack([normal, tail * tail.abs(), 40 * low - 60], 1)


def histogram(x: Tensor) -> Histogram:
    return counted(*x.chunk(3))


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
    alone = histogram(torch.full((1, 1), 1.02))
    assert percentile(alone, 0, 24).item() == percentile(h, 0, 24).item()
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
@pytest.mark.parametrize("cap", [None, 0.3, 2.0, 1e3])
def test_mmse_against_brute_force(rounds: bool, cap: float | None):
    """The threshold's error on the raw values is the least over the same 95 candidates, up to the
    bins' width. Of the activations min(z, cap) many are the cap itself.
    """
    x = samples(10000).abs() * torch.tensor([1.0, -1.0, 1.0])
    h = histogram(x)
    for levels, gamma in ((4, 1), (8, 4), (32, 1)):
        positive, negative = (mmse(h, sign, levels, gamma, rounds, cap) for sign in (0, 1))
        for c, (sign, theta) in enumerate(((0, positive), (1, negative), (0, positive))):
            got = theta[c].item()
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
    smallest_error = PLAIN.with_settings({"threshold.rule": "mmse"})
    assert torch.equal(threshold(h, 0, smallest_error, 0.5), mmse(h, 0, LEVELS, 1, False, 0.5))
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
    # A value at rest stays the same in other thetas: 3 of 0.5 are 6 of 0.25.
    resting = {name: {**own, "rest": torch.full((3,), 3.0)} for name, own in neurons.items()}
    assert scaled(Graph(nodes, ("b",), {}), resting, 0.5)["a"]["rest"].tolist() == [6.0] * 3


def test_mmse_takes_the_neuron_into_account():
    """In differential coding a neuron catches up later, so gamma does not widen the range."""
    for changes, gamma, rounds in [
        ({}, 1, False),
        ({"neuron.gamma": 4}, 4, False),
        ({"neuron.gamma": 4, "neuron.initial": 0.5}, 4, True),
        ({"neuron.gamma": 4, "neuron.kind": "sigma-delta"}, 1, False),
    ]:
        h = histogram(samples())
        recipe = PLAIN.with_settings({"threshold.rule": "mmse", **changes})
        assert torch.equal(threshold(h, 0, recipe), mmse(h, 0, LEVELS, gamma, rounds))


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


def test_least_thetas_fit_the_range_in_8_bits_and_silent_channels_a_share_of_the_largest():
    x = torch.tensor([[254.0, 0.0, 0.0], [-20.0, -1270.0, 0.0]])
    nodes: Any = [SimpleNamespace(name="act", phi=Activation(0.1))]
    graph: Any = SimpleNamespace(activations=nodes)
    # The slope makes 127 of 1270; the largest value of the layer is 254.
    assert least_thetas(graph, {"act": histogram(x)})["act"].tolist() == [2, 1, 254 / 2**14]


def test_signed_memory_covers_the_larger_of_both_sides():
    x = samples() * torch.tensor([1.0, 1.0, 0.5]) - torch.tensor([0.0, 0.0, 100.0])
    settings = {"threshold.rule": "max", "neuron.kind": "sigma-delta", "threshold.scale": 0.25}
    recipe = PLAIN.with_settings(settings)
    site = layer_thresholds(histogram(x), Activation(0.5), recipe)
    expected = torch.maximum(x.amax(0).double(), -0.5 * x.amin(0).double()) * 0.25
    assert set(site) == {"theta"} and torch.equal(site["theta"], expected.float())
    # One channel needs its negative side.
    assert x[:, 2].amax() <= 0 < x[:, 0].amax()


@pytest.fixture
def own_rule(monkeypatch):
    """A function that registers what a rule returns, until the test is over."""
    monkeypatch.setattr(thresholds, "_OWN", {})

    def add(returned):
        thresholds.register("own", "a test's")(lambda histogram, sign, recipe: returned)
        return Recipe("mine", Threshold(rule="own"))

    yield add
    RULES.pop("own", None)


def test_a_rule_of_ones_own(own_rule):
    """Channels without positive values take the largest threshold, whatever the rule says of them."""
    x = torch.tensor([[1.0, 2.0], [-1.0, -2.0], [3.0, 4.0]]).expand(3, 3, 2)
    recipe = own_rule(torch.tensor([0.5, float("nan"), 3.0]))
    theta = layer_thresholds(histogram(x), Activation(), recipe)["theta"]
    assert theta.tolist() == [0.5, 3.0, 3.0]
    capped = layer_thresholds(histogram(x), Activation(cap=1.0), recipe)["theta"]
    assert capped.tolist() == [0.5, 1.0, 1.0]
    one = own_rule(torch.tensor([2.0]))
    assert layer_thresholds(histogram(x), Activation(), one)["theta"].tolist() == [2.0] * 3
    with pytest.raises(UserError, match="there already"):
        thresholds.register("max", "")


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (torch.tensor([1.0, float("nan")]), "returns nan"),
        (torch.tensor([0.0, 1.0]), "returns 0, not a number above 0"),
        (torch.tensor([-2.0]), "returns -2"),
        (torch.ones(3), r"returns \(3,\), not \[2\] or \[1\]"),
        (1.0, "returns float"),
    ],
)
def test_a_rule_that_returns_no_thresholds_is_refused(own_rule, returned, said):
    graph = Graph((Node("x", "input"), Node("act", "activation", ("x",), {})), ("act",), {})
    seen = {"act": histogram(torch.ones(3, 2, 4))}
    with pytest.raises(UserError, match=f"node 'act': threshold.rule=own {said}"):
        thresholds.base_parameters(graph, seen, own_rule(returned))
