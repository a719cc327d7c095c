"""A graphics card, where there is one: what it finds is what the processor finds."""

from pathlib import Path

import pytest
import torch
from helpers.methods import recipe_of
from helpers.networks import Residual, TinyLeaky, images, make, spiking
from helpers.tiny import photo, write_tiny
from torch.testing import assert_close

from spiking_yolo.api import SpikingYOLO
from spiking_yolo.convert.load import load
from spiking_yolo.convert.methods import list_methods
from spiking_yolo.result import Result

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a GPU of NVIDIA and a PyTorch with CUDA"
)
DEVICE = "cuda:0"


@pytest.mark.parametrize("cls", [TinyLeaky, Residual])
@pytest.mark.parametrize("method", list_methods())
def test_every_method(method: str, cls: type[torch.nn.Module]):
    """In float64, where a sum in another order hardly ever takes a neuron over its threshold."""
    net, x = spiking(make(cls), images(2), recipe_of(method)), images(2, seed=1)
    here = net.network().run(x, 12, [1, 4]).snapshots
    there = net.network(DEVICE).run(x.to(DEVICE), 12, [1, 4]).snapshots
    for t, snapshot in here.items():
        for ours, expected in zip(there[t].outputs, snapshot.outputs, strict=True):
            assert_close(ours.cpu(), expected, rtol=1e-6, atol=1e-6)
        assert_close(there[t].updates.cpu(), snapshot.updates)
        assert_close(there[t].operations.digits.cpu(), snapshot.operations.digits)


def same(ours: Result, expected: Result) -> None:
    """The same boxes, in any order, and nearly the same costs: a sum in float32 depends on its
    order.
    """
    assert len(ours) == len(expected)
    for result in (ours, expected):
        assert result.boxes.xyxy.device.type == "cpu"
    found, wanted = (result.boxes.xyxy[result.boxes.conf.argsort()] for result in (ours, expected))
    assert_close(found, wanted, rtol=0, atol=0.1)  # pixels
    assert ours.operations["digits"] == pytest.approx(expected.operations["digits"], rel=0.01)


@pytest.mark.parametrize("method", ["p-norm", "dcgs", "sigma-delta"])
def test_detect_and_stream(method: str, tmp_path: Path):
    net = load(write_tiny(tmp_path), method)
    frames = [photo(tmp_path / f"{seed}.png", seed) for seed in (0, 0, 1)]
    here, there = SpikingYOLO(net), SpikingYOLO(net, device=DEVICE)
    same(there.detect_ann(frames[0]), here.detect_ann(frames[0]))
    same(there.detect(frames[0], T=8, steps=[4]), here.detect(frames[0], T=8, steps=[4]))
    for ours, expected in zip(there.stream(frames, T=4), here.stream(frames, T=4), strict=True):
        same(ours, expected)
        assert (ours.frame, ours.cut) == (expected.frame, expected.cut)
