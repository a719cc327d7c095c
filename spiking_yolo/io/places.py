"""Where files lie that nobody named: beside the file that they belong to, or in the user's cache."""

import hashlib
import os
from pathlib import Path


def beside(file: Path, name: str) -> Path:
    """The place of a file that belongs to another: beside it, whether it is there or not.

    Where that folder cannot be written to and has no such file, a folder of the user's cache ($XDG_CACHE_HOME, or
    ~/.cache), one for each path that files belong to. What is kept there must know itself whose it is.
    """
    path = file.with_name(name)
    if path.exists() or not file.parent.is_dir() or os.access(file.parent, os.W_OK):
        return path
    cache = Path(
        os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    )  # the simulator's C code lies there too
    return cache / "spiking_yolo" / "networks" / hashlib.sha256(os.fsencode(file.resolve())).hexdigest()[:16] / name
