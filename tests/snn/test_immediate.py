"""On a device that computes while the host goes on nobody asks what has happened: zeros are sent,
of the same worth.
"""

from typing import Any

import pytest
from helpers.networks import Pooled, TinyLeaky, images, make, same, spiking

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.snn import network as network_module
from spiking_yolo.snn import pooling as pooling_module
from spiking_yolo.snn.neurons import layer as layer_module


@pytest.mark.parametrize(
    ("method", "cls"), [("css", TinyLeaky), ("dcgs", TinyLeaky), ("dcgs", Pooled)]
)
def test_nobody_asks_and_all_is_the_same(monkeypatch: pytest.MonkeyPatch, method: str, cls: Any):
    """Only how many steps are simulated is another number."""
    x = images(2)
    network = spiking(make(cls), x, get_recipe(method)).simulator(event_driven=False)
    asked = network.run(x, 40, [1, 2, 5], maps=True)
    for module in (layer_module, network_module, pooling_module):
        monkeypatch.setattr(module, "on_cpu", lambda x: False)
    unasked = network.run(x, 40, [1, 2, 5], maps=True)
    assert asked.analogue_macs == unasked.analogue_macs and asked.steps <= unasked.steps
    assert asked.snapshots.keys() == unasked.snapshots.keys()
    for t, snapshot in asked.snapshots.items():
        assert same(snapshot, unasked.snapshots[t])
        # Zeros of a pooling count where they are no silence.
        more = snapshot.updates - unasked.snapshots[t].updates
        assert not more.any() if method != "dcgs" else (more >= 0).all()
