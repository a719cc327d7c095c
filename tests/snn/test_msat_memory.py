"""MSAT with a theta for every channel, and neurons that wait for their threshold to come down."""

import pytest
import torch
from helpers.methods import neuron

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.graph import Activation
from spiking_yolo.snn.neurons import build_neurons

MSAT = get_recipe("msat").with_settings({"msat.confidence": "off"})
PLUS = get_recipe("msat-plus").with_settings({"encoding.coarse": 0, "encoding.refine": 0})
THETAS = [0.5, 2.0, 1.25]


@pytest.mark.parametrize(
    "method",
    [MSAT, PLUS.with_settings({"encoding.coding": "rate", "msat.det": True})],
    ids=lambda v: getattr(v, "name", str(v)),
)
@pytest.mark.parametrize(
    "settings",
    [{}, {"msat.mu": True}, {"msat.units": "raw"}, {"msat.stages": 3}],
    ids=lambda v: getattr(v, "name", str(v)),
)
def test_channels_adapt_each_for_itself(method, settings):
    """A layer with three thetas sends what three neurons with one theta each send, of the same
    inputs.
    """
    recipe = method.with_settings({"msat.gain": 1, **settings})
    theta = torch.tensor(THETAS, dtype=torch.float64)
    layer = build_neurons(
        {"theta": theta, "initial": torch.tensor(recipe.neuron.initial)}, recipe, Activation()
    )
    layer.reset([0])
    alone = [neuron(recipe, one) for one in THETAS]
    generator = torch.Generator().manual_seed(2)
    fired, values = 0.0, set()
    for _ in range(40):
        z = torch.rand(1, 3, generator=generator, dtype=torch.float64) * 2 - 0.4
        expected = torch.cat([one(z[:, c : c + 1]).clone() for c, one in enumerate(alone)], 1)
        assert torch.allclose(layer(z), expected, rtol=1e-12, atol=1e-12)
        fired, values = (
            fired + expected.abs().sum().item(),
            values | set(expected.flatten().tolist()),
        )
    assert fired > 10 and len(values) > 2  # it did adapt


@pytest.mark.parametrize("slope", [0.0, 0.5])
def test_silent_neurons_wait_for_their_threshold(slope):
    """Without input, a silent neuron that says it is settled never fires again, and one that says
    it is not does.
    """
    waited, due = 0, {1: 0, -1: 0}
    for k in range(-60, 61):
        layer = neuron(PLUS.with_settings({"msat.alpha": 2.0}), slope=slope)
        first = torch.tensor([[k / 7 + 0.003]], dtype=torch.float64)
        sent = [layer(first).item()]
        claims = [layer.quiet()]
        for _ in range(400):
            sent.append(layer(torch.zeros(1, 1, dtype=torch.float64)).item())
            claims.append(layer.quiet())
        for t in range(40):
            later = [value for value in sent[t + 1 :] if value]
            if sent[t] == 0 or claims[t]:
                assert claims[t] == (not later), (k, t)
            if sent[t] == 0 and later:
                waited += 1
                due[1 if later[0] > 0 else -1] += 1
    assert waited and (due[1] and (due[-1] or not slope)), (waited, due)
