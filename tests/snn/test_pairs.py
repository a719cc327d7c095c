"""Where a pair's current never changes one of the two neurons is enough: the same spikes, half of the work."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.networks import TinyLeaky, images, make, spiking

from spiking_yolo.convert.registry import get_recipe
from spiking_yolo.snn.neurons import OnOffPair
from spiking_yolo.snn.snapshot import Run

T, STEPS = 40, (1, 7, 20)
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "fixed": ("p-norm", {}),
    "bursts": ("p-norm", {"neuron.gamma": 3}),
    "reset to zero": ("p-norm", {"neuron.reset": "zero"}),
    "threshold per channel": ("p-norm", {"threshold.scope": "channel"}),
    "msat": ("msat", {}),
    "msat, confidence before the reset": ("msat", {"msat.confidence": "before"}),
    "msat, mean term": ("msat", {"msat.mu": True}),
    "algorithm 1": ("msat", {"msat.variant": "algorithm1", "msat.confidence": "off"}),
}


def runs(method: str, settings: dict[str, Any]) -> tuple[OnOffPair, Run, Run]:
    """The pair that reads the image, a run without and one with a probe, in float64."""
    x = images(3)
    network = spiking(make(TinyLeaky), x, get_recipe(method), settings).network()
    first = network.layers["act1"]
    assert isinstance(first, OnOffPair)
    alone = network.run(x, T, STEPS)
    return first, alone, network.run(x, T, STEPS, probes=[lambda *_: None])


@pytest.mark.parametrize("name", SETTINGS)
def test_one_neuron_of_a_pair_does_what_the_two_do(name: str):
    first, alone, both = runs(*SETTINGS[name])
    for t in (*STEPS, T):
        a, b = alone.snapshots[t], both.snapshots[t]
        for site in a.spikes:
            assert torch.equal(a.spikes[site], b.spikes[site])
        torch.testing.assert_close(a.operations, b.operations, rtol=1e-12, atol=0)
        torch.testing.assert_close(a.outputs, b.outputs, rtol=1e-9, atol=1e-12)
    assert first.on.count.any() and first.off.count.any()  # of the second run: both kinds fire somewhere
    assert not (first.on.count * first.off.count).any()  # and nowhere both
    assert first.one.count.equal(first.on.count + first.off.count)


@pytest.mark.parametrize(
    "settings", [{"neuron.initial": 0.5}, {"neuron.shift": 8}, {"msat.enabled": True, "msat.units": "raw"}]
)
def test_both_are_computed_where_both_may_fire_or_theta_matters(settings: dict[str, Any]):
    x = images(2)
    network = spiking(make(TinyLeaky), x, get_recipe("p-norm"), settings).network()
    network.run(x, 3)
    assert not any(layer._one_fires for layer in network.layers.values() if isinstance(layer, OnOffPair))


def test_only_behind_the_image():
    x = images(2)
    network = spiking(make(TinyLeaky), x, get_recipe("p-norm")).network()
    network.run(x, 3)
    pairs = {name: layer._one_fires for name, layer in network.layers.items() if isinstance(layer, OnOffPair)}
    assert pairs == {"act1": True, "act2": False, "act3": False}
