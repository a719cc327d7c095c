"""Clips of a camera that moves, with known motion: made of photographs, or of clips of a fixed one.

The pictures are resampled by Lanczos' kernel, as an ideal lens would show them, then get their
noise.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from spiking_yolo.data.images import read_image
from spiking_yolo.data.mot import MotBoxes, VideoSequence, open_sequences
from spiking_yolo.data.sources import UNKNOWN_FPS
from spiking_yolo.errors import UserError

# Frames of a photograph: how many, their longest side, and their largest share of its sides.
FRAMES, SIDE, SHARE = 40, 416, 0.8
# Of a pan, pixels down for each one to the right.
SLOPE = 0.25
# Of jitter: what stays of the displacement of the frame before, and its bound, in deviations.
PERSISTENCE, BOUND = 0.8, 3.0
# Visible share of an object below which it is not scored.
VISIBLE = 0.5


@dataclass(frozen=True)
class CameraMotion:
    """How a camera moves.

    Attributes:
        pan: Pixels per frame to the right, and a quarter of that down; it turns back at the borders
            of the photograph.
        jitter: Standard deviation in pixels of a random displacement to all sides, of which four
            fifths stay in the next frame, at most three deviations.
        noise: Standard deviation of the sensor's noise, of 255.
        seed: Of jitter and noise.
    """

    pan: float = 0.0
    jitter: float = 0.0
    noise: float = 0.0
    seed: int = 0

    @property
    def margin(self) -> int:
        """Pixels of each side that jitter needs."""
        return math.ceil(BOUND * self.jitter)

    def positions(self, room: tuple[float, float]) -> Iterator[np.ndarray]:
        """Where the corner of each frame lies, (x, y), without end. room: for the pan."""
        rng = np.random.default_rng([self.seed, 1])
        shake = rng.normal(0, self.jitter, 2)
        fresh = self.jitter * math.sqrt(1 - PERSISTENCE**2)
        number = 0
        while True:
            across = _turning(number * self.pan, room[0])
            down = _turning(number * self.pan * SLOPE, room[1])
            bounded = shake.clip(-self.margin, self.margin)
            yield np.array([across, down]) + self.margin + bounded
            shake = PERSISTENCE * shake + rng.normal(0, fresh, 2)
            number += 1


STILL = CameraMotion()


def _turning(way: float, end: float) -> float:
    """Where something is that goes to and fro between 0 and `end`."""
    return end - abs(way % (2 * end) - end) if end > 0 else 0.0


@dataclass(frozen=True)
class MovedSequence(VideoSequence):
    """A photograph, or the clip of a fixed camera, as a camera sees it that moves.

    Attributes:
        motion: Of the camera.
    """

    motion: CameraMotion = STILL

    @classmethod
    def of(cls, clip: VideoSequence, motion: CameraMotion) -> "MovedSequence":
        """A clip that shakes; its ground truth moves with it."""
        return cls(**vars(clip), motion=motion)

    @classmethod
    def of_photograph(cls, path: Path, motion: CameraMotion) -> "MovedSequence":
        """A pan over a photograph."""
        return cls(path.stem, (path,), None, FRAMES, UNKNOWN_FPS, motion=motion)

    def frames(self) -> Iterator[np.ndarray]:
        rng = np.random.default_rng([self.motion.seed, 2])
        positions, (width, height) = self._positions()
        for image, corner in zip(self._images(), positions, strict=False):
            yield _seen(image, corner, (width, height), self.motion.noise, rng)

    def ground_truth(self) -> dict[int, MotBoxes]:
        truth = super().ground_truth()
        if not truth:
            return truth
        positions, size = self._positions()
        moved: dict[int, MotBoxes] = {}
        for number, corner in zip(range(1, max(truth) + 1), positions, strict=False):
            if number in truth:
                moved[number] = _shifted(truth[number], corner, size)
        return moved

    def _images(self) -> Iterator[np.ndarray]:
        if self.motion.pan:
            (path,) = self.source if isinstance(self.source, tuple) else (self.source,)
            photograph = read_image(path)
            return iter([photograph] * FRAMES)
        return super().frames()

    def _positions(self) -> tuple[Iterator[np.ndarray], tuple[int, int]]:
        """Where each frame lies, and the size of all, (width, height)."""
        height, width = next(self._images()).shape[:2]
        margin = 2 * self.motion.margin
        size = width - margin, height - margin
        if self.motion.pan:
            size = min(SIDE, int(SHARE * size[0])), min(SIDE, int(SHARE * size[1]))
        if min(size) < 1:
            raise UserError(
                f"{self.name} has {width} x {height} pixels, too few to shake by"
                f" {self.motion.jitter:g}: give less --jitter"
            )
        room = width - margin - size[0], height - margin - size[1]
        return self.motion.positions(room), size


def _seen(
    image: np.ndarray,
    corner: np.ndarray,
    size: tuple[int, int],
    noise: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """A frame of a picture, uint8 [height, width, 3]. corner, size: (x, y), pixels."""
    back = np.array([[1, 0, -corner[0]], [0, 1, -corner[1]]], np.float64)
    frame = cv2.warpAffine(
        image.astype(np.float32),
        back,
        size,
        flags=cv2.INTER_LANCZOS4,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if noise:
        frame += rng.normal(0, noise, frame.shape).astype(np.float32)
    return np.rint(frame.clip(0, 255)).astype(np.uint8)


def _shifted(boxes: MotBoxes, corner: np.ndarray, size: tuple[int, int]) -> MotBoxes:
    """Boxes in a frame, cut at its borders; without those outside, and those that are hardly seen
    are not scored.
    """
    moved = boxes.xyxy - np.tile(corner, 2)
    cut = moved.clip(0, np.tile(size, 2))
    area, left = (np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (moved, cut))
    inside = left > 0
    hidden = boxes.ignored | (left < VISIBLE * area)
    return MotBoxes(cut[inside], boxes.ids[inside], boxes.confidence[inside], hidden[inside])


def moving_sequences(path: Path, motion: CameraMotion) -> list[VideoSequence]:
    """The sequences at a path, see `open_sequences`, or with a pan one photograph; as a camera sees
    them that moves.

    Raises:
        UserError: There is none.
    """
    if motion.pan:
        read_image(path)
        return [MovedSequence.of_photograph(path, motion)]
    sequences = open_sequences(path)
    if motion == replace(STILL, seed=motion.seed):
        return sequences
    return [MovedSequence.of(clip, motion) for clip in sequences]
