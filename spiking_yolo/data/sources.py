"""Words that name images, folders, globs, lists, videos, addresses of streams and webcams.

Imports nothing heavy, so that a missing file is reported at once.
"""

import glob
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import read_text
from spiking_yolo.io.text import whole

IMAGES = {".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
VIDEOS = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"}
ADDRESSES = ("http://", "https://", "rtsp://", "rtsps://", "rtmp://", "udp://", "tcp://")
# A text file with one source a line.
LIST = ".txt"


def is_webcam(source: str) -> bool:
    return whole(source) is not None


def is_address(source: str) -> bool:
    """Whether it is the URL of a stream or a video."""
    return source.lower().startswith(ADDRESSES)


def hidden(text: str) -> str:
    """A text without the users and passwords of addresses."""
    return re.sub(r"(?<=://)[^/@\s]+@", "", text)


def is_stream(source: str) -> bool:
    """Whether it is a video file, the address of one, or a webcam."""
    return is_address(source) or is_webcam(source) or is_video_file(source)


def is_video_file(source: str) -> bool:
    """Whether it is called like a video."""
    return _suffix(source) in VIDEOS


def is_source(word: str) -> bool:
    """Whether a word of a command line names something to look at, be it there or not."""
    image = _suffix(word) in IMAGES
    return image or is_stream(word) or names_several(word) or os.path.exists(word)


def names_several(source: str) -> bool:
    """Whether it is a folder, a glob or a list of sources."""
    if os.path.exists(source):
        return os.path.isdir(source) or _suffix(source) == LIST
    return not is_address(source) and glob.has_magic(source)


def _suffix(path: str) -> str:
    return Path(path).suffix.lower()


def expand(sources: Sequence[str]) -> list[str]:
    """The files, addresses and webcams that `sources` name.

    A folder or glob gives its images and videos, sorted. A .txt file lists sources, one a line,
    relative to the list; empty lines and lines that begin with # are skipped. Of several files some
    may be missing, and whether one can be read shows later.

    Args:
        sources: The words of a command line.

    Raises:
        UserError: A folder, glob or list names nothing, or none of the files exists.
    """
    names: list[str] = []
    for source in sources:
        if not source:
            raise UserError("a source is empty: give an image, a folder, a video or a webcam")
        if not names_several(source):
            names.append(source)
            continue
        if os.path.isfile(source):
            names += expand(_read_list(Path(source)))
            continue
        if os.path.isdir(source):
            found: Iterable[str] = map(str, Path(source).iterdir())
            problem = f"{source} holds no images: give a folder with"
        else:
            found = glob.iglob(source, recursive=True)
            problem = f"no image matches {source}: they end in"
        media = [p for p in found if _suffix(p) in IMAGES | VIDEOS and os.path.isfile(p)]
        if not media:
            raise UserError(f"{problem} {', '.join(sorted(IMAGES))} or videos")
        names += sorted(media)
    if names and not any(is_webcam(n) or is_address(n) or os.path.exists(n) for n in names):
        raise UserError(f"{names[0]} does not exist; check the path")
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


def image_paths(folder: Path) -> tuple[Path, ...]:
    """The images of a folder. Numbers in names count as such: 2.jpg comes before 10.jpg."""
    images = [p for p in folder.iterdir() if p.suffix.lower() in IMAGES and p.is_file()]
    return tuple(sorted(images, key=_by_number))


def _by_number(path: Path) -> list[tuple[int, str]]:
    key: list[tuple[int, str]] = []
    for part in re.split(r"(\d+)", path.name):
        key.append((int(part), "") if part.isdecimal() else (-1, part))
    return key
