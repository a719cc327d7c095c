"""What `detect` and `predict` take besides a picture: folders, globs, lists, addresses, sizes."""

from pathlib import Path

import pytest
import torch
from helpers.tiny import write_tiny

from spiking_yolo import SpikingYOLO, UserError


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
        several = detector.predict(source, conf=0.3)
        assert isinstance(several, list) and len(several) == len(photos) > 1
        for a, b in zip(several, one, strict=True):
            assert torch.equal(a.boxes.xyxy, b.boxes.xyxy)
        assert [result.path for result in several] == [str(path) for path in photos]


def test_only_arrays_are_bgr(detector, folder):
    """Files have their own order of channels, in a stream, too."""
    path = next((folder / "photos").iterdir())
    (expected,) = detector.stream([path])
    for source in ([path], path, [expected.image[..., ::-1]]):
        (result,) = detector.stream(source, bgr=True)
        assert (result.image == expected.image).all()
    with pytest.raises(UserError, match="not float"):
        detector.stream(3.5)
