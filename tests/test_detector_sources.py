"""What `detect` and `predict` take besides a picture: folders, globs, lists, addresses, sizes."""

from pathlib import Path

import pytest
import torch
from helpers.tiny import write_tiny

from spiking_yolo import Result, SpikingYOLO, UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny.weights, photos/a.png, photos/b.png, ..."""
    return write_tiny(tmp_path_factory.mktemp("tiny")).parent


@pytest.fixture(scope="module")
def detector(folder: Path) -> SpikingYOLO:
    return SpikingYOLO(folder / "tiny.weights")


def test_several_by_one_name(detector, folder, tmp_path):
    photos = sorted((folder / "photos").iterdir())
    one = [detector.detect(path, conf=0.3) for path in photos]
    (tmp_path / "list.txt").write_text("\n".join(map(str, photos)))
    of_folder = (folder / "photos", f"{folder}/photos/*.png", [folder / "photos"])
    for source in (*of_folder, tmp_path / "list.txt", photos):
        several = detector.detect(source, conf=0.3)
        assert isinstance(several, list) and len(several) == len(photos) > 1
        for a, b in zip(several, one, strict=True):
            assert torch.equal(a.boxes.xyxy, b.boxes.xyxy)
        assert [result.path for result in several] == [str(path) for path in photos]


def test_predict_is_always_a_list(detector, folder):
    photo = folder / "photos" / "a.png"
    (result,) = detector.predict(photo, conf=0.3, T=2)
    assert isinstance(result, Result) and result.T == 2
    assert torch.equal(result.boxes.xyxy, detector.detect(photo, conf=0.3, T=2).boxes.xyxy)
    assert len(detector.predict([photo, photo])) == 2


def test_what_is_no_picture(detector, tmp_path):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("a.mp4", r"a\.mp4 is a video: read it with SpikingYOLO\.stream"),
        ("empty", "holds no images"),
        ("*.png", "no image matches"),
    ):
        with pytest.raises(UserError, match=message):
            detector.detect(f"{tmp_path}/{name}")
