"""What a person may name on a command line: image files, folders, globs, videos and webcams."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from .errors import UserError

IMAGES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}
VIDEOS = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"}


def is_stream(source: str) -> bool:
    """A video file or a webcam's number."""
    return source.isdigit() or Path(source).suffix.lower() in VIDEOS


def expand(sources: Sequence[str]) -> list[str]:
    """Files and webcams named by `sources`, folders and globs replaced by their images and videos, sorted.

    Raises UserError for a folder or a glob with nothing in it. Whether a file can be read is found out later.
    """
    found: list[str] = []
    for source in sources:
        path = Path(source)
        if path.is_dir():
            inside = [str(p) for p in sorted(path.iterdir()) if p.suffix.lower() in IMAGES | VIDEOS and p.is_file()]
            if not inside:
                raise UserError(f"{source} holds no images: give a folder with {', '.join(sorted(IMAGES))} files")
            found += inside
        elif not path.exists() and glob.has_magic(source):
            matches = [m for m in sorted(glob.glob(source, recursive=True)) if Path(m).is_file()]
            if not matches:
                raise UserError(f"no file matches {source}: check the pattern")
            found += matches
        else:
            found.append(source)
    if not found:
        raise UserError("no source: give an image, a folder, a glob, a video or a webcam's number")
    return found


def frames(source: str, every: int = 1) -> Iterator[np.ndarray]:
    """RGB frames uint8 [H, W, 3] of a video file or webcam, every n-th. Raises UserError when it cannot be opened."""
    import cv2

    capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
    try:
        if not capture.isOpened():
            what = f"webcam {source}" if source.isdigit() else source
            raise UserError(f"cannot open {what} as a video: check that it exists and is not in use")
        index = 0
        while True:
            good, frame = capture.read()
            if not good:
                break
            if index % every == 0:
                yield np.ascontiguousarray(frame[..., ::-1])
            index += 1
        if index == 0:
            raise UserError(f"{source} has no frames: give a complete video file")
    finally:
        capture.release()


def frame_count(source: str) -> tuple[int | None, float]:
    """Number of frames, None where unknown, and frames per second, 25 where unknown."""
    import cv2

    capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
    count, fps = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return (count if count > 0 else None), (fps if fps > 0 else 25.0)
