"""The index of networks, how names are found, and files that are given in place of a network."""

from pathlib import Path

import pytest
from helpers.pickles import archive, mapping, network, plain, record

from spiking_yolo.convert.calibration_file import CalibrationFile
from spiking_yolo.convert.methods import DEFAULT
from spiking_yolo.errors import UserError
from spiking_yolo.io.files import sha256
from spiking_yolo.models import index
from spiking_yolo.models.index import located
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
    assert ("Git LFS pointer" in str(caught.value)) == (
        name in ("a.pt", "a.weights", "a.safetensors")
    )


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


ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "weights"
SHIPPED = [network for network in index.index().networks if network.files]


@pytest.mark.parametrize("network", SHIPPED, ids=lambda network: network.name)
def test_the_index_is_of_the_files_in_the_folder(network: index.IndexedNetwork):
    for file, digest in network.files.items():
        assert sha256(FOLDER / file) == digest, file
    calibrations = CalibrationFile.read(FOLDER / next(iter(network.files)))
    assert calibrations.weights_sha256 == network.files[network.weights]
    names = calibrations.names(DEFAULT)
    assert names[0] == "default" and {one.calibration for one in network.accuracy} <= {*names}
    for name in names:
        assert calibrations.calibration(DEFAULT, name).neurons


def test_no_file_of_the_folder_is_missing_in_the_index():
    named = {file for network in SHIPPED for file in network.files}
    own = {path.name for path in FOLDER.iterdir() if path.suffix not in (".md", ".csv", ".json")}
    assert own == named


def test_names_and_files_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert located("yolov3-tiny") == located("YOLOv3-Tiny") == FOLDER / "yolov3-tiny.weights"
    assert located("mobilenetv2-yolov3-nano-coco").name == "MobileNetV2-YOLOv3-Nano-coco.weights"
    (tmp_path / "resnet20").write_bytes(b"own")
    assert located("resnet20") == Path("resnet20"), "a file comes before a name"
    assert located("nothing.weights") == Path("nothing.weights")


def test_what_is_not_there():
    for name, words in [
        ("yolov3-tinny", "did you mean"),
        ("yolov5n", "AGPL"),
        ("yolov5n.pt", "AGPL"),
    ]:
        with pytest.raises(UserError, match=words):
            located(name)
