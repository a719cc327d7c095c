"""What the probes keep, and the figures of a layer, against loops over a record of every spike."""

import math

import pytest
import torch
from helpers.networks import Pooled, TinyLeaky, images, make, spiking

from spiking_yolo.apps.analyze.chain import PARTS, Chain
from spiking_yolo.apps.analyze.records import LayerTotals, LayerWatch, Watch
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.graph import Activation, forward
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.neurons import OnOff, build_neurons
from spiking_yolo.snn.plan import LayerPlan


def recorded(model, name, T, settings=None):
    """(watch, network, record): record[layer][t] = (signed spikes, ON spikes or None), nothing
    where it was settled.
    """
    x = images(1, size=8)
    recipe = get_recipe(name).with_settings({"neuron.pool_first": False, **(settings or {})})
    converted = spiking(make(model), x, recipe)
    before, record = {}, {}
    forward(converted.graph, x, lambda node, pre, post: before.update({node.name: (pre, node.phi)}))

    def keep(name, t, layer, current):
        on = off = None
        if isinstance(layer, OnOff):
            on, off = layer.on.out.clone(), layer.off.out.clone()
        record.setdefault(name, {})[t] = (layer.out.clone(), on, off)

    network, watch = converted.simulator(observed=True), Watch(before, T)
    network.run(x, T, probes=[watch, keep])
    for seen in watch.layers.values():
        seen.finish()
    return watch, network, record


@pytest.mark.parametrize(
    ("model", "name", "kind"),
    [
        (Pooled, "p-norm", "relu"),
        (TinyLeaky, "p-norm", "pair"),
        (TinyLeaky, "channel-norm", "signed"),
    ],
)
def test_wrong_spikes_by_brute_force(model, name, kind):
    T = 24
    watch, _, record = recorded(model, name, T, {"neuron.initial": 0.9, "threshold.scale": 0.4})
    assert any(seen.wrong[-1] for seen in watch.layers.values())
    for layer, seen in watch.layers.items():
        z, wrong, counted = seen.before.flatten().tolist(), set(), []
        for t in range(1, T + 1):
            out, on, off = record[layer].get(t, (None, None, None))
            for i, value in enumerate(z if out is not None else []):
                spike = float(out.flatten()[i])
                if kind == "pair":
                    wrong |= {(i, "on")} if on.flatten()[i] > 0 and value <= 0 else set()
                    wrong |= {(i, "off")} if off.flatten()[i] > 0 and value >= 0 else set()
                elif kind == "relu":
                    wrong |= {i} if spike != 0 and value <= 0 else set()
                elif (spike > 0 and value <= 0) or (spike < 0 and value >= 0):
                    wrong.add(i)
            counted.append(len(wrong))
        assert seen.wrong == counted, layer
        eligible = sum(value <= 0 for value in z) if kind == "relu" else len(z)
        assert seen.eligible == eligible


def layer_watch(z, T):
    z = torch.tensor(z)[None, :, None, None]
    site = {"theta": torch.ones(z.shape[1]), "initial": torch.tensor(0.0)}
    layer = build_neurons(site, Recipe("r"), Activation(), LayerPlan("x"))
    seen = LayerWatch(z, Activation(), T)
    layer.reset()
    for _ in range(T):
        layer(z)
        seen.see(layer, z)
    seen.finish()
    return seen


def random_chain(seed, shape=(1, 3, 4, 4)) -> Chain:
    g = torch.Generator().manual_seed(seed)
    return Chain(*(torch.rand(shape, generator=g, dtype=torch.float64) for _ in range(6)))


def totals_of(chains, seen):
    totals = LayerTotals("layers_3_act", 8)
    for links in chains:
        totals.add(links, seen, 12.0, 0.25)
    return totals


def test_norms_and_shares_over_images():
    chains = [random_chain(1), random_chain(2)]
    seen = layer_watch([0.3, 0.9, -5.0], 8)
    totals = totals_of(chains, seen)
    together = [
        torch.cat(tensors) for tensors in zip(*(vars(c).values() for c in chains), strict=True)
    ]
    ann, clipped, grid, ideal, even, snn = together
    assert totals.relative(totals.error) == pytest.approx(float((snn - ann).norm() / ann.norm()))
    norms = totals.norms()
    for name, part in zip(
        PARTS, (clipped - ann, grid - clipped, ideal - grid, even - ideal, snn - even), strict=True
    ):
        assert norms[name] == pytest.approx(float(part.norm() / ann.norm()))
        share = (part * (snn - ann)).sum() / (snn - ann).norm() / ann.norm()
        assert totals.shares()[name] == pytest.approx(float(share))
    assert sum(totals.shares().values()) == pytest.approx(totals.relative(totals.error))
    row = totals.row()
    assert row["spikes"] == 12.0 and row["rate"] == 0.25
    assert row["SIN"] == 0.0 and row["share clipping"] == totals.shares()["clipping"]


def test_nothing_to_compare_with_is_nan():
    seen = layer_watch([-1.0], 8)
    zero = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    totals = LayerTotals("x", 8)
    totals.add(Chain(zero, zero, zero, zero, zero, zero + 1), seen, 0.0, 0.0)
    row = totals.row()
    assert math.isnan(row["error"]) and math.isnan(row["clipping"])
