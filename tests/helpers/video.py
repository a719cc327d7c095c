"""Small videos for tests."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np


def noise(count: int, height: int = 96, width: int = 128, seed: int = 0) -> list[np.ndarray]:
    """Frames that hardly compress: uint8 [height, width, 3]."""
    return list(
        np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    )


def grey(values: Sequence[int], height: int = 48, width: int = 64) -> list[np.ndarray]:
    return [np.full((height, width, 3), value, np.uint8) for value in values]


def write_frames(path: Path, frames: Sequence[np.ndarray], fps: float = 10) -> Path:
    """By OpenCV alone, as MPEG-4."""
    size = frames[0].shape[1::-1]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
    for frame in frames:
        writer.write(frame[..., ::-1].copy())
    writer.release()
    return path


def read_frames(path: Path) -> list[np.ndarray]:
    """RGB, by OpenCV alone."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        frames.append(read[1][..., ::-1])
    capture.release()
    return frames


def break_tail(path: Path, part: float = 0.4) -> Path:
    """Zeros over the last frames of an .mp4: its index still promises them."""
    content = bytearray(path.read_bytes())
    end = content.rfind(b"moov") - 4
    start = end - int(len(content) * part)
    content[start:end] = bytes(end - start)
    path.write_bytes(content)
    return path


def walk(count: int, height: int = 48, width: int = 80, seed: int = 0) -> list[np.ndarray]:
    """A bright square that walks through a scene of smooth blobs, seen by a camera that stands
    still.
    """
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 8, 3), np.uint8)
    scene = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    frames = [scene.copy() for _ in range(count)]
    for k, frame in enumerate(frames):
        frame[16:32, 4 * k : 4 * k + 12] = 255
    return frames


def write_images(folder: Path, frames: Sequence[np.ndarray]) -> Path:
    """As img1/ of a sequence: 000001.png, ..., which keep every pixel."""
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames, 1):
        cv2.imwrite(str(folder / f"{number:06d}.png"), frame[..., ::-1])
    return folder
