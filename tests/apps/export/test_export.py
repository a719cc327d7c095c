"""tools/export.py: three formats, what JSON says, and refusals that leave nothing behind."""

import json
import sys
from dataclasses import replace

import pytest
import torch
from helpers import networks
from helpers.calibrating import calibrate_on
from helpers.networks import images, make, spiking
from helpers.tiny import ROOT, photo, run_tool, write_tiny

from spiking_yolo.apps.export.write import describe
from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.errors import pip_install
from spiking_yolo.graph import shapes
from spiking_yolo.io.tensors import read_safetensors
from spiking_yolo.models.classifiers import vgg_thin
from spiking_yolo.models.load import save_checkpoint
from spiking_yolo.models.spec import Spec


def p_norm(model):
    return spiking(make(model), images(), get_recipe("p-norm"))


def test_shapes():
    graph = p_norm(networks.TinyLeaky).graph
    expected = {
        "conv1": (4, 8, 8),
        "pool1": (4, 4, 4),
        "pool2": (6, 4, 4),
        "up": (4, 8, 8),
        "head2": (5, 8, 8),
    }
    found = shapes(graph, 8, 8)
    assert {name: tuple(found[name]) for name in expected} == {
        k: (1, *v) for k, v in expected.items()
    }


@pytest.fixture
def classifier(tmp_path):
    """A checkpoint of tools/train.py's classifiers with average pooling, and its statistics."""
    options = {"pool": "avg", "width": 0.0625}
    spec = Spec("classify", tuple("abc"), 32, 32, resize="stretch")
    model = make(vgg_thin, classes=3, **options).float()
    weights = tmp_path / "vgg.safetensors"
    save_checkpoint(weights, model, "vgg_thin", options, spec, {})
    calibrate_on(weights, [str(photo(tmp_path / "a.png"))])
    return weights


def test_the_tool_writes_nir(classifier, tmp_path, capsys):
    pytest.importorskip("nir")
    path = tmp_path / "new folder" / "net.nir"
    assert (
        run_tool(
            "export", "--weights", classifier, "--method", "p-norm", "--format", "nir", "-o", path
        )
        == 0
    )
    said = capsys.readouterr().out
    assert "13 layers of neurons, method p-norm" in said and str(path) in said
    from helpers.nir_interpreter import simulate

    counts, outputs, graph = simulate(path, [images(1, 3, 32)] * 2)
    assert len(counts) == 13 and outputs["output"].shape == (1, 3)
    assert json.loads(graph.metadata["provenance"])["weights"] == "vgg.safetensors"


def test_the_tool_writes_the_file_of_convert(tmp_path):
    weights = write_tiny(tmp_path)
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    assert run_tool("convert", "--weights", weights, "-o", one) == 0
    assert run_tool("export", "--weights", weights, "--format", "safetensors", "-o", two) == 0
    (metadata, tensors), (same, again) = read_safetensors(one), read_safetensors(two)
    assert metadata == same and tensors.keys() == again.keys()
    assert all(torch.equal(tensors[k], again[k]) for k in tensors)


def test_the_tool_writes_json(tmp_path):
    weights, path = write_tiny(tmp_path), tmp_path / "net.json"
    saved = tmp_path / "net.safetensors"
    assert run_tool("convert", "--weights", weights, "--method", "channel-norm", "-o", saved) == 0
    assert run_tool("export", "--weights", saved, "--format", "json", "-o", path) == 0
    text, net = path.read_text(), Converted.load(saved)
    data = json.loads(text)
    assert data["recipe"] == json.loads(net.recipe.to_json()) and data["spec"] == json.loads(
        net.spec.to_json()
    )
    assert data["provenance"]["weights"] == "tiny.weights" and data["outputs"] == list(
        net.graph.outputs
    )
    assert [n["name"] for n in data["nodes"]] == [n.name for n in net.graph.nodes]
    conv, act = (next(n for n in data["nodes"] if n["op"] == op) for op in ("conv", "activation"))
    assert conv["weight"] == [4, 3, 3, 3] and conv["bias"] == [4] and conv["shape"] == [4, 64, 64]
    assert act["inputs"] == [conv["name"]] and act["attrs"]["slope"] == 0.1
    assert act["neurons"]["theta"] == pytest.approx(
        net.neurons[act["name"]]["theta"].tolist(), rel=1e-6
    )
    assert act["neurons"]["initial"] == 0
    assert len(text.splitlines()) == len(data["nodes"]) + 9  # a line per node, for people


