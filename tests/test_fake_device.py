"""Both engines and a detector on a graphics card that is not there: is anything on another device?"""

from functools import cache
from typing import Any

import pytest
from helpers.fake_device import DEVICE, FakeDevice
from helpers.methods import recipe_of
from helpers.networks import Pooled, Residual, TinyLeaky, images, make, numbers, spiking
from helpers.tiny import photo, write_tiny

from spiking_yolo.api import SpikingYOLO
from spiking_yolo.convert.load import Converted, load
from spiking_yolo.convert.methods import list_methods
from spiking_yolo.integer.video import Stream
from spiking_yolo.io.files import default_weights

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "random input": ("p-norm", {"encoding.input": "poisson"}),
    "switches": ("p-norm", {"neuron.events": "switches"}),
    "reset to zero": ("p-norm", {"neuron.reset": "zero"}),
    "some steps are not read": ("burst", {"readout.skip": 1}),
}


@pytest.fixture
def device() -> FakeDevice:
    return FakeDevice()


@cache
def converted(cls: Any, method: str, **settings: Any) -> Converted:
    return spiking(make(cls), images(2), recipe_of(method), settings)


def test_every_method_runs_there(device: FakeDevice):
    """A detector and a classifier. What is left to be read is on the device."""
    for method, cls in (
        *((method, TinyLeaky) for method in list_methods()),
        *((method, Pooled) for method in ("p-norm", "dcgs", "signed-digits")),
    ):
        net = converted(cls, method)
        with device:
            run = net.network(DEVICE).run(images(2).to(DEVICE), 3, [1], maps=True)
            last = run.snapshots[3]
            assert {str(value.device) for value in (*numbers(last), last.updates)} == {DEVICE}


@pytest.mark.parametrize("variant", VARIANTS)
def test_so_does_every_variant(device: FakeDevice, variant: str):
    """Residual blocks, and neurons that are observed too."""
    method, settings = VARIANTS[variant]
    net = converted(Residual, method, **settings)
    with device:
        x = images(2).to(DEVICE)
        net.network(DEVICE).run(x, 3, [2])
        probe = lambda name, t, layer, current: layer.threshold  # noqa: E731
        net.simulator(DEVICE, observed=True).run(x, 3, probes=[probe])


def test_frames_of_a_video(device: FakeDevice):
    net = converted(TinyLeaky, "signed-digits")
    with device:
        stream = Stream(net.network(DEVICE), T=2)
        runs = [stream(images(1, seed).to(DEVICE), maps=True) for seed in range(2)]
    assert any(not one.fresh for one in runs)


@pytest.mark.parametrize("method", ["p-norm", "dcgs", None])
def test_a_detector(device: FakeDevice, method: str | None, tmp_path: Any):
    """None: the network and the method that one gets unasked."""
    net = load(write_tiny(tmp_path) if method else default_weights(), method)
    one, other = (photo(tmp_path / f"{seed}.png", seed) for seed in range(2))
    with device:
        found = SpikingYOLO(net, device=DEVICE)
        result = found.detect(one, T=3, steps=[1, 2], conf=0.5)
        assert len(found.detect_ann(one, conf=0.5)) and len(result) and result.operations
        frames = list(found.stream([one, other], T=2, conf=0.5))
    assert len(frames) == 2
