"""AdaFire: the longest burst and the threshold of every layer, by how much the output minds."""

from itertools import product
from typing import Any

import pytest
import torch
from helpers.methods import neuron, send
from helpers.networks import images, make, spiking
from helpers.preparation import TwoLayers
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.convert.adaptive_bursts import BUDGET, FACTORS, TOLERANCE, cheapest
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.errors import UserError
from spiking_yolo.snn.network import SpikingNetwork

ADAFIRE = get_recipe("adafire")


def test_a_layer_has_a_longest_burst_of_its_own():
    """theta = 1, U(0) = 1/2; both neurons of a pair; what a file has is kept to 1..8."""
    for gamma, sent in ((3.0, [3, 3, 1]), (1.0, [1, 1, 1]), (99.0, [7, 0, 0]), (-5.0, [1, 1, 1])):
        layer = neuron(ADAFIRE, gamma=gamma)
        assert send(layer, [7, 0, 0]) == sent
        assert layer.sends_at_most_one == (max(sent) == 1)
    assert send(neuron(ADAFIRE, slope=0.5, gamma=2.0), [-7, 0]) == [-1, -1]


figures = st.integers(0, 20)


@given(
    st.lists(st.lists(st.tuples(figures, figures), min_size=1, max_size=4), min_size=1, max_size=4),
    st.integers(0, 60),
)
def test_choices_against_all_combinations(options: Any, budget: int):
    picks = cheapest(options, budget)

    def sums(combination: Any) -> tuple[int, int]:
        chosen = [layer[i] for layer, i in zip(options, combination, strict=True)]
        return sum(value for value, _ in chosen), sum(cost for _, cost in chosen)

    everything = [sums(c) for c in product(*(range(len(layer)) for layer in options))]
    within = [s for s in everything if s[1] <= budget]
    value, cost = sums(picks)
    if within:
        assert cost <= budget and value == min(value for value, _ in within)
    else:
        assert cost == min(cost for _, cost in everything)


@torch.no_grad()
def test_a_network_against_a_direct_search():
    """Every combination of bursts and then of factors, from runs with one layer changed."""
    model, x = make(TwoLayers), images(2)
    converted = spiking(model, x, ADAFIRE)
    plain = {"calibration.kind": "none"}

    def parameters(gamma: int) -> Any:
        return spiking(model, x, ADAFIRE, {**plain, "neuron.gamma": gamma}).neurons

    def measured(neurons: Any, name: str) -> tuple[float, float]:
        spikes = error = 0.0
        for image in x.split(1):
            network = SpikingNetwork(converted.graph, neurons, ADAFIRE.with_settings(plain))
            last = network.run(image, 8).snapshots[8]
            spikes += last.spikes[name].sum().item()
            ann = model(image)
            error += ((last.outputs[0] - ann).norm() / ann.norm()).item()
        return spikes, error

    bursts, names, base = (1, 2, 4, 8), ("act1", "act2"), parameters(8)
    table: Any = {}
    for name, k in product(names, bursts):
        own = {**base[name], "gamma": torch.tensor(float(k))}
        table[name, k] = measured({**base, name: own}, name)
    budget = BUDGET * sum(table[name, 4][0] for name in names)
    fits = [
        (table["act1", i][1] + table["act2", j][1], i, j)
        for i, j in product(bursts, bursts)
        if table["act1", i][0] + table["act2", j][0] <= budget
    ]
    _, *longest = min(fits)
    assert [int(converted.neurons[name]["gamma"]) for name in names] == longest
    base = {
        name: {**parameters(k)[name], "gamma": torch.tensor(float(k))}
        for name, k in zip(names, longest, strict=True)
    }
    for name, f in product(names, FACTORS):
        own = {k: v * f if k.startswith("theta") else v for k, v in base[name].items()}
        table[name, f] = measured({**base, name: own}, name)
    budget = (1 + TOLERANCE) * sum(table[name, 1.0][1] for name in names)
    fits = [
        (table["act1", f][0] + table["act2", g][0], f, g)
        for f, g in product(FACTORS, FACTORS)
        if table["act1", f][1] + table["act2", g][1] <= budget
    ]
    _, *factors = min(fits)
    for name, f in zip(names, factors, strict=True):
        for key in ("theta", "theta_off"):
            assert torch.allclose(converted.neurons[name][key], base[name][key] * f)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"neuron.gamma": 1}, "neuron.gamma=8"),
        ({"neuron.kind": "memory"}, "neuron.kind=if"),
        ({"threshold.rule": "balance"}, "threshold.rule=mmse"),
    ],
)
def test_what_it_does_not_go_with(settings: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        ADAFIRE.with_settings(settings)