def test_json_takes_values_per_neuron_as_a_range():
    net = p_norm(networks.Residual)
    neurons = {
        **net.neurons,
        "relu": {**net.neurons["relu"], "initial": torch.arange(256).reshape(4, 8, 8) / 256},
    }
    first = next(
        n
        for n in json.loads(describe(replace(net, neurons=neurons)))["nodes"]
        if n["op"] == "activation"
    )
    assert first["neurons"]["initial"] == {
        "shape": [4, 8, 8],
        "min": 0,
        "max": pytest.approx(255 / 256),
    }
    assert first["neurons"]["theta"] == pytest.approx(
        net.neurons["relu"]["theta"][0].item(), rel=1e-6
    )


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--format", "xml", "-o", "D/net.xml"], "xml"),
        (["--format", "nir"], "--output"),
        (["-o", "D/net.nir"], "--format"),
        (["--format", "nir", "-o", "D/net.json"], "must end in .nir"),
        (["--format", "json", "-o", "/dev/null/net.json"], "cannot write"),
        (["--format", "nir", "-o", "D/net.nir"], "--overwrite"),
        (["--format", "nir", "-o", "D/net.nir", "--overwrite"], "cannot be exported"),
        (["--format", "nir", "-o", "D/new/net.nir", "--method", "p-norm"], "--pool avg"),
        (["--format", "json", "--explain"], "json takes every network"),
        (
            ["--format", "json", "-o", "D/net.json", "--weights", "D/nowhere.weights"],
            "nowhere.weights",
        ),
    ],
)
def test_the_tool_refuses(args, expected, tmp_path, capsys):
    if "nir" in args:
        pytest.importorskip("nir")
    weights = write_tiny(tmp_path)
    (tmp_path / "net.nir").write_text("kept")
    before = sorted(tmp_path.rglob("*"))
    args = [a.replace("D/", f"{tmp_path}/") for a in args]
    assert run_tool("export", *([] if "--weights" in args else ["--weights", weights]), *args) == 2
    err = capsys.readouterr().err
    assert expected in err and len(err.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / "net.nir").read_text() == "kept"


def test_the_refusal_counts_and_the_explanation_lists(tmp_path, capsys):
    """The tiny network has two layers of neurons and two poolings between its three
    convolutions.
    """
    args = ["--weights", write_tiny(tmp_path), "--format", "nir", "-o", tmp_path / "net.nir"]
    before = sorted(tmp_path.rglob("*"))
    assert run_tool("export", *args) == 2
    err = capsys.readouterr().err
    assert (
        "4 of 8 nodes cannot be exported" in err
        and err.count("the first of 2)") == 2
        and "--explain lists" in err
    )
    assert run_tool("export", *args, "--explain") == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("4 of 8 nodes") and rest.pop(0) == ""
    assert "SignedMemory; use --method p-norm" in rest[0] and "no max pooling" in rest[4]
    assert [line.split(maxsplit=2)[1:] for line in rest[1:3]] == [
        ["activation", f"{c} x {s} x {s}"] for c, s in ((4, 64), (8, 32))
    ]
    assert [line.split(maxsplit=2)[1:] for line in rest[5:]] == [
        ["max_pool", f"{c} x {s} x {s}"] for c, s in ((4, 32), (8, 16))
    ]
    assert sorted(tmp_path.rglob("*")) == before


def test_nothing_to_explain(classifier, capsys):
    assert (
        run_tool(
            "export", "--weights", classifier, "--method", "p-norm", "--format", "nir", "--explain"
        )
        == 0
    )
    assert "NIR can express all 34 nodes" in capsys.readouterr().out


def test_a_system_that_refuses_to_write(classifier, capsys):
    pytest.importorskip("nir")
    args = [
        "--weights",
        classifier,
        "--method",
        "p-norm",
        "--format",
        "nir",
        "-o",
        "/dev/null/net.nir",
    ]
    assert run_tool("export", *args) == 2
    assert "cannot write" in capsys.readouterr().err


def test_without_the_package(classifier, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "nir", None)
    args = [
        "--weights",
        classifier,
        "--method",
        "p-norm",
        "--format",
        "nir",
        "-o",
        tmp_path / "net.nir",
    ]
    assert run_tool("export", *args) == 2
    assert pip_install("export") in capsys.readouterr().err and not (tmp_path / "net.nir").exists()
    assert 'export = ["nir>=1.0.6,<2"]' in (ROOT / "pyproject.toml").read_text()
