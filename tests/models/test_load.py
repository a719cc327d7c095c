"""Files that are given in place of a network: each is called by its name, with the way out."""

from pathlib import Path

import pytest
from helpers.pickles import archive, mapping, network, plain, record

from spiking_yolo import UserError
from spiking_yolo.models.load import load_ann
from spiking_yolo.models.yolo_checkpoint import read_checkpoint

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)


@pytest.mark.parametrize("name", ["a.pt", "a.weights", "a.safetensors", "a.engine", "a_model"])
def test_what_is_no_network(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(POINTER)
    with pytest.raises(UserError, match=name) as caught:
        load_ann(tmp_path / name)
    assert "\n" not in str(caught.value)


def layer(name: str, **modules: bytes) -> bytes:
    """A layer of a class, which reads the layer before it."""
    return record(name, f=plain(-1), _modules=mapping(**modules) if modules else b"}")


BRANCH = record("torch.nn.modules.container ModuleList")
HEAD = record("models.yolo Detect", f=b"]K\x00a", nc=plain(1), _modules=mapping(m=BRANCH))
UNKNOWN = {
    "model.0' (StemBlock) is not known": [layer("models.common StemBlock"), HEAD],
    "model.0' (Conv) is not known": [
        layer("models.common Conv", other=layer("models.common Concat")),
        HEAD,
    ],
    "model.0' (OBB) is no head": [layer("ultralytics.nn.modules.head OBB")],
}


@pytest.mark.parametrize("said", UNKNOWN)
def test_a_layer_that_is_not_known_is_named(tmp_path: Path, said: str):
    archive(tmp_path / "best.pt", network(*UNKNOWN[said]))
    with pytest.raises(UserError) as caught:
        read_checkpoint(tmp_path / "best.pt")
    assert said in str(caught.value) and ".onnx" in str(caught.value)
