"""Random pictures and clips: equal for equal numbers, from all folders alike, and without what is
damaged; what moves in a clip, and what stays.
"""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny import photo
from helpers.video import write_images

from spiking_yolo.data import unlabelled
from spiking_yolo.data.images import Picture
from spiking_yolo.data.mot import VideoSequence, open_sequences
from spiking_yolo.data.unlabelled import (
    RandomClips,
    RandomPictures,
    _from_camera,
    clips_of,
    frame_times,
    mosaic,
)
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


def test_classifiers_get_one_picture_and_most_of_it():
    gradient = np.linspace(0, 255, 100, dtype=np.uint8)
    image = np.repeat(np.tile(gradient, (100, 1))[..., None], 3, 2)
    x = RandomPictures([[Picture("a", image)]], CLASSES, 64)(0)
    spans = (x[:, 0, 0, -1] - x[:, 0, 0, 0]).abs()
    assert spans.min() > 0.55 and spans.max() > 0.85


def test_mosaic_by_hand():
    tiles = mosaic([plain(k) for k in (1, 2, 3, 4)], 8, 6)
    assert tiles.shape == (8, 6, 3)
    assert tiles[0, 0, 0] == 1 and tiles[0, -1, 0] == 2 and tiles[-1, 0, 0] == 3
    assert (tiles[4:, 3:] == 4).all()


def test_a_batch_of_clips_follows_from_seed_and_number(tmp_path: Path):
    files = [Picture.file(str(photo(tmp_path / f"{k}.png", k))) for k in range(6)]
    clips = RandomClips([files], SPEC, 2, seed=1, frames=4)
    third = clips(3)
    assert third.shape == (2, 4, 3, 64, 32)
    assert torch.equal(third, RandomClips([files], SPEC, 2, seed=1, frames=4)(3))
    assert not torch.equal(third, clips(4))
    assert len(clips.first(5)) == 3


def test_a_clip_is_a_part_in_the_size_of_the_whole(tmp_path: Path, monkeypatch):
    """By brute force: one place for all frames of a clip."""
    files = [Picture.file(str(photo(tmp_path / f"{k}.png", k))) for k in range(2)]
    clips = RandomClips([files], SPEC, 2, seed=1, frames=3)
    whole = clips(0)
    monkeypatch.setattr(unlabelled, "SIDE", 40)
    assert (clips.part.height, clips.part.width) == (40, 32)
    parts = clips(0)
    assert parts.shape == (2, 3, 3, 40, 32)
    for clip, part in zip(whole, parts, strict=True):
        assert any(torch.equal(clip[..., top : top + 40, :], part) for top in range(25))


def test_frame_times_by_hand():
    assert frame_times(2) == [0, 1]
    assert frame_times(5) == [0, 4, 7, 9, 10]
    assert frame_times(12)[:4] == [0, 8, 16, 24], "at most 8 frames apart"


def test_the_camera_moves_and_comes_closer_by_hand():
    image = np.zeros((20, 30, 3), np.uint8)
    image[:, 15:] = 100
    assert np.array_equal(_from_camera(image, np.zeros(3)), image)
    right = _from_camera(image, np.array([4, 0, 0]))
    assert (right[:, 11:] == 100).all() and (right[:, :11] == 0).all(), "it goes left in the frame"
    image[:, 18:] = 0
    closer = _from_camera(image, np.array([0, 0, math.log(2)]))
    assert closer[10, :, 0].sum() == 600, "three columns are six"


def numbered(folder: Path, frames: int) -> VideoSequence:
    """A video whose frames have their number as colour."""
    write_images(folder / "img1", list(map(plain, range(frames))))
    return open_sequences(folder)[0]


def test_clips_of_a_video_by_hand(tmp_path: Path):
    clips = clips_of(numbered(tmp_path / "short", 11), [0, 1, 3], 15)
    assert [[frame[0, 0, 0] for frame in clip] for clip in clips] == [[0, 1, 3], [4, 5, 7]]
    assert clips[0][0].shape == (10, 15, 3)
    long = clips_of(numbered(tmp_path / "long", 130), [0, 1], 30)
    assert len(long) == 64 and long[1][0][0, 0, 0] == 2
    with pytest.raises(UserError, match="fewer than 12 frames"):
        clips_of(open_sequences(tmp_path / "short")[0], [0, 11], 30)
