"""Files that are given in place of a checkpoint: each is called by its name, with the way out."""

from pathlib import Path

import pytest
import torch
from helpers.pickles import archive, mapping, network, plain, record
from helpers.tiny import write_tiny

from spiking_yolo import UserError
from spiking_yolo.models.load import file_kind, load_ann
from spiking_yolo.models.yolo_checkpoint import read_checkpoint

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)
# First bytes as TensorFlow writes them.
TFLITE = b"\x1c\x00\x00\x00TFL3\x14\x00 \x00"
NAMES = ("best.engine", "best.torchscript", "best.mnn", "BEST.TFLITE")


def refusal(path: Path, trust: bool = False) -> str:
    with pytest.raises(UserError) as caught:
        load_ann(path, trust=trust)
    said = str(caught.value)
    assert "\n" not in said and str(path) in said
    return said


def test_a_pointer_of_git_lfs(tmp_path: Path):
    for name in ["best.pt", "yolo.weights", "best.safetensors"]:
        (tmp_path / name).write_bytes(POINTER)
        assert "git lfs pull" in refusal(tmp_path / name)
        assert "trust" not in refusal(tmp_path / name, trust=True)


def test_an_export_under_another_name(tmp_path: Path):
    for name in ("best.pt", "best.weights", "best.onnx"):
        (tmp_path / name).write_bytes(TFLITE)
        assert "the .pt that it was made from" in refusal(tmp_path / name, trust=True)


def test_an_export_by_its_name(tmp_path: Path):
    for name in NAMES:
        (tmp_path / name).write_bytes(bytes(64))
        assert "only .onnx" in refusal(tmp_path / name)


def test_an_export_that_is_a_folder(tmp_path: Path):
    for name in ("best.mlpackage", "best_saved_model"):
        (tmp_path / name).mkdir()
        assert "only .onnx" in refusal(tmp_path / name)
    (tmp_path / "weights").mkdir()
    assert "give a file" in refusal(tmp_path / "weights")
    assert "cannot read the weights" in refusal(tmp_path / ("long" * 100))


class Net(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


def test_a_script_of_torch(tmp_path: Path):
    torch.jit.trace(Net(), torch.zeros(1)).save(str(tmp_path / "best.pt"))  # type: ignore[attr-defined]
    assert "give a file of torch.save" in refusal(tmp_path / "best.pt")


def test_what_is_no_export(tmp_path: Path):
    """The kinds of files that are read keep theirs, also under an export's name."""
    weights = write_tiny(tmp_path)
    (statistics,) = tmp_path.glob("*.calibrations.safetensors")
    torch.save({"a": torch.zeros(2)}, tmp_path / "net.onnx")
    assert file_kind(weights) == "darknet"
    assert file_kind(statistics) == "safetensors"
    assert file_kind(tmp_path / "net.onnx") == "pickle"


def layer(name: str, **modules: bytes) -> bytes:
    """A layer of a class, which reads the layer before it."""
    return record(name, f=plain(-1), _modules=mapping(**modules) if modules else b"}")


HEAD = record(
    "models.yolo Detect",
    f=b"]K\x00a",
    nc=plain(1),
    _modules=mapping(m=record("torch.nn.modules.container ModuleList")),
)
FORK, TRUST = "of a fork", "--trust-weights"
# Layers -> whether the message names a fork, and whether it offers trust.
UNKNOWN: dict[str, tuple[list[bytes], bool, bool]] = {
    "StemBlock": ([layer("models.common StemBlock"), HEAD], True, False),
    "a head of YOLOv7": ([layer("models.yolo IDetect")], True, False),
    "YOLOv5's own GhostConv": ([layer("models.common GhostConv"), HEAD], False, False),
    "another Conv": ([layer("models.common Conv", other=layer("models.common Conv")), HEAD], False, False),
    "of Ultralytics": ([layer("ultralytics.nn.modules.conv GhostConv"), HEAD], False, True),
    "another Conv of Ultralytics": (
        [layer("ultralytics.nn.modules.conv Conv", odd=layer("ultralytics.nn.modules.conv Conv")), HEAD],
        False,
        True,
    ),
    "a head of Ultralytics": ([layer("ultralytics.nn.modules.head OBB")], False, False),
}  # fmt: skip


def test_trust_is_offered_where_it_can_help(tmp_path: Path):
    for name in UNKNOWN:
        layers, fork, trust = UNKNOWN[name]
        archive(tmp_path / "best.pt", network(*layers))
        with pytest.raises(UserError) as caught:
            read_checkpoint(tmp_path / "best.pt")
        said = str(caught.value)
        assert (FORK in said, TRUST in said) == (fork, trust), said
