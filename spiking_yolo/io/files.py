"""Files: read if they are regular, written whole or not at all; folders of runs, the cache, what
comes with the project, what a user types for a command, and what a run says of itself.
"""

import hashlib
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from spiking_yolo import __version__
from spiking_yolo.errors import UserError, notice

# A text file has at most so many bytes.
LONGEST = 1 << 28
# A file is written in a folder with this prefix, beside where it goes. The folder has a lock, which
# a process that is killed lets go of.
PREFIX, LOCK = ".spiking-yolo-", ".lock"
# Folders in which such folders of killed processes were looked for.
_swept: set[Path] = set()
# Folders made by this process, innermost first; those that stay empty are removed again.
_made: list[Path] = []


def sha256(path: str | Path) -> str:
    """Lowercase hexadecimal SHA-256 of a file. Raises UserError if it cannot be read."""
    with _readable(path) as file, open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def read_bytes(path: str | Path) -> bytes:
    """The content of a file. Raises UserError if it cannot be read."""
    with _readable(path) as file:
        return file.read_bytes()


@contextmanager
def _readable(path: str | Path) -> Iterator[Path]:
    """Turn what the system says of a file that is read into a UserError."""
    try:
        yield regular(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the path") from error


def regular(path: str | Path) -> Path:
    """The path of a regular file, or of nothing: the reader reports that it is missing.

    Raises:
        UserError: It is a folder, or a pipe or device, which could be read for ever.
    """
    path = Path(path)
    # Path.exists raises if a name is too long for a file.
    if os.path.exists(path) and not os.path.isfile(path):
        raise UserError(f"cannot read {path}: it is a folder, a pipe or a device; give a file")
    return path


def read_text(path: str | Path, errors: str = "strict") -> str:
    """The text of a UTF-8 file, with or without byte-order mark.

    Args:
        path: Path of the file.
        errors: How to treat invalid bytes, as in str.decode.

    Raises:
        UserError: It cannot be read, is no text or has more than LONGEST bytes.
    """
    with _readable(path) as file:
        if file.stat().st_size > LONGEST:
            raise UserError(f"{path} has more than {LONGEST} bytes: is it a text file?")
        try:
            return file.read_text(encoding="utf-8-sig", errors=errors)
        except UnicodeDecodeError:
            raise UserError(f"{path} is not a text file in UTF-8: save it as one") from None


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path; what is written there replaces `path` on success.

    The folder is created if it is missing. The temporary file lies in a folder of its own beside
    `path`, and has its name, from which some writers choose a format.

    Raises:
        UserError: The system refuses to write.
    """
    path = Path(path)
    # A privileged user could replace /dev/null.
    if os.path.exists(path) and not os.path.isfile(path):
        raise UserError(f"cannot write {path}: it is a folder, a pipe or a device; give a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        beside = TemporaryDirectory(dir=path.parent, prefix=PREFIX, ignore_cleanup_errors=True)
        with beside as folder, FileLock(Path(folder) / LOCK):
            temporary = Path(folder) / path.name
            yield temporary
            os.replace(temporary, path)
    except OSError as e:
        raise UserError(f"cannot write {path}: {e.strerror or e}; check folder and space") from e


def _sweep(folder: Path) -> None:
    """Remove, once in a process, what killed ones have left in a folder and in those below it."""
    removed = 0
    if folder not in _swept:
        _swept.add(folder)
        for lock in (*folder.glob(f"{PREFIX}*/{LOCK}"), *folder.glob(f"*/{PREFIX}*/{LOCK}")):
            with suppress(Timeout, OSError), FileLock(lock, blocking=False):
                shutil.rmtree(lock.parent)
                removed += 1
    if removed:
        notice(f"{removed} unfinished files of killed runs are removed from {folder}")


def cache_folder() -> Path:
    """$SPIKING_YOLO_CACHE, or the package's folder in the user's cache."""
    chosen = os.environ.get("SPIKING_YOLO_CACHE")
    return Path(chosen or user_cache_path("spiking_yolo", appauthor=False))


def derived_file(file: Path, name: str) -> Path:
    """The path of a file that is derived from another: beside it, whether it exists or not.

    If that folder is read-only and has no such file, a folder below `cache_folder` that belongs to
    the path of `file`. The derived file must itself say which content it is derived from.
    """
    path = file.with_name(name)
    if path.exists() or not file.parent.is_dir() or os.access(file.parent, os.W_OK):
        return path
    owner = hashlib.sha256(os.fsencode(file.resolve())).hexdigest()[:16]
    return cache_folder() / "networks" / owner / name


def run_directory(project: Path, name: str, exist_ok: bool = False) -> Path:
    """Make the folder of a run: PROJECT/NAME, or PROJECT/NAME2, NAME3, ... if it exists.

    Args:
        project: Folder of runs.
        name: Name of the run.
        exist_ok: Take PROJECT/NAME even if it exists.

    Raises:
        UserError: Nothing can be written there.
    """
    _sweep(project)
    path, number = project / name, 1
    while True:
        try:
            missing = [folder for folder in (path, *path.parents) if not folder.exists()]
            path.mkdir(parents=True, exist_ok=exist_ok)
        except FileExistsError:
            number += 1
            path = project / f"{name}{number}"
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}; change --project") from error
        else:
            _made.extend(missing)
            return path


def remove_empty_folders() -> None:
    """Remove the folders of runs that this process made and wrote nothing into."""
    for folder in _made:
        with suppress(OSError):
            folder.rmdir()
    _made.clear()


PACKAGE = Path(__file__).parents[1]
IN_CHECKOUT = {"weights": "weights", "samples": "data/samples"}
PROGRAM = "spiking-yolo"
# SHA-256 of the public weights.
YOLOV3_TINY = "dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c"


def samples_folder() -> Path:
    """Five COCO photographs and their instances.json. Raises UserError if they are missing."""
    return _present("samples")


def sample_clip() -> Path:
    """Five seconds of a person in a room, from a fixed camera. Raises UserError if missing."""
    return _present("samples", "clips", "person.mp4")


def default_weights() -> Path:
    """The public Tiny-YOLOv3 of COCO. Raises UserError if it is missing."""
    return _present("weights", "yolov3-tiny.weights")


def shipped(kind: str) -> Path:
    """The folder of "weights" or "samples", which may be missing."""
    folder = PACKAGE.parent / IN_CHECKOUT[kind]
    # site-packages may hold a folder of the same name, which belongs to another package.
    return folder if in_checkout() and folder.is_dir() else PACKAGE / "assets" / kind


def is_shipped(path: Path) -> bool:
    """Whether it is one of the shipped weights, statistics or calibrations, or would lie
    among them.
    """
    return path.resolve().is_relative_to(shipped("weights").resolve())


def command(name: str) -> str:
    """Return what a user types for a command."""
    return f"{PROGRAM} {name}"


def in_checkout() -> bool:
    return (PACKAGE.parent / "pyproject.toml").is_file()


def _present(kind: str, *parts: str) -> Path:
    path = shipped(kind).joinpath(*parts)
    if not path.exists():
        raise UserError(f"{path} does not exist: install spiking_yolo again, or give your own")
    return path


# (what, how much of it is done, of how much or None, remark="").
Progress = Callable[..., Any]


def silent(*_: object) -> None:
    """A callback that does nothing."""


def versions() -> dict[str, str]:
    """Versions of this package, Python and the libraries that compute, by name."""
    result = {"spiking_yolo": __version__, "python": platform.python_version()}
    for name in ("torch", "torchvision", "numpy", "pycocotools"):
        result[name] = metadata.version(name)
    return result


def command_line() -> str:
    """Return what was typed to run this process, without the folder of the program."""
    program = Path(sys.argv[0]).name
    return shlex.join([PROGRAM if program == "__main__.py" else program, *sys.argv[1:]])
