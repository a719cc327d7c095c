"""Where files lie that nobody named: beside the file that they belong to, or in the user's cache."""

import hashlib
import os
from pathlib import Path

from platformdirs import user_cache_path


def cache_folder() -> Path:
    """The package's folder in the user's cache; the environment variable SPIKING_YOLO_CACHE names another."""
    chosen = os.environ.get("SPIKING_YOLO_CACHE")
    return Path(chosen) if chosen else user_cache_path("spiking_yolo", appauthor=False)


def beside(file: Path, name: str) -> Path:
    """The place of a file that belongs to another: beside it, whether it is there or not.

    Where that folder cannot be written to and has no such file, a folder below `cache_folder`, one for
    each path that files belong to. What is kept there must know itself whose it is.
    """
    path = file.with_name(name)
    if path.exists() or not file.parent.is_dir() or os.access(file.parent, os.W_OK):
        return path
    owner = hashlib.sha256(os.fsencode(file.resolve())).hexdigest()[:16]
    return cache_folder() / "networks" / owner / name
