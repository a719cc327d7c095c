"""Where a pair's current never changes one of the two neurons is enough: the same spikes, half of
the work.
"""

from typing import Any

import pytest
import torch
from helpers.networks import TinyLeaky, images, make, spiking

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.rate.neurons.on_off import ConstantOnOff, OnOff

T, STEPS = 40, (1, 7, 20)
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "bursts": ("p-norm", {"neuron.gamma": 3}),
    "reset to zero": ("p-norm", {"neuron.reset": "zero"}),
    "threshold per channel": ("p-norm", {"threshold.scope": "channel"}),
    "msat": ("msat", {}),
    "msat, gain": ("msat", {"msat.gain": 2.5}),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_one_neuron_of_a_pair_does_what_the_two_do(name: str):
    x, (method, settings) = images(3), SETTINGS[name]
    converted = spiking(make(TinyLeaky), x, get_recipe(method), settings)
    networks = [converted.simulator(observed=observed) for observed in (False, True)]
    alone, both = (network.run(x, T, STEPS) for network in networks)
    one, two = (network.neurons["act1"] for network in networks)
    assert isinstance(one, ConstantOnOff) and isinstance(two, OnOff)
    for t in (*STEPS, T):
        a, b = alone.snapshots[t], both.snapshots[t]
        for site in a.spikes:
            assert torch.equal(a.spikes[site], b.spikes[site])
        torch.testing.assert_close(a.operations.spikes, b.operations.spikes, rtol=1e-12, atol=0)
        torch.testing.assert_close(a.outputs, b.outputs, rtol=1e-9, atol=1e-12)
    assert two.on.count.any() and two.off.count.any()  # both kinds fire somewhere
    assert not (two.on.count * two.off.count).any()  # and nowhere both
    assert one.count.equal(two.on.count + two.off.count)


def test_both_are_computed_where_both_may_fire_or_theta_matters_and_only_behind_the_image():
    x = images(2)
    settings: list[dict[str, Any]] = [
        {"neuron.initial": 0.5},
        {"neuron.shift": 8},
        {"msat.gain": 2, "neuron.kind": "msat", "neuron.initial": 0.1},
    ]
    for changes in settings:
        network = spiking(make(TinyLeaky), x, get_recipe("p-norm"), changes).network()
        network.run(x, 3)
        assert {type(layer) for layer in network.neurons.values()} == {OnOff}
    network = spiking(make(TinyLeaky), x, get_recipe("p-norm")).network()
    network.run(x, 3)
    pairs = {name: type(layer) for name, layer in network.neurons.items()}
    assert pairs == {"act1": ConstantOnOff, "act2": OnOff, "act3": OnOff}


def test_a_pair_sends_more_than_one_spike_where_a_member_does(monkeypatch: pytest.MonkeyPatch):
    recipe = get_recipe("p-norm").with_settings({"neuron.initial": 0.5})
    network = spiking(make(TinyLeaky), images(1), recipe).network()
    network.run(images(1), 1)
    pair = network.neurons["act1"]
    assert isinstance(pair, OnOff) and pair.sends_at_most_one
    monkeypatch.setattr(type(pair.off), "sends_at_most_one", False)
    assert not pair.sends_at_most_one
