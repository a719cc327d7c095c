"""Neurons of the identity are exported like all others; NIR, which has no signed neurons, takes
pairs.
"""

from pathlib import Path

import pytest
import torch
from helpers.networks import images, spiking

from spiking_yolo.apps.export.expressible import missing, needed
from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.graph.rewrites import with_identities
from spiking_yolo.graph.trace import trace


@pytest.fixture
def converted() -> Converted:
    torch.manual_seed(0)
    layers = [
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.Conv2d(4, 4, 1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(4, 5, 1),
    ]
    model = torch.nn.Sequential(*layers).double()
    return spiking(with_identities(trace(model, images(1))), images(2), get_recipe("msat-plus"))


def test_they_are_saved_and_loaded(converted: Converted, tmp_path: Path):
    converted.save(tmp_path / "net.safetensors")
    loaded = Converted.load(tmp_path / "net.safetensors")
    assert (
        loaded.graph["_0_identity"].phi.slope == 1
        and len(loaded.neurons["_0_identity"]["theta"]) == 4
    )
    runs = [c.network().run(images(1), 8).snapshots[8].outputs[0] for c in (converted, loaded)]
    assert torch.equal(*runs)


def test_nir_names_them(converted: Converted):
    first, second = missing(*needed(converted))
    assert first.node.name == "_0_identity" and "SignedMemory; use --method p-norm" in first.reason
    assert second.node.name == "_2"
