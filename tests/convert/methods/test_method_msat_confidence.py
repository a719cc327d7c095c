"""MSAT's spike confidence: what is dropped, when, before or after the reset, and how it is
measured.
"""

from dataclasses import replace

import pytest
import torch
from helpers.methods import method, neuron, points, record
from helpers.networks import Pooled, TinyLeaky, images, spiking
from torch import Tensor

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.graph import forward
from spiking_yolo.snn.coding import uniform
from spiking_yolo.snn.neurons import CONFIDENCE_STEPS, NeuronLayer

MSAT = get_recipe("msat").with_settings({"msat.gain": 1, "msat.confidence": "after"})
# theta stays at Theta: easy to follow by hand.
FIXED = {"msat.dtt": False, "msat.det": False}


def potentials(layer: NeuronLayer, zs: list[float]) -> list[tuple[float, float]]:
    """What is sent, in thresholds, and U after it."""
    steps = []
    for z in zs:
        out = layer(torch.tensor([[z]], dtype=torch.float64)).item()
        steps.append((out, layer.potential.item()))
    return steps


def test_no_confidence_drops_every_spike_of_the_first_16_steps():
    """z = 3/4, theta = 1. After the reset the charge of a dropped spike is lost; before, it waits
    and is sent later.
    """
    zs = [0.75] * 24
    free = potentials(neuron(MSAT.with_settings({**FIXED, "msat.confidence": "off"})), zs)
    after = potentials(neuron(MSAT.with_settings(FIXED), confidence=0.0), zs)
    assert [u for _, u in after] == [u for _, u in free]
    assert [s for s, _ in after] == [0.0] * 16 + [s for s, _ in free[16:]] and sum(
        s for s, _ in free[:16]
    ) == 12
    before = potentials(
        neuron(MSAT.with_settings({**FIXED, "msat.confidence": "before"}), confidence=0.0), zs
    )
    assert before[15] == (0.0, 12.0)
    assert [s for s, _ in before[16:]] == [1.0] * 8 and before[-1][1] == 24 * 0.75 - 8


@pytest.mark.parametrize("mode", ["after", "before"])
def test_full_confidence_drops_nothing(mode: str):
    zs = [0.75, -0.2, 0.9, 0.4] * 6
    sure = potentials(neuron(MSAT.with_settings({"msat.confidence": mode}), confidence=1.0), zs)
    assert sure == potentials(neuron(MSAT.with_settings({"msat.confidence": "off"})), zs)


@pytest.mark.parametrize("mode", ["after", "before"])
def test_what_is_dropped_is_drawn_by_seed_image_layer_and_step(mode: str):
    """Second implementation of the dropping, with the project's own random numbers, for many
    neurons at once.
    """
    recipe, c = MSAT.with_settings({**FIXED, "msat.confidence": mode, "encoding.seed": 5}), 0.6
    layer = neuron(recipe, confidence=c)
    keys = [11, 12]
    layer.reset(keys)
    z, u, kept = torch.full((2, 1, 4, 25), 0.75, dtype=torch.float64), torch.zeros(2, 1, 4, 25), []
    for t in range(24):
        keep = (
            (uniform(z, 5, keys, "neuron", t) < c).double()
            if t < CONFIDENCE_STEPS
            else torch.ones_like(z)
        )
        u = u + z
        fired = (u >= 1).double() * (keep if mode == "before" else 1)
        u = u - fired
        assert torch.equal(layer(z), fired * keep) and torch.equal(layer.potential, u)
        kept.append(keep)
    share = torch.stack(kept[:CONFIDENCE_STEPS]).mean().item()
    assert share == pytest.approx(c, abs=5 * (c * (1 - c) / (16 * 200)) ** 0.5)


def test_confidence_is_counted_by_hand():
    """Two places. Layer 1 fires rightly. In layer 2, after Theta = 1 from the first place, weights
    1 and -5/2:

    left:  (1, 0):    current 1 in every step, rightly. right: (0.9, 0.4): the ANN says 0.9 - 1 =
    -0.1, but 0.9 fires first, at t = 2, and 0.4 only at t = 3: wrongly. Of two that fired one
    should have: 1/2.
    """
    graph = points(
        [([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0]), ([[1.0, -2.5]], [0.0]), ([[1.0]], [0.0])]
    )
    x = torch.tensor([[1.0, 0.9], [0.0, 0.4]], dtype=torch.float64).reshape(1, 2, 1, 2)
    neurons = spiking(graph, x, MSAT, FIXED).neurons
    assert neurons["act1"]["theta"].tolist() == [1.0, 1.0] and neurons["act2"][
        "theta"
    ].tolist() == [1.0]
    assert neurons["act1"]["confidence"].item() == 1.0
    assert neurons["act2"]["confidence"].item() == 0.5


