"""Reading regular files, writing files whole or not at all, folders of runs, and the cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TextIO

from platformdirs import user_cache_path

from spiking_yolo.errors import UserError

if TYPE_CHECKING:
    from filelock import FileLock


# Bytes of a text file, at most.
LONGEST = 1 << 28
# What the names of temporary files begin with.
TEMPORARY = ".spiking-yolo-"
# Folders that this process has cleared of what others left.
_swept: set[Path] = set()


def sha256(path: str | Path) -> str:
    """Lowercase hexadecimal SHA-256 of a file. Raises UserError if it cannot be read."""
    try:
        with open(regular(path), "rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest()
    except OSError as e:
        raise UserError(f"cannot read {path}: {e.strerror}; check the path") from e


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
    path = regular(path)
    try:
        if path.stat().st_size > LONGEST:
            raise UserError(
                f"{path} has {path.stat().st_size} bytes, where {LONGEST} are the most: is it a"
                " text file?"
            )
        return path.read_text(encoding="utf-8-sig", errors=errors)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: check the path") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the path") from error
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
        with temporary_folder(path.parent) as folder:
            yield folder / path.name
            os.replace(folder / path.name, path)
    except OSError as e:
        raise UserError(
            f"cannot write {path}: {e.strerror or e}; check the folder and the free space"
        ) from e


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """A hidden folder inside of another, which goes at the end.

    A folder is locked as long as its process lives. Those that killed processes left behind are
    removed when a process writes into `parent` for the first time.
    """
    if parent not in _swept:
        _swept.add(parent)
        for left in parent.glob(f"{TEMPORARY}*"):
            with _locked(left, wait=False) as free:
                if free:
                    shutil.rmtree(left, ignore_errors=True)
    with ExitStack() as stack:
        folder = parent / TEMPORARY
        # Another process may remove a folder before it is locked.
        while not folder.is_dir():
            folder = Path(
                stack.enter_context(
                    TemporaryDirectory(dir=parent, prefix=TEMPORARY, ignore_cleanup_errors=True)
                )
            )
            stack.enter_context(_locked(folder))
        yield folder


@contextmanager
def _locked(folder: Path, wait: bool = True) -> Iterator[bool]:
    """Lock a folder, which the system unlocks at the latest when this process ends.

    Yields:
        Whether it is locked: not if another process has locked it, or where folders cannot be.
    """
    with ExitStack() as stack:
        locked = False
        with suppress(ImportError, OSError):
            import fcntl

            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            how = fcntl.LOCK_EX
            if not wait:
                how |= fcntl.LOCK_NB
            fcntl.flock(descriptor, how)
            locked = True
        yield locked


class GradualFile:
    """A text file that is written bit by bit and appears when it is closed.

    Nothing appears if nothing was written, or if the system refuses, which raises UserError.

    Args:
        path: Path of the file.
        end: Text that closing appends.
    """

    def __init__(self, path: Path, end: str = ""):
        self.path = path
        self.end = end
        self._stack = ExitStack()
        self._file: TextIO | None = None

    @property
    def begun(self) -> bool:
        return self._file is not None

    def write(self, text: str) -> None:
        with self._undone_by_errors():
            if self._file is None:
                temporary = self._stack.enter_context(atomic_write(self.path))
                self._file = self._stack.enter_context(temporary.open("w", encoding="utf-8"))
            self._file.write(text)

    def close(self) -> None:
        file = self._file
        self._file = None
        if file is not None:
            with self._undone_by_errors():
                file.write(self.end)
                self._stack.close()

    @contextmanager
    def _undone_by_errors(self) -> Iterator[None]:
        """Discard the file on errors, but not on Ctrl-C."""
        try:
            yield
        except OSError as error:
            self._file = None
            self._stack.__exit__(type(error), error, None)
            raise


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


# In the folder of a run, as long as a process works there; the system frees it when that is killed.
LOCK = ".lock"

_held: dict[Path, FileLock] = {}
# Folders made by this process, outermost first; those that stay empty are removed again.
_made: list[Path] = []


def run_directory(project: Path, name: str, exist_ok: bool = False) -> Path:
    """Make and hold the folder of a run: PROJECT/NAME, or PROJECT/NAME2, NAME3, ... if it exists.

    Args:
        project: Folder of runs.
        name: Name of the run.
        exist_ok: Take PROJECT/NAME even if it exists.

    Raises:
        UserError: Nothing can be written there, or another process works in it.
    """
    if not name:
        raise UserError(
            "--name must not be empty: give a name for the run directory, or leave it out"
        )
    path = project / name
    number = 2
    try:
        while not (_make(path) or exist_ok):
            path = project / f"{name}{number}"
            number += 1
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise UserError(
            f"cannot write in {path}: {error.strerror}; give another --project"
        ) from error
    hold(path)
    return path


def hold(folder: Path) -> None:
    """Keep other processes out of a folder until `leave_folders`, or until this process ends.

    Raises:
        UserError: Another process works in it.
    """
    from filelock import FileLock, Timeout

    folder = folder.resolve()
    if folder in _held:
        return
    lock = FileLock(folder / LOCK, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise UserError(
            f"another process works in {folder}: wait for it, or give another --name"
        ) from None
    except OSError:  # a file system without locks
        return
    _held[folder] = lock


def leave_folders() -> None:
    """Let other processes into the folders, and remove those made here that are still empty."""
    while _held:
        folder, lock = _held.popitem()
        # Not the parent's, in a process that was forked.
        if lock.is_locked:
            # Before it is released: afterwards it may be another process's.
            with suppress(OSError):
                (folder / LOCK).unlink()
            lock.release()
    while _made:
        with suppress(OSError):
            _made.pop().rmdir()


def _make(path: Path) -> bool:
    """Make a folder and those above it; False if it exists. Raises OSError if it cannot be made."""
    fresh = False
    for folder in (*reversed(path.absolute().parents), path.absolute()):
        try:
            folder.mkdir()
        except OSError:  # it may exist since a moment ago
            if not folder.is_dir():
                raise
            fresh = False
        else:
            _made.append(folder)
            fresh = True
    return fresh
