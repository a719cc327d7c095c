"""Unpacking tar archives from untrusted sources.

Only folders and regular files are taken. tarfile's data filter checks their names; links, which
have led it out of the folder (CVE-2025-4517), are refused.
"""

import bz2
import gzip
import lzma
import os
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import IO, Any

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import TEMPORARY
from spiking_yolo.io.names import label, reason

# Members and unpacked bytes of an archive, at most.
MEMBERS, BYTES = 1 << 19, 16 << 30
# Unpacked bytes for each byte of the archive, at most; the first 64 MiB are always allowed.
RATIO, FREE = 20, 64 << 20
# Bytes that are read at once; only a header that lies about its length asks for more.
_READ = 1 << 20
_OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}


def unpack(archive: Path, cache: Path) -> Path:
    """Unpack a tar archive (plain, gz, bz2 or xz) into a folder of `cache`, once.

    The folder's name holds the archive's size and time, so a changed archive is unpacked again.

    Raises:
        UserError: The archive is damaged, holds something else than files and folders, names that
            leave the folder, or more than MEMBERS, BYTES or RATIO allow; or the cache cannot be
            written. The cache is then as before.
    """
    stat = archive.stat()
    target = cache / f"{archive.name.split('.')[0]}-{stat.st_size}-{stat.st_mtime_ns}"
    if target.is_dir():
        return target
    part: Path | None = None
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # `target` appears only when all is there, whoever else unpacks at the same time.
        part = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=cache))
        _extract(archive, part, min(BYTES, max(FREE, RATIO * stat.st_size)))
        os.replace(part, target)
    except OSError as error:
        if not target.is_dir():
            raise UserError(
                f"cannot unpack {archive} into {cache}: {error.strerror}; check the archive and the"
                " free space"
            ) from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
    return target


def _extract(archive: Path, folder: Path, allowance: int) -> None:
    count = 0

    def checked(member: tarfile.TarInfo, destination: str) -> tarfile.TarInfo | None:
        nonlocal allowance, count
        if member.issparse() or not (member.isfile() or member.isdir()):
            raise ValueError(f"{label(member.name)!r} is a link, a device or a sparse file")
        if not member.name.isprintable():
            raise ValueError(f"{label(member.name)!r} is no name of a file")
        count += 1
        allowance -= member.size
        if allowance < 0 or count > MEMBERS:
            raise UserError(
                f"{archive} unpacks to far more than its size, or to more than {MEMBERS} files:"
                " unpack it yourself and give the folder"
            )
        return tarfile.data_filter(member, destination)

    try:
        with _opened(archive) as stream:
            source: Any = _Frugal(stream)
            with tarfile.open(fileobj=source, mode="r:") as tar:
                tar.extractall(folder, filter=checked)
    except Exception as error:  # the readers raise whatever the damage leads to
        if isinstance(error, UserError) or getattr(error, "errno", None) is not None:
            raise
        raise UserError(
            f"{archive} is not a whole and safe tar file ({reason(error)}): fetch it from another"
            " place"
        ) from error


def _opened(archive: Path) -> IO[bytes]:
    with open(archive, "rb") as file:
        head = file.read(6)
    for magic, opener in _OPENERS.items():
        if head.startswith(magic):
            return opener(archive, "rb")
    return open(archive, "rb")


class _Frugal:
    """A file that gives no more than _READ bytes at once."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _READ:
            raise tarfile.ReadError(f"a header says that it has {size} bytes")
        return self.file.read(size)
