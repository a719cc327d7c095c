"""Checkpoints of torch.save that hold whole objects, read as data by torch.load(weights_only=True).

torch's safe unpickler accepts only classes that it was told about. It is told about inert
stand-ins for every class that the file names, so nothing of the file can run.
"""

import warnings
import zipfile
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.io.names import reason

# Bytes of the pickle; a detector's has a tenth of a million.
LARGEST_PICKLE = 4 << 20


class Record:
    """Stand-in for an object of a checkpoint: data, whatever the object's class would do.

    Attributes:
        name: Full name of the class, such as "torch.nn.modules.conv.Conv2d".
        args: What the class or function would have been called with.
        state: The object's attributes, usually a dict.
    """

    name: ClassVar[str] = ""
    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any, state: Any = None) -> Self:
        record = object.__new__(cls)
        record.args = args
        record.state = state
        return record

    def __setstate__(self, state: Any) -> None:
        self.state = state


def stand_in(name: str) -> type[Record]:
    """The class of the Records that stand for objects of the class `name`."""
    return type("Record", (Record,), {"name": name})


def read_objects(path: Path) -> Any:
    """What torch.save wrote, with Records in place of objects other than tensors and containers.

    Raises:
        UserError: The file is damaged, or no file of torch.save.
    """
    _check_archive(path)
    # Classes that other code of this process has declared safe would be called, not replaced.
    declared = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        stand_ins: list[Any] = [(stand_in(name), name) for name in names]
        # torch warns of some damages before it raises.
        with warnings.catch_warnings(), torch.serialization.safe_globals(stand_ins):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the damage leads to
        cause = reason(str(error).split("WeightsUnpickler error: ")[-1])
        if cause.startswith("Weights only load failed"):
            # What follows is torch's advice to load the file unsafely.
            cause = "it uses what no detector needs"
        raise UserError(f"its pickle is damaged ({cause}): fetch the file again") from error
    finally:
        torch.serialization.add_safe_globals(declared)


def tensor_of(value: Any, name: str) -> Tensor:
    """A value of a file as a float32 tensor of its own memory.

    Raises:
        UserError: `name` is no tensor, or claims more numbers than the file holds.
    """
    if type(value) not in (Tensor, torch.nn.Parameter) or value.is_complex():
        raise UserError(f"{name} is no tensor: give another checkpoint")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise UserError(f"{name} has more numbers than the file holds: give another checkpoint")
    return value.detach().to(torch.float32, copy=True)


def _check_archive(path: Path) -> None:
    """Raise UserError for what torch.save would not write, or what would take more memory."""
    try:
        with zipfile.ZipFile(path) as file:
            entries = file.infolist()
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, LookupError, RuntimeError) as error:
        with open(path, "rb") as damaged:
            if damaged.read(1) == b"\x80":
                raise UserError(
                    "it is a bare pickle, PyTorch's format of before 2020: save it again with"
                    " torch.save"
                ) from error
        raise UserError(
            f"it is no whole file of torch.save ({reason(error)}): fetch it again"
        ) from error
    pickles = [entry for entry in entries if entry.filename.endswith(".pkl")]
    if len(pickles) != 1 or len({entry.filename for entry in entries}) < len(entries):
        raise UserError("it must hold one pickle, data.pkl: give a file of torch.save")
    if pickles[0].file_size > LARGEST_PICKLE:
        raise UserError(
            f"its pickle has {pickles[0].file_size} bytes, more than any detector's: give another"
            " file"
        )
    # torch.save compresses nothing. Compressed and overlapping entries could become terabytes.
    if sum([entry.file_size for entry in entries]) > path.stat().st_size:
        raise UserError("its entries are larger than the file: give a file of torch.save")