def test_both_neurons_of_a_pair_are_counted():
    """Same network with slope 1/2. Layer 1 sends 0.9 - 5/2 * 0.4 as before: ON fires wrongly, OFF
    rightly. 2 of 3.
    """
    graph = points(
        [([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0]), ([[1.0, -2.5]], [0.0]), ([[1.0]], [0.0])],
        slope=0.5,
    )
    x = torch.tensor([[1.0, 0.9], [0.0, 0.4]], dtype=torch.float64).reshape(1, 2, 1, 2)
    neurons = spiking(graph, x, MSAT, FIXED).neurons
    assert neurons["act2"]["theta_off"].item() == pytest.approx(0.1)
    assert neurons["act2"]["confidence"].item() == pytest.approx(2 / 3)


def test_a_silent_layer_is_trusted():
    graph = points([([[1.0]], [-5.0]), ([[1.0]], [1.0])])
    x = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    assert spiking(graph, x, MSAT).neurons["act1"]["confidence"].item() == 1.0


@pytest.mark.parametrize("cls", [Pooled, TinyLeaky])
def test_confidence_is_measured_without_dropping(cls: type):
    """By its definition, from the first spikes of every neuron over both calibration images."""
    measured = {"msat.gain": 3, "msat.confidence": "after"}
    _, converted = method(cls, "msat", measured)
    free = method(cls, "msat", {"msat.gain": 3})[1].network(observed=True)
    spoke: dict[str, list[Tensor]] = {}

    def probe(name: str, t: int, layer: NeuronLayer, current: Tensor | None) -> None:
        sides = [layer.on, layer.off] if hasattr(layer, "on") else [layer]  # type: ignore[attr-defined]
        if t == 16:
            spoke[name] = [side.count > 0 for side in sides]

    free.run(images(2), 16, probes=[probe])
    ann: dict[str, Tensor] = {}
    forward(converted.graph, images(2), lambda node, before, after: ann.update({node.name: before}))
    for name, sides in spoke.items():
        drives = [ann[name], -ann[name]][: len(sides)]
        right = sum(int((s & (d > 0)).sum()) for s, d in zip(sides, drives, strict=True))
        fired = sum(int(s.sum()) for s in sides)
        assert converted.neurons[name]["confidence"].item() == pytest.approx(right / fired)
    assert any(converted.neurons[name]["confidence"] < 1 for name in spoke), "nothing fired wrongly"
    last = method(cls, "msat", {**measured, "msat.unsure": "last"})[1].neurons
    # act3 and act1 are concatenated for a head.
    read = {"body_8"} if cls is Pooled else {"act1", "act2", "act3"}
    for name, own in converted.neurons.items():
        assert last[name]["confidence"] == (own["confidence"] if name in read else 1)


def test_dropping_does_not_depend_on_the_batch_and_follows_the_seed():
    """In another batch up to rounding: MSAT's thresholds, which follow the sums of a layer, are
    real numbers.
    """
    _, converted = method(TinyLeaky, "msat", {"msat.gain": 1, "msat.confidence": "after"})
    neurons = {k: {**v, "confidence": torch.tensor(0.5)} for k, v in converted.neurons.items()}
    x = images(3)
    halved = replace(converted, neurons=neurons)
    together = record(halved.network(observed=True), x, 20)
    for i in range(3):
        alone = record(halved.network(observed=True), x[i : i + 1], 20)
        for name, sent in alone.items():
            torch.testing.assert_close(sent[:, 0], together[name][:, i], rtol=1e-9, atol=1e-12)
    other = replace(halved, recipe=halved.recipe.with_settings({"encoding.seed": 1}))
    assert not torch.equal(record(other.network(observed=True), x, 20)["act1"], together["act1"])
    assert not torch.equal(
        record(converted.network(observed=True), x, 20)["act1"], together["act1"]
    )
