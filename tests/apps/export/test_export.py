"""The verb export: each kind of file, and refusals that leave nothing behind."""

import json
import sys

import pytest
from helpers.calibrating import calibrate_on
from helpers.networks import images, make
from helpers.tiny import ROOT, files, photo, run_tool, write_tiny

from spiking_yolo.convert.converted import Converted
from spiking_yolo.errors import pip_install
from spiking_yolo.io.files import sha256
from spiking_yolo.models.classifiers import vgg16
from spiking_yolo.models.load import save_checkpoint
from spiking_yolo.models.spec import Spec


@pytest.fixture
def classifier(tmp_path):
    """A checkpoint of the verb train with average pooling, and its statistics."""
    options = {"pool": "avg", "width": 0.0625}
    spec = Spec("classify", tuple("abc"), 32, 32, resize="stretch")
    model = make(vgg16, classes=3, **options).float()
    weights = tmp_path / "vgg.safetensors"
    save_checkpoint(weights, model, "vgg_thin", options, spec, {})
    calibrate_on(weights, [str(photo(tmp_path / "a.png"))])
    return weights


def test_nir(classifier, tmp_path, capsys):
    pytest.importorskip("nir")
    path = tmp_path / "new folder" / "net.nir"
    assert run_tool("export", "--weights", classifier, "--method", "p-norm", "-o", path) == 0
    said = capsys.readouterr().out
    assert "13 layers of neurons, method p-norm" in said and str(path) in said
    from helpers.nir_interpreter import simulate

    counts, outputs, graph = simulate(path, [images(1, 3, 32)] * 2)
    assert len(counts) == 13 and outputs["output"].shape == (1, 3)
    assert json.loads(graph.metadata["provenance"])["weights"] == "vgg.safetensors"


def test_safetensors_with_their_provenance(tmp_path, capsys):
    weights, path = write_tiny(tmp_path), tmp_path / "net.safetensors"
    assert run_tool("export", "--weights", weights, "-o", path) == 0
    assert f"saved to {path}" in capsys.readouterr().out
    provenance = Converted.load(path).provenance
    assert provenance["weights_sha256"] == sha256(weights)
    assert provenance["weights"] == "tiny.weights" and provenance["calibration_images"] == "2"


def test_refuses(tmp_path, capsys):
    pytest.importorskip("nir")
    weights = write_tiny(tmp_path)
    (tmp_path / "net.nir").write_text("kept")
    before = files(tmp_path)
    for args, word in (
        (["-o", "D/net.xml"], "ends in"),
        (["-o", "/dev/null/net.safetensors"], "cannot write"),
        (["-o", "D/net.nir"], "--overwrite"),
        (["-o", "D/net.nir", "--overwrite"], "cannot express"),
        (["-o", "D/net.nir", "--overwrite", "--boxes"], "--boxes"),
        (["-o", "D/net.onnx", "--ann", "--stateful"], "--ann"),
        (["-o", "D/net.safetensors", "--method", "magic"], "choose from"),
    ):
        line = ["--weights", weights, *(a.replace("D/", f"{tmp_path}/") for a in args)]
        assert run_tool("export", *line) == 2, args
        err = capsys.readouterr().err
        assert word in err and len(err.splitlines()) == 1
        assert files(tmp_path) == before and (tmp_path / "net.nir").read_text() == "kept"


def test_without_the_package(classifier, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "nir", None)
    path = tmp_path / "net.nir"
    assert run_tool("export", "--weights", classifier, "--method", "p-norm", "-o", path) == 2
    assert pip_install("export") in capsys.readouterr().err and not path.exists()
    assert 'export = ["nir>=1.0.6,<2"]' in (ROOT / "pyproject.toml").read_text()
