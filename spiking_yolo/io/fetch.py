"""Files from the network, checked by SHA-256."""

import hashlib
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import atomic_write

# Seconds without an answer.
PATIENCE = 30
_BLOCK = 2**20


def fetch(address: str, path: Path, digest: str) -> None:
    """Write what lies at an address to a file, whole or not at all.

    Args:
        address: https://, http:// or file://.
        path: Of the file.
        digest: Its SHA-256, lowercase hexadecimal.

    Raises:
        UserError: Nothing answers, it is another file, or it cannot be written.
    """
    seen = hashlib.sha256()
    with atomic_write(path) as temporary:
        with temporary.open("wb") as file:
            for block in _blocks(address):
                seen.update(block)
                file.write(block)
        if seen.hexdigest() != digest:
            raise UserError(
                f"{address} is not the file that was released (its SHA-256 is"
                f" {seen.hexdigest()[:16]}..., not {digest[:16]}...): try again, or give another"
                " --release"
            )


def _blocks(address: str) -> Iterator[bytes]:
    try:
        with urlopen(address, timeout=PATIENCE) as response:
            while block := response.read(_BLOCK):
                yield block
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise UserError(
            f"cannot fetch {address} ({reason}): check the net, or give another --release"
        ) from error
