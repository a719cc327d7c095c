"""Converted networks on disk: the same bits back, and nothing executed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.networks import ALL, Pooled, TinyLeaky, images, make, spiking
from safetensors.torch import save_file
from torch import nn

from spiking_yolo.convert.load import Converted, load
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph
from spiking_yolo.recipe import Recipe

# A gain, corrections of starts and of biases, values at rest, a schedule.
KINDS = ("msat", "calibration-advanced", "calibration-light", "signed-digits", "css")


def assert_same_run(a: Converted, b: Converted, x: torch.Tensor, *to: Any) -> None:
    networks = [c.network() if c.recipe.complete else c.simulator(*to) for c in (a, b)]
    first, second = (network.run(x.to(*to), 8).snapshots[8] for network in networks)
    assert all(torch.equal(p, q) for p, q in zip(first.outputs, second.outputs, strict=True))
    assert all(torch.equal(first.spikes[k], second.spikes[k]) for k in first.spikes)
    assert torch.equal(first.operations.spikes, second.operations.spikes)


@pytest.mark.parametrize(
    ("cls", "method"), [*((TinyLeaky, name) for name in KINDS), *((cls, "dcgs") for cls in ALL[1:])]
)
def test_round_trip_is_bit_identical(cls: type[nn.Module], method: str, tmp_path: Path):
    x = images(2)
    converted = spiking(make(cls), x, get_recipe(method), {"calibration.T": 8})
    converted.save(tmp_path / "net.safetensors")
    loaded = Converted.load(tmp_path / "net.safetensors")
    for name in ("recipe", "spec", "provenance"):
        assert getattr(loaded, name) == getattr(converted, name)
    assert loaded.graph.nodes == converted.graph.nodes
    assert loaded.graph.outputs == converted.graph.outputs
    assert_same_run(converted, loaded, x, torch.float64)
    assert_same_run(converted, loaded, x, torch.float32)


def test_the_same_network_is_loaded_by_its_contents(tmp_path: Path):
    x = images(1)
    converted = spiking(make(TinyLeaky), x, Recipe("tested"))
    converted.save(tmp_path / "net.safetensors")
    assert_same_run(load(tmp_path / "net.safetensors"), converted, x, torch.float64)
    with pytest.raises(UserError, match=r"already converted: give no method"):
        load(tmp_path / "net.safetensors", "sfn", {"neuron.gamma": "2"})


def test_other_and_damaged_files_are_refused(tmp_path: Path):
    path = tmp_path / "net.safetensors"
    converted = spiking(make(TinyLeaky), images(1), Recipe("tested"))
    converted.save(path)
    whole = path.read_bytes()
    for content in (b"", whole[:100], whole[:-1]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"net\.safetensors"):
            Converted.load(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="not a converted network"):
        Converted.load(path)
    with pytest.raises(UserError, match="cannot read"):
        Converted.load(tmp_path / "missing.safetensors")


def test_a_file_whose_network_would_do_harm_is_refused(tmp_path: Path):
    for change, what in [
        # SIGFPE when it runs.
        (lambda node: replace(node, attrs={**node.attrs, "stride": [0, 0]}), "does not fit"),
        # Memory.
        (lambda node: replace(node, attrs={**node.attrs, "padding": [10**9] * 2}), "does not fit"),
        # A file of its pictures.
        (lambda node: replace(node, name="../../../escaped"), "must be named by letters"),
    ]:
        net = spiking(make(Pooled), images(1), get_recipe("dcgs"))
        source, first, second, *rest = net.graph.nodes
        changed = change(first)
        nodes = (source, changed, replace(second, inputs=(changed.name,)), *rest)
        tensors, old, new = {}, f"{first.name}.", f"{changed.name}."
        for key, value in net.graph.tensors.items():
            tensors[key.replace(old, new)] = value
        graph = Graph(nodes, net.graph.outputs, tensors)
        replace(net, graph=graph).save(tmp_path / "net.safetensors")
        with pytest.raises(UserError, match=what) as error:
            Converted.load(tmp_path / "net.safetensors")
        assert "\n" not in str(error.value)
