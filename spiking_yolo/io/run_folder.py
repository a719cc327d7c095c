"""The folder of a run: made by one process alone, and its own until the run or that process ends,
however it ends.
"""

import os
import tempfile
from pathlib import Path

from spiking_yolo.errors import UserError

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None

# Folder -> descriptor whose lock the system takes back when the process ends.
_held: dict[Path, int] = {}
# folders, which go again if nothing has come into them.
_made: list[Path] = []


def run_directory(project: Path, name: str, exist_ok: bool = False) -> Path:
    """PROJECT/NAME, or PROJECT/NAME2, NAME3, ... when it exists already: a new folder that no other
    process has.

    exist_ok: take an existing one. Raises UserError when nothing can be written there, before any
    work is done for it, and when another process uses it. See `leave_folders`.
    """
    if not name:
        raise UserError(
            "--name must not be empty: give a name for the run directory, or leave it out"
        )
    path, k = project / name, 2
    try:
        while not (_make(path) or exist_ok):
            path, k = project / f"{name}{k}", k + 1
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise UserError(
            f"cannot write in {path}: {error.strerror}; give another --project"
        ) from error
    hold(path)
    return path


def hold(folder: Path) -> None:
    """Keep other processes out of an existing folder until `leave_folders`, or until this process
    ends.

    Raises UserError when one has it already.
    """
    folder = folder.resolve()
    if fcntl is None or folder in _held:
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UserError(
            f"another process works in {folder}: wait for it, or give another --name"
        ) from None
    except OSError:  # a file system without locks
        os.close(descriptor)
        return
    _held[folder] = descriptor


def leave_folders() -> None:
    """Let other processes into the folders again, and remove those made here into which nothing has
    come.
    """
    _release()
    while _made:  # innermost first
        try:
            _made.pop().rmdir()
        except OSError:
            continue


def _release() -> None:
    while _held:
        os.close(_held.popitem()[1])


# A worker that outlives its killed parent by seconds must not keep the folder.
if fcntl is not None:
    os.register_at_fork(after_in_child=_release)


def _make(path: Path) -> bool:
    """Make a folder and those above it; False if there is one. Raises OSError where that is
    impossible.
    """
    fresh = False
    for folder in (*reversed(path.absolute().parents), path.absolute()):
        try:
            folder.mkdir()
        except OSError:  # there is one already, perhaps since a moment
            if not folder.is_dir():
                raise
            fresh = False
        else:
            _made.append(folder)
            fresh = True
    return fresh
