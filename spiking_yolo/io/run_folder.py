"""The folder of a run, which belongs to one process at a time."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from spiking_yolo.errors import UserError

if TYPE_CHECKING:
    from filelock import FileLock

# In the folder of a run, as long as a process works there; the system frees it when that is killed.
LOCK = ".lock"

_held: dict[Path, FileLock] = {}
# Folders made by this process, outermost first; those that stay empty are removed again.
_made: list[Path] = []


def run_directory(project: Path, name: str, exist_ok: bool = False) -> Path:
    """Make and hold the folder of a run: PROJECT/NAME, or PROJECT/NAME2, NAME3, ... if it exists.

    Args:
        project: Folder of runs.
        name: Of the run.
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
