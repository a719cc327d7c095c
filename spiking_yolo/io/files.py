"""Files that are read: their fingerprints, and text of what is a file indeed."""

import hashlib
import os
from pathlib import Path

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


def read_text(path: str | Path, errors: str = "strict") -> str:
    """The text of a UTF-8 file, with or without byte-order mark. errors: of what is none, as str.decode has it.

    Raises UserError naming the file when it cannot be read, is no text or has more than LONGEST bytes.
    """
    path = regular(path)
    try:
        if path.stat().st_size > LONGEST:
            raise UserError(f"{path} has {path.stat().st_size} bytes, where {LONGEST} are the most: is it a text file?")
        return path.read_text(encoding="utf-8-sig", errors=errors)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: check the path") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the path") from error
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file in UTF-8: save it as one") from None
