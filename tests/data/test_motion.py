"""Clips of a camera that moves: pixels, ground truth and randomness by hand."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spiking_yolo.data.mot import MotBoxes, VideoSequence, mot_lines, open_sequences
from spiking_yolo.data.motion import (
    FRAMES,
    STILL,
    CameraMotion,
    MovedSequence,
    moving_sequences,
)
from spiking_yolo.errors import UserError


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Three frames of 30 x 20 pixels with two people, of whom one stands in a corner."""
    folder = tmp_path / "walk"
    (folder / "img1").mkdir(parents=True)
    (folder / "gt").mkdir()
    lines = ""
    for number in (1, 2, 3):
        pixels = np.full((20, 30, 3), 40 * number, np.uint8)
        Image.fromarray(pixels).save(folder / f"img1/{number:06}.png")
        lines += mot_lines(number, MotBoxes.of([[10, 8, 16, 14], [0, 0, 2, 2]], ids=[1, 2]))
    (folder / "gt/gt.txt").write_text(lines)
    return folder


def test_a_pan_of_whole_pixels_cuts_windows_and_turns_back(photograph: Path):
    """Frames of 48 x 32 pixels, four fifths of the sides: 12 pixels to go, then back."""
    pixels = np.asarray(Image.open(photograph))
    (sequence,) = moving_sequences(photograph, CameraMotion(pan=4))
    frames = list(sequence.frames())
    assert len(frames) == FRAMES and {frame.shape for frame in frames} == {(32, 48, 3)}
    for number, (x, y) in enumerate([(0, 0), (4, 1), (8, 2), (12, 3), (8, 4), (4, 5), (0, 6)]):
        np.testing.assert_array_equal(frames[number], pixels[y : y + 32, x : x + 48])
    assert sequence.ground_truth() == {}


def test_noise_has_its_deviation_and_its_seed(photograph: Path):
    motion = CameraMotion(pan=0.001, noise=8)
    a, b, other = (
        next(MovedSequence.of_photograph(photograph, m).frames()).astype(float)
        for m in (motion, motion, CameraMotion(pan=0.001, noise=8, seed=1))
    )
    clean = np.asarray(Image.open(photograph))[:32, :48].astype(float)
    inside = (clean > 40) & (clean < 215)
    assert np.array_equal(a, b) and not np.array_equal(a, other)
    assert (a - clean)[inside].std() == pytest.approx(8, rel=0.1)


def test_jitter_moves_the_ground_truth_with_the_picture(clip: Path):
    """A frame is smaller by three deviations on each side; a box is where its pixels are."""
    (still,), (moved,) = open_sequences(clip), moving_sequences(clip, CameraMotion(jitter=1.5))
    assert isinstance(moved, MovedSequence) and moving_sequences(clip, STILL) == [still]
    assert {frame.shape for frame in moved.frames()} == {(10, 20, 3)}
    corners = list(islice(moved._positions()[0], 3))
    assert np.abs(np.array(corners) - 5).max() <= 5 and np.ptp(corners, 0).min() > 0
    for (x, y), boxes in zip(corners, moved.ground_truth().values(), strict=True):
        person = boxes.xyxy[boxes.ids == 1][0]
        expected = np.clip([10 - x, 8 - y, 16 - x, 14 - y], 0, [20, 10, 20, 10])
        np.testing.assert_allclose(person, expected)
        # Whoever has left the picture is not there, and who is hardly seen is not scored.
        for box, hidden in zip(boxes.xyxy, boxes.ignored, strict=True):
            whole = 36 if box[2] > 3 else 4
            assert hidden == (np.prod(box[2:] - box[:2]) < whole / 2)


def test_what_cannot_be_shaken(clip: Path, tmp_path: Path):
    (sequence,) = moving_sequences(clip, CameraMotion(jitter=4))
    with pytest.raises(UserError, match="too few to shake by 4: give less --jitter"):
        next(sequence.frames())
    with pytest.raises(UserError, match="does not exist"):
        moving_sequences(tmp_path / "none.jpg", CameraMotion(pan=1))
    assert isinstance(sequence, VideoSequence)
