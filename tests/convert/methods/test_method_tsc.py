"""TSC: RMP's dynamics, sent as the switching on and off of runs of spikes."""

from fractions import Fraction
from itertools import pairwise
from typing import Any

import torch
from helpers.methods import method, neuron, send
from helpers.networks import TinyLeaky, images
from helpers.scalar_neurons import currents, thetas
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.snn.neurons.layer import NeuronLayer
from spiking_yolo.snn.neurons.on_off import OnOff

TSC, RMP = get_recipe("tsc"), get_recipe("rmp")


@settings(deadline=None, max_examples=50)
@given(currents, thetas, st.sampled_from([1, 3]))
def test_switches_are_changes_of_the_spike_train(zs: list[Fraction], theta: Fraction, gamma: int):
    """With bursts, a switch for every unit of the change. The spikes are RMP's."""
    settings = {"neuron.gamma": gamma}
    layer = neuron(TSC.with_settings(settings), theta)
    sent = send(layer, zs)
    assert sent == send(neuron(RMP.with_settings(settings), theta), zs)
    assert layer.counts.spikes.item() == sum(abs(b - a) for a, b in pairwise([0, *sent]))


class Synapses:
    """Toggles at every switch that arrives and integrates what is on: a line per neuron."""

    def __init__(self):
        self.on: dict[str, Tensor] = {}
        self.seen: dict[str, Tensor] = {}
        self.decoded: dict[str, Tensor] = {}

    def __call__(self, name: str, t: int, layer: NeuronLayer, current: Tensor | None) -> None:
        assert isinstance(layer, OnOff)
        for line, source in ((f"{name}/on", layer.on), (f"{name}/off", layer.off)):
            zero = torch.zeros_like(source.count)
            switched = source.tally.switches - self.seen.get(line, zero)
            assert ((switched == 0) | (switched == 1)).all()
            self.seen[line] = source.tally.switches.clone()
            self.on[line] = (self.on.get(line, zero) - switched).abs()
            self.decoded[line] = self.decoded.get(line, zero) + self.on[line]


def test_integrating_the_switches_gives_the_spikes_of_rmp():
    x, T = images(2), 40
    _, tsc = method(TinyLeaky, "tsc")
    _, rmp = method(TinyLeaky, "rmp")
    synapses, counts = Synapses(), {}

    def spikes(name: str, t: int, layer: NeuronLayer, current: Tensor | None) -> None:
        assert isinstance(layer, OnOff)
        counts[f"{name}/on"] = layer.on.count.clone()
        counts[f"{name}/off"] = layer.off.count.clone()

    a = tsc.simulator(observed=True).run(x, T, probes=[synapses]).snapshots[T]
    b = rmp.simulator(observed=True).run(x, T, probes=[spikes]).snapshots[T]
    assert counts
    assert all(torch.equal(synapses.decoded[k], v) and v.any() for k, v in counts.items())
    assert all(torch.equal(p, q) for p, q in zip(a.outputs, b.outputs, strict=True))
    sent: Any = 0
    for name in a.spikes:
        assert torch.equal(a.spikes[name], b.spikes[name])
        own = [v for k, v in synapses.seen.items() if k.partition("/")[0] == name]
        switched = sum(v.flatten(1).sum(1) for v in own)
        assert isinstance(switched, Tensor)
        sent = sent + switched
    assert (a.sent.spikes >= sent).all() and (b.sent.spikes >= sum(b.spikes.values())).all()
    # Operations are counted by switches.
    assert not torch.equal(a.operations.spikes, b.operations.spikes)
