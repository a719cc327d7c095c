"""Files: fingerprints, and writes that leave either the old file or the whole new one."""

import hashlib
import json
import math
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spiking_yolo.errors import UserError


def sha256(path: str | Path) -> str:
    """Lowercase hexadecimal SHA-256 of the file. Raises UserError when it cannot be read."""
    try:
        with open(path, "rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest()
    except OSError as e:
        raise UserError(f"cannot read {path}: {e.strerror}; check the path") from e


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; the file written there replaces `path` on success only.

    The folder is created when missing. The temporary name keeps the suffix, by which some writers choose
    a format.
    Raises UserError when the system refuses to write.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as e:
        raise UserError(f"cannot write {path}: {e.strerror or e}; check the folder and the free space") from e
    finally:
        if path.parent.is_dir():
            temporary.unlink(missing_ok=True)


def write_json(path: str | Path, content: Any, indent: int | None = None) -> None:
    """Write a JSON file, whole or not at all. Raises UserError when the system refuses to write."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=indent) + "\n")


def finite(value: Any) -> Any:
    """The same value, dicts and lists included, with None for nan and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
