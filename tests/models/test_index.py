"""The index of networks: its files, and how names are found."""

from pathlib import Path

import pytest

from spiking_yolo.convert.calibration_file import CalibrationFile
from spiking_yolo.convert.methods import DEFAULT
from spiking_yolo.errors import UserError
from spiking_yolo.io.files import sha256
from spiking_yolo.models import index
from spiking_yolo.models.index import located, networks

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "weights"
SHIPPED = [network for network in networks() if network.files]


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
