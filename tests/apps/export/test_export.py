"""The verb export: each kind of file, and refusals that leave nothing behind."""

import json

import pytest
from helpers.calibrating import calibrate_on
from helpers.networks import images, make
from helpers.tiny import files, photo, run_tool, write_tiny

from spiking_yolo.models.load import save_checkpoint
from spiking_yolo.models.spec import Spec
from spiking_yolo.models.trainable import vgg16


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


def test_refuses(tmp_path, capsys):
    pytest.importorskip("nir")
    weights = write_tiny(tmp_path)
    (tmp_path / "net.nir").write_text("kept")
    before = files(tmp_path)
    for args, word in (
        (["-o", "D/net.xml"], "end in"),
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
