"""On a device that computes while the host goes on nobody asks what has happened: zeros are sent,
of the same worth.
"""

from typing import Any

import pytest
import torch
from helpers.networks import Pooled, TinyLeaky, images, make, same, spiking

from spiking_yolo.convert.methods import get_recipe, list_methods
from spiking_yolo.integer.stream import Stream
from spiking_yolo.snn import network as network_module
from spiking_yolo.snn import pooling as pooling_module
from spiking_yolo.snn.coding import pixel_change
from spiking_yolo.snn.network import SpikingNetwork
from spiking_yolo.snn.neurons import layer as layer_module

DIFFERENTIAL = [name for name in list_methods() if get_recipe(name).differential]


@pytest.mark.parametrize(
    ("method", "cls"),
    [*((method, TinyLeaky) for method in DIFFERENTIAL), ("dcgs", Pooled), ("few-spikes", Pooled)],
)
def test_nobody_asks_and_all_is_the_same(monkeypatch: pytest.MonkeyPatch, method: str, cls: Any):
    """Photographs and frames, one of which is the same again. Only how many steps are simulated is
    another number.
    """
    recipe = get_recipe(method).with_settings({"encoding.tau": 0.1})
    short = {"calibration.steps": 2} if recipe.calibration.kind == "trained" else {}
    net, x = spiking(make(cls), images(2), recipe, short), images(2)
    y = x.clone()
    y[:, :, 2:5, 2:5] += 0.3

    def run(network: SpikingNetwork) -> list[Any]:
        stream = Stream(network, T=40)
        return [stream(frame, steps=[1, 2, 5], maps=True) for frame in (x, y, y, x)]

    asked = run(net.simulator(event_driven=False))
    for module in (layer_module, network_module, pooling_module):
        monkeypatch.setattr(module, "on_cpu", lambda x: False)
    unasked = run(net.simulator(event_driven=False))
    for one, other in zip(asked, unasked, strict=True):
        assert (one.fresh, one.cut) == (other.fresh, other.cut)
        assert one.run.analogue_macs == other.run.analogue_macs
        assert one.run.snapshots.keys() == other.run.snapshots.keys()
        assert one.run.steps <= other.run.steps
        for t, snapshot in one.run.snapshots.items():
            unasked_for = other.run.snapshots[t]
            assert same(snapshot, unasked_for)
            # Zeros of a pooling count where they are no silence.
            more = snapshot.updates - unasked_for.updates
            assert not more.any() if method != "dcgs" else (more >= 0).all()


@pytest.mark.parametrize("tau", [0.0, 0.1])
def test_every_pixel_of_a_change_is_as_good_as_those_that_changed(tau: float):
    before, x = images(2), images(2)
    x[:, :, ::3] += 0.05
    x[1, 0, 2:4] += 0.3
    few, every = (pixel_change(x, before, tau, every) for every in (False, True))
    assert len(few[0].where) < len(every[0].where) == 2 * 8 * 8 and torch.equal(few[1], every[1])
    assert torch.equal(few[0].dense(), every[0].dense())
    assert torch.equal(few[0].counted(), every[0].counted())
