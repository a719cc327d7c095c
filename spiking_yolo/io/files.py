"""Files that are read: their fingerprints, and text of what is a file indeed."""

import hashlib
import itertools
import os
import platform
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from platformdirs import user_cache_path

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
    """The path, unless something else than a file is there: a FIFO or a device would be read for
    ever.

    Raises UserError then; a path where nothing is passes, for the reader to word it.
    """
    path = Path(path)
    # Path.exists raises where a name is too long for a file.
    if os.path.exists(path) and not os.path.isfile(path):
        raise UserError(f"cannot read {path}: it is a folder, a pipe or a device; give a file")
    return path


def read_text(path: str | Path, errors: str = "strict") -> str:
    """The text of a UTF-8 file, with or without byte-order mark. errors: of what is none, as
    str.decode has it.

    Raises UserError naming the file when it cannot be read, is no text or has more than LONGEST
    bytes.
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


# Of temporary names; with the machine, since of another one's processes nobody knows here whether
# they live.
_TEMPORARY = f".spiking-yolo-{hashlib.sha256(platform.node().encode()).hexdigest()[:8]}-"
# The system uses the numbers of processes again.
_PROCESS = secrets.token_hex(4)
_numbers = itertools.count()
_tidied: set[Path] = set()


def temporary_name(suffix: str = "") -> str:
    """A name for what will be renamed, short however long the file's is, and of this process."""
    return f"{_TEMPORARY}{os.getpid()}-{_PROCESS}-{next(_numbers)}{suffix}"


def remove_left_over(folder: Path) -> None:
    """Remove what killed processes of this machine have left there under temporary names; once per
    process.
    """
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
    except (
        OSError,
        OverflowError,
        ValueError,
    ):  # it is another user's, or this is no number of a process
        return True
    return True


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; the file written there replaces `path` on success only.

    The folder is created when missing, and what killed processes have left in it goes. The
    temporary name keeps the suffix, by which some writers choose a format. Raises UserError when
    the system refuses to write.
    """
    path = Path(path)
    # Who may, would put a file in the place of /dev/null.
    if os.path.exists(path) and not os.path.isfile(path):
        raise UserError(f"cannot write {path}: it is a folder, a pipe or a device; give a file")
    temporary = path.with_name(temporary_name(path.suffix))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_left_over(path.parent)
        yield temporary
        os.replace(temporary, path)
    except OSError as e:
        raise UserError(
            f"cannot write {path}: {e.strerror or e}; check the folder and the free space"
        ) from e
    finally:
        if path.parent.is_dir():
            temporary.unlink(missing_ok=True)


class GradualFile:
    """A text file that appears once it is closed, with what has been written so far; memory does
    not grow with it.

    end: of its text. None appears when nothing was written. Raises UserError, naming it, when the
    system refuses; then there is none.
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
                self._file = self._stack.enter_context(temporary.open("w", encoding="utf-8"))
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


def cache_folder() -> Path:
    """The package's folder in the user's cache; the environment variable SPIKING_YOLO_CACHE names
    another.
    """
    chosen = os.environ.get("SPIKING_YOLO_CACHE")
    return Path(chosen) if chosen else user_cache_path("spiking_yolo", appauthor=False)


def beside(file: Path, name: str) -> Path:
    """The place of a file that belongs to another: beside it, whether it is there or not.

    Where that folder cannot be written to and has no such file, a folder below `cache_folder`, one
    for each path that files belong to. What is kept there must know itself whose it is.
    """
    path = file.with_name(name)
    if path.exists() or not file.parent.is_dir() or os.access(file.parent, os.W_OK):
        return path
    owner = hashlib.sha256(os.fsencode(file.resolve())).hexdigest()[:16]
    return cache_folder() / "networks" / owner / name
