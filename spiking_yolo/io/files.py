"""Files: fingerprints, reading of what is a file, and writes that leave either the old file or the whole new one."""

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

LONGEST = 1 << 28  # bytes of a text file


def sha256(path: str | Path) -> str:
    """Lowercase hexadecimal SHA-256 of the file. Raises UserError when it cannot be read."""
    try:
        with open(regular(path), "rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest()
    except OSError as e:
        raise UserError(f"cannot read {path}: {e.strerror}; check the path") from e


def regular(path: str | Path) -> Path:
    """The path, unless something else than a file is there: a FIFO or a device would be read for ever.

    Raises UserError then; a path where nothing is passes, for the reader to word it.
    """
    path = Path(path)
    if os.path.exists(path) and not os.path.isfile(path):  # Path.exists raises where a name is too long for a file
        raise UserError(f"cannot read {path}: it is a folder, a pipe or a device; give a file")
    return path


def read_text(path: str | Path) -> str:
    """The text of a UTF-8 file, with or without byte-order mark.

    Raises UserError naming the file when it cannot be read, is no text or has more than LONGEST bytes.
    """
    path = regular(path)
    try:
        if path.stat().st_size > LONGEST:
            raise UserError(f"{path} has {path.stat().st_size} bytes, where {LONGEST} are the most: is it a text file?")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path} is missing: check the path") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the path") from error
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file in UTF-8: save it as one") from None


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; the file written there replaces `path` on success only.

    The folder is created when missing. The temporary name keeps the suffix, by which some writers choose
    a format.
    Raises UserError when the system refuses to write.
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(8)}{path.suffix}")  # short, however long the name is
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
