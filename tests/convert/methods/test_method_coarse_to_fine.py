"""Coarse-to-fine: the value of a spike over time, and the grid that the network settles on."""

from typing import Any

import pytest
import torch
from helpers.methods import Rounded, method, neuron, quantised, relative_error
from helpers.networks import Pooled, TinyLeaky, images
from torch import Tensor

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.snn.neurons import NeuronLayer

COARSE = get_recipe("coarse-to-fine")


def value(t: int) -> float:
    """A second implementation: 16, 8, 4, 2, then 1 thetas; halved after steps 8, 16 and 32."""
    return max(16 / 2 ** (t - 1), 1) / 2 ** sum(t > edge for edge in (8, 16, 32))


@pytest.mark.parametrize("cls", [Pooled, TinyLeaky])
def test_the_value_of_a_spike_over_time(cls: Any):
    _, converted = method(cls, "coarse-to-fine")
    network, seen = converted.network(observed=True), {}

    def probe(name: str, t: int, layer: NeuronLayer, current: Tensor | None) -> None:
        seen[t] = layer.spike_weight
        whole = layer.out / layer.spike_weight
        assert torch.allclose(whole, whole.round()) and whole.abs().max() <= 8

    network.run(images(2), 40, probes=[probe])
    assert {1, 2, 3, 4, 5, 9, 17, 33} <= set(seen)
    assert seen == {t: value(t) for t in seen}
    assert [network.spike_weight(t) for t in range(1, 200)] == [value(t) for t in range(1, 200)]


def test_a_neuron_by_hand():
    """theta = 1, x = 37.3: 2 spikes of 16, 1 of 8 (40), -1 of 4 (36), 1 of 2 (38), -1 of 1 (37).

    37.3 / 16 = 2.33; 5.3 / 8 = 0.66; -2.7 / 4 = -0.68; 1.3 / 2 = 0.65; -0.7 / 1 = -0.7. Then 0.3 is
    0.6 of 1/2: one more (37.5); -0.2 is -0.8 of 1/4: one less (37.25); 0.05 is 0.4 of 1/8: nothing.
    """
    layer, sent = neuron(COARSE), {}
    for t in range(1, 41):
        current = torch.tensor([[37.3]], dtype=torch.float64) if t == 1 else None
        if spikes := layer(current, value(t)).item():
            sent[t] = spikes
    assert sent == {1: 32, 2: 8, 3: -4, 4: 2, 5: -1, 9: 0.5, 17: -0.25}
    assert layer.count.item() == 8


@torch.no_grad()
@pytest.mark.parametrize("cls", [Pooled, TinyLeaky])
def test_it_settles_on_the_network_quantised_with_the_final_step(cls: Any):
    """theta / 8, from step 33 on; then nothing is sent, and the run ends. Before every refinement
    with that step.
    """
    model, converted = method(cls, "coarse-to-fine")
    x, T = images(2, seed=3), 1000
    run = converted.network().run(x, T, [8, 16, 32, 100])
    assert 33 < run.steps < 100
    for t, parts in ((8, 1), (16, 2), (32, 4), (T, 8)):
        assert (
            relative_error(run.snapshots[t].outputs, quantised(model, converted, 1 / parts)(x))
            < 1e-12
        )
    assert torch.equal(run.snapshots[100].operations.spikes, run.snapshots[T].operations.spikes)


class Refined(Rounded):
    """Keeps what it sent before, in thetas, and corrects it by multiples of `value`."""

    value, sent = 1.0, torch.zeros(())

    def forward(self, z: Tensor) -> Tensor:
        step = self.step.reshape(-1, *[1] * (z.ndim - 2))
        missing = torch.where(z > 0, z, self.slope * z) / step - self.sent
        self.sent = self.sent + torch.floor(missing / self.value + 0.5) * self.value
        return self.sent * step


@torch.no_grad()
@pytest.mark.parametrize("cls", [Pooled, TinyLeaky])
def test_refined_by_another_factor_it_settles_in_stages(cls: Any):
    """Multiples of 0.8 do not hold those of 1: what was sent before stays, and is corrected.

    Pooling in front of such neurons would not be the same: rounding in stages is not monotone.
    """
    model, converted = method(
        cls, "coarse-to-fine", {"encoding.refine_by": 0.8, "neuron.pool_first": False}
    )
    x, T, ann = images(2, seed=3), 1000, quantised(model, converted)
    run = converted.network().run(x, T, [8, 16, 32])
    for t, value in ((8, 1.0), (16, 0.8), (32, 0.64), (T, 0.512)):
        for name, module in list(ann.named_modules()):
            if isinstance(module, Rounded):
                refined = Refined(module.step, module.slope)
                refined.value, refined.sent = value, getattr(module, "sent", refined.sent)
                ann.set_submodule(name, refined)
        assert relative_error(run.snapshots[t].outputs, ann(x)) < 1e-12


@torch.no_grad()
def test_refined_spikes_bring_the_network_closer():
    """On the average over many images: the grid is half as wide at the end as before the first
    refinement.
    """
    model, converted = method(TinyLeaky, "coarse-to-fine")
    x = images(32, seed=4)
    run = converted.network().run(x, 64, [1, 4, 8, 64])
    errors = [relative_error(run.snapshots[t].outputs, model(x)) for t in (1, 4, 8, 64)]
    assert errors == sorted(errors, reverse=True) and errors[3] < 0.7 * errors[2]


def test_a_coarse_start_sends_large_activations_in_fewer_spikes():
    counts = {}
    for coarse in (0, 4):
        _, converted = method(
            TinyLeaky, "coarse-to-fine", {"encoding.coarse": coarse, "threshold.scale": 0.02}
        )
        run = converted.network().run(images(2), 40)
        counts[coarse] = sum(s.sum().item() for s in run.snapshots[40].spikes.values())
    assert counts[4] < 0.7 * counts[0]
