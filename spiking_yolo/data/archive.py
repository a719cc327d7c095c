"""Unpacking a tar archive that nobody vouches for: regular files only, under names of our own
making.

Python's own filter for hostile archives follows links and can be led out of the folder by them
(CVE-2025-4517). Here nothing but folders and files is made, in a folder that is new, so there is no
link to follow.
"""

import bz2
import gzip
import lzma
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import remove_left_over, temporary_name
from spiking_yolo.io.names import label, reason

# At most in an archive, unpacked.
MEMBERS, BYTES = 1 << 20, 16 << 30
# Of the unpacked bytes to the archive's, which are not held against the first 64 MiB.
RATIO, FREE = 20, 64 << 20
# Bytes in a part of a name; parts.
LONGEST, DEEPEST = 255, 16
# Bytes at once; only a header that lies about its length asks for more.
_READ = 1 << 20
_OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}


def unpack(archive: Path, cache: Path) -> Path:
    """The folder in `cache` with the files of a tar archive (plain, gz, bz2, xz), unpacked by the
    first call.

    Its name holds the archive's size and time, so a changed archive is unpacked again. Raises
    UserError for a damaged archive, for links, devices and names that leave the folder, for more
    than MEMBERS or BYTES or a ratio above RATIO, and where it cannot be written; the cache is then
    as before.
    """
    stat = archive.stat()
    target = cache / f"{archive.name.split('.')[0]}-{stat.st_size}-{stat.st_mtime_ns}"
    if target.is_dir():
        return target
    part: Path | None = None
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # The name `target` appears only when all is there, whoever else unpacks at the same time.
        remove_left_over(cache)
        part = Path(tempfile.mkdtemp(prefix=temporary_name(), dir=cache))
        _extract(archive, part, min(BYTES, max(FREE, RATIO * stat.st_size)))
        os.replace(part, target)
    except OSError as error:
        if not target.is_dir():
            raise UserError(
                f"cannot unpack {archive} into {cache}: {error.strerror}; check the free space"
            ) from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
    return target


def _extract(archive: Path, folder: Path, allowance: int) -> None:
    made: set[PurePosixPath] = set()
    for member, content in _members(archive):
        name = _safe_name(archive, member)
        path = folder / name
        if member.isdir():
            path.mkdir(parents=True, exist_ok=True)
            continue
        allowance -= member.size
        if allowance < 0:
            raise UserError(
                f"{archive} unpacks to far more than its size: unpack it yourself and give the"
                " folder"
            )
        if name in made or path.is_dir() or any(parent in made for parent in name.parents):
            raise _unsafe(archive, member, "is there twice")
        made.add(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "xb") as file:
            for block in content:
                file.write(block)


def _members(archive: Path) -> Iterator[tuple[tarfile.TarInfo, Iterator[bytes]]]:
    """Every folder and regular file of the archive, and the file's content. Raises UserError for
    anything else.
    """
    with _damage_named(archive), _opened(archive) as stream:
        tar, count = tarfile.TarFile(fileobj=_Frugal(stream)), 0  # type: ignore[arg-type]
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # it keeps them all
            count += 1
            if count > MEMBERS:
                raise UserError(
                    f"{archive} holds more than {MEMBERS} files: unpack it yourself and give the"
                    " folder"
                )
            plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
            if not (plain or member.isdir()):
                raise _unsafe(archive, member, "is a link, a device or a sparse file")
            yield member, _blocks(archive, tar, member)


def _blocks(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    with _damage_named(archive):
        content = tar.extractfile(member)
        left = member.size
        while content is not None and left and (block := content.read(min(left, _READ >> 4))):
            left -= len(block)
            yield block
        if left:
            raise EOFError("it ends early")


@contextmanager
def _damage_named(archive: Path) -> Iterator[None]:
    """What the readers raise, which depends on the damage, as a UserError. System errors have a
    number, and pass.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or (isinstance(error, OSError) and error.errno is not None):
            raise
        raise UserError(
            f"{archive} is not a whole and safe tar file ({reason(error)}): fetch it again"
        ) from error


def _opened(archive: Path) -> IO[bytes]:
    with open(archive, "rb") as file:
        head = file.read(6)
    opener: Any = next(
        (opener for magic, opener in _OPENERS.items() if head.startswith(magic)), open
    )
    return opener(archive, "rb")


class _Frugal:
    """A file that gives no more than _READ bytes at once."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _READ:
            raise tarfile.ReadError(f"a header says that it has {size} bytes")
        return self.file.read(size)


def _safe_name(archive: Path, member: tarfile.TarInfo) -> PurePosixPath:
    """The member's name, relative and without steps up. Raises UserError for any other."""
    name = PurePosixPath(member.name)
    fits = member.name.isprintable() and len(name.parts) <= DEEPEST and not name.is_absolute()
    if not fits or any(part == ".." or len(part.encode()) > LONGEST for part in name.parts):
        raise _unsafe(
            archive, member, "has a name that leaves the folder, or that no file can have"
        )
    return name


def _unsafe(archive: Path, member: tarfile.TarInfo, problem: str) -> UserError:
    name = repr(label(member.name))
    return UserError(
        f"{archive} is not a whole and safe tar file ({name} {problem}): fetch it from another"
        " place"
    )
