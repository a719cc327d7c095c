"""Files: fingerprints, reading of what is a file, and writes that leave either the old file or the whole new one."""

import hashlib
import itertools
import json
import math
import os
import platform
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from spiking_yolo.errors import UserError

LONGEST = 1 << 28  # bytes of a text file
# Of temporary names; with the machine, since of another one's processes nobody knows here whether they live.
_TEMPORARY = f".spiking-yolo-{hashlib.sha256(platform.node().encode()).hexdigest()[:8]}-"
_PROCESS = secrets.token_hex(4)  # the system uses the numbers of processes again
_numbers = itertools.count()
_tidied: set[Path] = set()


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


def temporary_name(suffix: str = "") -> str:
    """A name for what will be renamed, short however long the file's is, and of this process."""
    return f"{_TEMPORARY}{os.getpid()}-{_PROCESS}-{next(_numbers)}{suffix}"


def remove_left_over(folder: Path) -> None:
    """Remove what killed processes of this machine have left there under temporary names; once per process."""
    folder = folder.absolute()
    if folder in _tidied or os.name != "posix":
        return
    _tidied.add(folder)
    for path in folder.glob(f"{_TEMPORARY}*"):
        number, _, rest = path.name.removeprefix(_TEMPORARY).partition("-")
        if (number == str(os.getpid()) and rest.startswith(_PROCESS)) or _lives(number):
            continue
        with suppress(OSError):  # another process has been faster
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _lives(number: str) -> bool:
    """Whether there is a process of this number besides our own."""
    if number == str(os.getpid()):
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError, ValueError):  # it is another user's, or this is no number of a process
        return True
    return True


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; the file written there replaces `path` on success only.

    The folder is created when missing, and what killed processes have left in it goes. The temporary name keeps the
    suffix, by which some writers choose a format.
    Raises UserError when the system refuses to write.
    """
    path = Path(path)
    if os.path.exists(path) and not os.path.isfile(path):  # who may, would put a file in the place of /dev/null
        raise UserError(f"cannot write {path}: it is a folder, a pipe or a device; give a file")
    temporary = path.with_name(temporary_name(path.suffix))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_left_over(path.parent)
        yield temporary
        os.replace(temporary, path)
    except OSError as e:
        raise UserError(f"cannot write {path}: {e.strerror or e}; check the folder and the free space") from e
    finally:
        if path.parent.is_dir():
            temporary.unlink(missing_ok=True)


class GradualFile:
    """A text file that appears once it is closed, with what has been written so far; memory does not grow with it.

    end: of its text. None appears when nothing was written. Raises UserError, naming it, when the system refuses; then
    there is none.
    """

    def __init__(self, path: Path, end: str = ""):
        self.path, self.end = path, end
        self._stack, self._file = ExitStack(), None

    @property
    def begun(self) -> bool:
        return self._file is not None

    def write(self, text: str) -> None:
        with self._undone_by_errors():
            if self._file is None:
                temporary = self._stack.enter_context(atomic_write(self.path))
                self._file = self._stack.enter_context(open(temporary, "w", encoding="utf-8"))  # noqa: SIM115
            self._file.write(text)

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with self._undone_by_errors():
                file.write(self.end)
                self._stack.close()

    @contextmanager
    def _undone_by_errors(self) -> Iterator[None]:
        """Not by Ctrl-C, which leaves what there is."""
        try:
            yield
        except OSError as error:
            self._file = None
            self._stack.__exit__(type(error), error, None)
            raise


def write_json(path: str | Path, content: Any, indent: int | None = None) -> None:
    """Write a JSON file, whole or not at all; see `json_text`. Raises UserError when the system refuses to write."""
    with atomic_write(path) as temporary:
        temporary.write_text(json_text(content, indent=indent) + "\n")


def json_text(value: Any, **layout: Any) -> str:
    """The JSON of a value, with null for nan and infinity, which JSON does not have. layout: of json.dumps."""
    return json.dumps(finite(value), allow_nan=False, **layout)


def exact_json(value: Any) -> str:
    """The JSON of figures, which reads back exactly. Raises UserError for nan and infinity."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except ValueError:
        raise UserError("the network's outputs are not finite: convert it with other settings") from None


def finite(value: Any) -> Any:
    """The same value, dicts and lists included, with None for nan and infinity."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
