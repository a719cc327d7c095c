"""Safetensors files, which hold data only. Those written here have a checksum."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import atomic_write, regular

# The key of the checksum in the metadata.
_CHECKSUM = "checksum"


def read_safetensors(path: str | Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a safetensors file. Raises UserError for other or damaged files."""
    with open_safetensors(path) as file:
        metadata = dict(file.metadata() or {})
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    # Files of other programs have none.
    stored = metadata.pop(_CHECKSUM, None)
    if stored is not None and stored != checksum(metadata, tensors):
        raise UserError(f"{path} is damaged, it is not as it was written: make or fetch it again")
    return metadata, tensors


@contextmanager
def open_safetensors(path: str | Path) -> Iterator[Any]:
    """A safetensors file, whose tensors are read one by one. Raises UserError for other files."""
    try:
        with safe_open(regular(path), "pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot read {path} as safetensors: {error}") from error


def write_safetensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]
) -> None:
    """Write a safetensors file with its checksum, whole or not at all.

    Raises:
        UserError: It cannot be written.
    """
    # The format refuses tensors that share memory.
    copies: dict[str, Tensor] = {}
    for key, value in tensors.items():
        copies[key] = value.detach().cpu().clone().contiguous()
    data = save(copies, {**metadata, _CHECKSUM: checksum(metadata, copies)})
    with atomic_write(path) as temporary:
        # The library's own writer makes files that only their owner can read.
        temporary.write_bytes(data)


def checksum(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of metadata and tensors, whatever their order in the file."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for key, value in sorted(tensors.items()):
        digest.update(json.dumps([key, str(value.dtype), list(value.shape)]).encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_finite(tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Raise UserError naming the first tensor that holds NaN or infinity."""
    for key, value in tensors.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise UserError(f"{path}: {key} holds NaN or infinity: make or fetch it again")
