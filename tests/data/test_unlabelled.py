"""Random pictures: equal for equal numbers, from all folders alike, and without what is damaged."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny import photo

from spiking_yolo.data.images import Picture
from spiking_yolo.data.unlabelled import RandomPictures, mosaic
from spiking_yolo.errors import UserError
from spiking_yolo.models.spec import HeadSpec, Spec

SPEC = Spec("detect", ("a",), 64, 32, heads=(HeadSpec("yolov3", 1, 1, ((16, 16),)),))
CLASSES = Spec("classify", ("a", "b"), 8, 8, resize="stretch")


def plain(value: int) -> np.ndarray:
    return np.full((20, 30, 3), value, np.uint8)


def test_a_batch_follows_from_seed_and_number(tmp_path: Path):
    files = [Picture.file(str(photo(tmp_path / f"{k}.png", k))) for k in range(6)]
    pictures = RandomPictures([files], SPEC, 4, seed=1)
    third = pictures(3)
    assert third.shape == (4, 3, 64, 32)
    assert torch.equal(third, RandomPictures([files], SPEC, 4, seed=1)(3))
    assert not torch.equal(third, pictures(4))
    assert not torch.equal(third, RandomPictures([files], SPEC, 4, seed=2)(3))
    pictures.batch = 2
    assert torch.equal(pictures(3), third[:2]), "fewer pictures are the first of them"


def test_folders_are_drawn_from_alike():
    """A folder of one picture as often as one of fifty."""
    dark = [Picture("dark", plain(0))]
    light = [Picture(f"light {k}", plain(255)) for k in range(50)]
    pictures = RandomPictures([dark, light], CLASSES, 400, task="classify")
    share = pictures(0).mean().item()
    assert share == pytest.approx(0.5, abs=0.1)


def test_classifiers_get_one_picture_and_most_of_it():
    gradient = np.linspace(0, 255, 100, dtype=np.uint8)
    image = np.repeat(np.tile(gradient, (100, 1))[..., None], 3, 2)
    x = RandomPictures([[Picture("a", image)]], CLASSES, 64, task="classify")(0)
    spans = (x[:, 0, 0, -1] - x[:, 0, 0, 0]).abs()
    assert spans.min() > 0.55 and spans.max() > 0.85


def test_mosaic_by_hand():
    tiles = mosaic([plain(k) for k in (1, 2, 3, 4)], 8, 6)
    assert tiles.shape == (8, 6, 3)
    assert tiles[0, 0, 0] == 1 and tiles[0, -1, 0] == 2 and tiles[-1, 0, 0] == 3
    assert (tiles[4:, 3:] == 4).all()


def test_damaged_pictures_are_replaced(tmp_path: Path):
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(b"not a picture")
    good = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    folders = [[Picture.file(str(damaged)), Picture("good", good)]]
    pictures = RandomPictures(folders, CLASSES, 8, task="classify")
    assert pictures(0).shape == (8, 3, 8, 8)
    assert list(pictures.unreadable) == ["damaged.jpg"]
    assert "damaged.jpg" in pictures.unreadable["damaged.jpg"]
    with pytest.raises(UserError, match="cannot be read"):
        RandomPictures([folders[0][:1]], CLASSES, 1, task="classify")(0)
