"""Spikes and their rate have one definition: in results, files, tables, pages and pictures."""

from functools import cache
from typing import Any

import pytest
from helpers.networks import TinyLeaky, images, make, spiking

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.observe import Input, Observer

# Of every kind: complete values, differential coding that settles later, rate coding with pairs.
METHODS = ("signed-digits", "dcgs", "p-norm")
T = 24
QUICK = {"calibration.T": 4}


@cache
def observed(method: str, batch: int) -> list[Any]:
    settings = QUICK | ({"calibration.steps": 2} if method == "signed-digits" else {})
    converted = spiking(make(TinyLeaky), images(3), get_recipe(method), settings)
    observer = Observer(converted.network(), converted.graph, converted.spec)
    seen = observer.observe(map(Input, images(3)), T, range(1, T + 1), want=("maps",), batch=batch)
    return list(seen)


@pytest.mark.parametrize("method", METHODS)
def test_steps_count_until_the_last_spike(method):
    """By brute force, from the spikes of every step, of each image alone and in a batch."""
    recipe = get_recipe(method)
    for batch in (1, 3):
        for one in observed(method, batch):
            spikes = [0.0, *(one.steps[t].total_spikes for t in range(1, T + 1))]
            for t, step in one.steps.items():
                last = t
                while recipe.differential and last > 1 and spikes[last] == spikes[last - 1]:
                    last -= 1
                assert step.active_steps == last
                assert one.mean_rate(t) == pytest.approx(spikes[t] / one.neurons / last)


@pytest.mark.parametrize("method", METHODS)
def test_every_spike_is_of_a_neuron_and_in_the_maps(method):
    """What max pooling passes on has a name of its own."""
    for one in observed(method, 3):
        for step in one.steps.values():
            for name, heat in step.maps.items():
                total = heat.mean().item() * one.neurons_by_layer[name]
                assert total == pytest.approx(step.spikes[name], rel=1e-5)
        last = one.last
        assert last.sent["spikes"] == last.total_spikes > 0
        assert last.events == {name: n + last.pooled[name] for name, n in last.sent.items()}
    pairs = observed("p-norm", 3)
    assert any(one.last.pooled["spikes"] for one in pairs)
    # A pair counts as two neurons.
    assert pairs[0].neurons_by_layer == {"act1": 512, "act2": 192, "act3": 128}
