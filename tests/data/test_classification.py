"""The classification sets on small files of the right format."""

import io
from pathlib import Path

import pytest
from PIL import Image

from spiking_yolo.data.formats import open_classification
from spiking_yolo.data.images import read_image
from spiking_yolo.errors import UserError


def picture(value: int, size: tuple[int, int] = (32, 32)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (value, 0, 255 - value)).save(out, "PNG")
    return out.getvalue()


def folders(root: Path, split: str, suffix: str = "png") -> Path:
    for label, (name, values) in enumerate({"airplane": [10, 20], "cat": [30]}.items()):
        (root / split / name).mkdir(parents=True)
        for n, value in enumerate(values):
            (root / split / name / f"{n}.{suffix}").write_bytes(picture(value + label))
    return root


def test_imagenet_layout(tmp_path: Path) -> None:
    (folders(tmp_path, "val", "JPEG") / "val" / "empty").mkdir()
    data = open_classification(tmp_path, "val")
    assert data.classes == ("airplane", "cat", "empty")
    assert data.labels.tolist() == [0, 0, 1] and data.pictures[2].name == "cat/0.JPEG"
    assert read_image(data.pictures[2].source)[5, 7].tolist() == [31, 0, 224]


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere is no folder"):
        open_classification(tmp_path / "nowhere", "val")
    with pytest.raises(UserError, match="val has no folders of images"):
        open_classification(tmp_path, "val")
