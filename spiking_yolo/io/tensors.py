"""Safetensors files, which execute no code when they are read."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import atomic_write


def read_safetensors(path: str | Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a safetensors file. Raises UserError for any other file."""
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot read {path} as safetensors: {error}") from error


def read_format(path: str | Path, name: str, what: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The same of a file whose metadata has this format. Raises UserError "is not <what>" for another."""
    metadata, tensors = read_safetensors(path)
    if metadata.get("format") != name:
        raise UserError(f"{path} is not {what}")
    return metadata, tensors


def write_safetensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file, whole or not at all. Raises UserError when it cannot be written."""
    with atomic_write(path) as temporary:
        try:
            # Copies, because the format refuses tensors that share memory.
            save_file({key: value.detach().clone().contiguous() for key, value in tensors.items()}, temporary, metadata)
        except SafetensorError as error:
            raise UserError(f"cannot write {path} ({error}): check the folder and the free space") from error


def check_finite(tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Raise UserError naming the first tensor that holds NaN or infinity."""
    for key, value in tensors.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise UserError(f"{path}: {key} holds NaN or infinity; the file is damaged, make or fetch it again")
