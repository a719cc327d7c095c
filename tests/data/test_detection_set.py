"""The pixels that belong to annotated boxes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spiking_yolo.data.detection import Sample
from spiking_yolo.errors import UserError


def saved(path: Path, width: int, height: int, orientation: int = 6) -> Path:
    exif = Image.Exif()
    # 6: the viewer turns it by 90 degrees clockwise.
    exif[0x0112] = orientation
    picture = Image.new("RGB", (width, height), (255, 255, 255))
    picture.putpixel((0, 0), (0, 0, 0))
    picture.save(path, exif=exif)
    return path


@pytest.mark.parametrize(
    ("stored", "annotated", "black"),
    [
        # As a viewer shows it: row 0, right.
        ((4, 2), (2, 4), (0, 1)),
        ((4, 2), (4, 2), (0, 0)),  # as stored
        ((3, 3), (3, 3), (0, 2)),  # either: as a viewer shows it
    ],
)
def test_pixels_are_turned_as_the_boxes_are(tmp_path: Path, stored, annotated, black) -> None:
    sample = Sample.of("a", saved(tmp_path / "a.png", *stored), annotated, [], [])
    image = sample.image()
    assert image.shape == (annotated[1], annotated[0], 3)
    assert np.argwhere(image[..., 0] == 0).tolist() == [list(black)]


def test_pixels_of_another_size_than_the_annotation(tmp_path: Path) -> None:
    sample = Sample.of("a", saved(tmp_path / "a.png", 4, 2), (5, 2), [], [])
    with pytest.raises(UserError, match=r"a.png has 2x4 pixels and its annotation says 5x2"):
        sample.image()
