"""Sources named on a command line: image files, folders, globs, lists, videos, addresses of
streams, and webcams.

Imports nothing heavy, so that what does not exist is said at once.
"""

from __future__ import annotations

import glob
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spiking_yolo.errors import Notice, UserError
from spiking_yolo.io.files import read_text, regular
from spiking_yolo.io.names import whole

if TYPE_CHECKING:
    import numpy as np

IMAGES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}
VIDEOS = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"}
ADDRESSES = {"http", "https", "rtsp", "rtsps", "rtmp", "udp", "tcp"}
LIST = ".txt"  # of sources, one a line
# In a frame; Pillow refuses photographs above this.
MAX_PIXELS = 178_956_970
UNKNOWN_FPS = 25.0


def is_webcam(source: str) -> bool:
    return whole(source) is not None


def is_address(source: str) -> bool:
    """Whether it is the URL of a stream or a video."""
    return source.partition("://")[0].lower() in ADDRESSES and "://" in source


def is_stream(source: str) -> bool:
    """Whether this names a video file, the address of one, or a webcam."""
    return is_webcam(source) or is_address(source) or Path(source).suffix.lower() in VIDEOS


def check_there(source: str) -> None:
    """Raises UserError for a file that does not exist; nothing is opened."""
    if (
        is_webcam(source)
        or is_address(source)
        or glob.has_magic(source)
        or not source
        or os.path.exists(source)
    ):
        return
    if is_stream(source):
        raise UserError(
            f"cannot open the video {source}: it does not exist; give a complete video file"
        )
    raise UserError(f"{source} does not exist; check the path")


def expand(sources: Sequence[str], recursive: bool = False) -> list[str]:
    """Files, addresses and webcams named by `sources`; a folder or glob gives its images and
    videos, sorted.

    A .txt file lists sources, one a line, relative to the list; empty lines and those that begin
    with # are skipped. recursive: of a folder also those in the folders inside. Raises UserError
    for a folder, glob or list with none. Whether a file can be read shows later.
    """
    names: list[str] = []
    for source in sources:
        path = Path(source)
        if not source:
            raise UserError(
                "a source is empty: give an image, a folder, a glob, a video or a webcam's number"
            )
        if os.path.isdir(path):
            inside = path.rglob("*") if recursive else path.iterdir()
            seen, problem = _seen(map(str, inside)), f"{source} holds no images: give a folder with"
        elif path.suffix.lower() == LIST and os.path.isfile(path):
            seen, problem = expand(_listed(path), recursive), ""
        elif not os.path.exists(path) and not is_address(source) and glob.has_magic(source):
            seen, problem = (
                _seen(glob.iglob(source, recursive=True)),
                f"no image matches {source}: they end in",
            )
        else:
            seen, problem = [source], ""
        if not seen:
            raise UserError(f"{problem} {', '.join(sorted(IMAGES))} or videos")
        names += seen
    return names


def _listed(path: Path) -> list[str]:
    """The sources of a list. Raises UserError for one that is empty, no text, or holds another
    list.
    """
    lines = [line.strip() for line in read_text(path).splitlines()]
    named = [line for line in lines if line and not line.startswith("#")]
    if not named:
        raise UserError(f"{path} lists nothing: give text with one source a line")
    if nested := [line for line in named if line.lower().endswith(LIST)]:
        raise UserError(f"{path} lists {nested[0]}, which is a list too: give its lines instead")
    plain = [is_webcam(line) or is_address(line) or Path(line).is_absolute() for line in named]
    return [
        line if known else str(path.parent / line) for line, known in zip(named, plain, strict=True)
    ]


def _seen(paths: Iterable[str]) -> list[str]:
    return sorted(
        p for p in paths if Path(p).suffix.lower() in IMAGES | VIDEOS and Path(p).is_file()
    )


@dataclass(eq=False)
class Video:
    """An open video or webcam.

    count: frames that the file promises, None if unknown. fps: frames per second, 25 if unknown.
    came: frames read so far, those that `every` skips included.
    """

    name: str
    count: int | None
    fps: float
    capture: Any
    came: int = 0

    def frames(self, every: int = 1) -> Iterator[np.ndarray]:
        """Every `every`-th frame, uint8 [H, W, 3] RGB.

        A video that ends before its time gives a Notice, and what was read counts. Raises UserError
        when there is no frame at all.
        """

        while self.capture.grab():
            self.came += 1
            if (self.came - 1) % every == 0:
                good, frame = self.capture.retrieve()
                if not good:
                    self.came -= 1
                    break
                yield frame[..., ::-1].copy()
        if self.came == 0:
            raise UserError(f"{self.name} has no frames: give a complete video file")
        if self.shortfall:
            warnings.warn(Notice(self.shortfall), stacklevel=2)

    @property
    def shortfall(self) -> str:
        """What to say when fewer frames came than were promised; empty when all did. Asked when the
        video has ended.

        Some containers only estimate their length, so up to 1 % is not missed.
        """
        if self.count is None or self.count - self.came <= self.count // 100:
            return ""
        return (
            f"{self.name} breaks off: {self.came} of {self.count} frames could be read, and only"
            " these count"
        )


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """OpenCV and its FFmpeg keep their messages to themselves: what goes wrong is said by a
    UserError.
    """
    # Read once, when FFmpeg is first used.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    import cv2

    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


@contextmanager
def open_video(source: str) -> Iterator[Video]:
    """Open a video file, an address or a webcam. Raises UserError when that fails, and for frames
    above MAX_PIXELS.
    """
    webcam = is_webcam(source)
    if not webcam and not is_address(source):
        # OpenCV waits for ever for a pipe.
        regular(source)
    with quiet_opencv():
        import cv2

        capture = cv2.VideoCapture(int(source) if webcam else source)
    try:
        if not capture.isOpened():
            if webcam:
                raise UserError(
                    f"cannot open webcam {source}: check that it is connected and not in use"
                )
            if is_address(source):
                raise UserError(
                    f"cannot open {source}: nothing answers, or it is no video; check the address"
                    " and the net"
                )
            reason = (
                "it is damaged or of an unknown format"
                if os.path.exists(source)
                else "it does not exist"
            )
            raise UserError(f"cannot open the video {source}: {reason}; give a complete video file")
        width, height = (
            int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        if width * height > MAX_PIXELS:
            raise UserError(
                f"{source} has frames of {width} x {height}, above {MAX_PIXELS} pixels: give a"
                " smaller video"
            )
        count, fps = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), capture.get(cv2.CAP_PROP_FPS)
        yield Video(source, count if count > 0 else None, fps if fps > 0 else UNKNOWN_FPS, capture)
    finally:
        capture.release()


def taken(count: int | None, every: int = 1, most: int | None = None) -> int | None:
    """How many frames of `count` are looked at: every n-th, `most` at most. None if unknown."""
    if count is None:
        return most
    chosen = -(-count // every)
    return min(chosen, most or chosen)


def image_paths(folder: Path) -> tuple[Path, ...]:
    """The images of a folder. Numbers in names count as such: 2.jpg comes before 10.jpg."""

    def order(path: Path) -> list[tuple[int, str]]:
        return [
            (int(part), "") if part.isdecimal() else (-1, part)
            for part in re.split(r"(\d+)", path.name)
        ]

    return tuple(
        sorted(
            (p for p in folder.iterdir() if p.suffix.lower() in IMAGES and p.is_file()), key=order
        )
    )
