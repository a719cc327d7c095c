"""Sources: images, folders, globs, lists, videos, stream addresses and webcams.

Imports nothing heavy until a source is opened, so that a missing file is reported at once.
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
from urllib.parse import urlsplit

from spiking_yolo.errors import Notice, UserError
from spiking_yolo.io.files import read_text, regular
from spiking_yolo.io.names import whole

if TYPE_CHECKING:
    import numpy as np

IMAGES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}
VIDEOS = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"}
# Schemes that fetch a file.
WEB = {"http", "https"}
ADDRESSES = {"http", "https", "rtsp", "rtsps", "rtmp", "udp", "tcp"}
# A text file with one source a line.
LIST = ".txt"
# In a frame; Pillow refuses photographs above this.
MAX_PIXELS = 178_956_970
UNKNOWN_FPS = 25.0


def is_webcam(source: str) -> bool:
    return whole(source) is not None


def is_address(source: str) -> bool:
    """Whether it is the URL of a stream or a video."""
    return source.partition("://")[0].lower() in ADDRESSES and "://" in source


def is_picture_address(source: str) -> bool:
    """Whether it is the URL of a picture, by the ending of its path."""
    url = urlsplit(source) if is_address(source) else None
    return url is not None and url.scheme.lower() in WEB and _suffix(url.path) in IMAGES


def is_stream(source: str) -> bool:
    """Whether it is a video file, the address of one, or a webcam."""
    if is_address(source):
        return not is_picture_address(source)
    return is_webcam(source) or _suffix(source) in VIDEOS


def is_live(source: str) -> bool:
    """Whether it is a camera: a webcam, or the address of a stream that is no file."""
    if is_address(source):
        return is_stream(source) and _suffix(urlsplit(source).path) not in VIDEOS
    return is_webcam(source)


def is_video_file(source: str) -> bool:
    """Whether it is called like a video."""
    return _suffix(source) in VIDEOS


def names_several(source: str) -> bool:
    """Whether it is a folder, a glob or a list of sources."""
    if os.path.exists(source):
        return os.path.isdir(source) or _suffix(source) == LIST
    return not is_address(source) and glob.has_magic(source)


def _suffix(path: str) -> str:
    return Path(path).suffix.lower()


def check_there(source: str) -> None:
    """Raise UserError for a file that does not exist; nothing is opened."""
    named_otherwise = is_webcam(source) or is_address(source) or glob.has_magic(source)
    if named_otherwise or not source or os.path.exists(source):
        return
    if is_stream(source):
        raise UserError(
            f"cannot open the video {source}: it does not exist; give a complete video file"
        )
    raise UserError(f"{source} does not exist; check the path")


def expand(sources: Sequence[str], recursive: bool = False) -> list[str]:
    """The files, addresses and webcams that `sources` name.

    A folder or glob gives its images and videos, sorted. A .txt file lists sources, one a line,
    relative to the list; empty lines and lines that begin with # are skipped. Whether a file can be
    read shows later.

    Args:
        sources: As on a command line.
        recursive: Include folders inside folders.

    Raises:
        UserError: A folder, glob or list names nothing.
    """
    names: list[str] = []
    for source in sources:
        names += _expanded(source, recursive)
    return names


def _expanded(source: str, recursive: bool) -> list[str]:
    path = Path(source)
    if not source:
        raise UserError(
            "a source is empty: give an image, a folder, a glob, a video or a webcam's number"
        )
    if os.path.isdir(path):
        inside = path.rglob("*") if recursive else path.iterdir()
        names = _media(map(str, inside))
        problem = f"{source} holds no images: give a folder with"
    elif path.suffix.lower() == LIST and os.path.isfile(path):
        return expand(_read_list(path), recursive)
    elif not os.path.exists(path) and not is_address(source) and glob.has_magic(source):
        names = _media(glob.iglob(source, recursive=True))
        problem = f"no image matches {source}: they end in"
    else:
        return [source]
    if not names:
        raise UserError(f"{problem} {', '.join(sorted(IMAGES))} or videos")
    return names


def _read_list(path: Path) -> list[str]:
    """The sources of a list. Raises UserError if it is empty, no text, or names another list."""
    lines = [line.strip() for line in read_text(path).splitlines()]
    sources: list[str] = []
    for line in lines:
        if not line or line.startswith("#"):
            continue
        if line.lower().endswith(LIST):
            raise UserError(f"{path} lists {line}, which is a list too: give its lines instead")
        absolute = is_webcam(line) or is_address(line) or Path(line).is_absolute()
        sources.append(line if absolute else str(path.parent / line))
    if not sources:
        raise UserError(f"{path} lists nothing: give text with one source a line")
    return sources


def _media(paths: Iterable[str]) -> list[str]:
    """The images and videos among the paths, sorted."""
    suffixes = IMAGES | VIDEOS
    return sorted(p for p in paths if Path(p).suffix.lower() in suffixes and Path(p).is_file())


@dataclass(eq=False)
class Video:
    """An open video or webcam.

    Attributes:
        name: The source.
        count: Frames that the file promises, None if unknown.
        fps: Frames per second, 25 if unknown.
        capture: OpenCV's VideoCapture.
        position: Frames read so far, skipped ones included.
    """

    name: str
    count: int | None
    fps: float
    capture: Any
    position: int = 0

    def frames(self, every: int = 1) -> Iterator[np.ndarray]:
        """Every `every`-th frame, uint8 [H, W, 3] RGB. A video that breaks off gives a Notice.

        Raises:
            UserError: There is no frame at all.
        """
        while self.capture.grab():
            self.position += 1
            if (self.position - 1) % every == 0:
                good, frame = self.capture.retrieve()
                if not good:
                    self.position -= 1
                    break
                yield frame[..., ::-1].copy()
        if self.position == 0:
            raise UserError(f"{self.name} has no frames: give a complete video file")
        if self.shortfall:
            warnings.warn(Notice(self.shortfall), stacklevel=2)

    @property
    def shortfall(self) -> str:
        """A message if the video broke off, else "". To be asked when it has ended.

        Some containers only estimate their length, so up to 1 % may be missing. A camera has no
        end.
        """
        if is_live(self.name):
            return (
                f"{self.name} sends no more frames after {self.position}: those that came count;"
                " check the camera"
            )
        if self.count is None or self.count - self.position <= self.count // 100:
            return ""
        return (
            f"{self.name} breaks off: {self.position} of {self.count} frames could be read, and"
            " only these count"
        )


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Silence OpenCV and its FFmpeg, whose messages would stand beside our UserError."""
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
    """Open a video file, an address or a webcam.

    Raises:
        UserError: It cannot be opened, or its frames have more than MAX_PIXELS.
    """
    webcam = is_webcam(source)
    if not webcam and not is_address(source):
        # OpenCV would wait for a pipe for ever.
        regular(source)
    with quiet_opencv():
        import cv2

        capture = cv2.VideoCapture(int(source) if webcam else source)
    try:
        if not capture.isOpened():
            raise UserError(_why_closed(source))
        width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > MAX_PIXELS:
            raise UserError(
                f"{source} has frames of {width} x {height}, above {MAX_PIXELS} pixels: give a"
                " smaller video"
            )
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        fps = capture.get(cv2.CAP_PROP_FPS)
        yield Video(source, count if count > 0 else None, fps if fps > 0 else UNKNOWN_FPS, capture)
    finally:
        capture.release()


def _why_closed(source: str) -> str:
    if is_webcam(source):
        return f"cannot open webcam {source}: check that it is connected and not in use"
    if is_address(source):
        return (
            f"cannot open {source}: nothing answers, or it is no video; check the address and the"
            " net"
        )
    reason = "it does not exist"
    if os.path.exists(source):
        reason = "it is damaged or of an unknown format"
    return f"cannot open the video {source}: {reason}; give a complete video file"


def frames_to_read(count: int | None, every: int = 1, most: int | None = None) -> int | None:
    """How many of `count` frames are read: every `every`-th, `most` at most. None if unknown."""
    if count is None:
        return most
    chosen = -(-count // every)
    return min(chosen, most or chosen)


def image_paths(folder: Path) -> tuple[Path, ...]:
    """The images of a folder. Numbers in names count as such: 2.jpg comes before 10.jpg."""
    images = [p for p in folder.iterdir() if p.suffix.lower() in IMAGES and p.is_file()]
    return tuple(sorted(images, key=_by_number))


def _by_number(path: Path) -> list[tuple[int, str]]:
    key: list[tuple[int, str]] = []
    for part in re.split(r"(\d+)", path.name):
        key.append((int(part), "") if part.isdecimal() else (-1, part))
    return key
