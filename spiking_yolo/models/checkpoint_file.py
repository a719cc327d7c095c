"""Checkpoints of torch.save that hold whole objects, read as data by torch.load(weights_only=True).

torch's safe unpickler accepts only classes that it was told about. It is told about inert
stand-ins for every class that the file names, so nothing of the file can run. It does not bound
time and memory, so the archive and the pickle are checked before torch sees them.
"""

import io
import pickletools
import re
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
# Names of classes, and numbers beyond 32 bits, whose hashes a file could choose to collide.
NAMES = 1000
# Values that one value may hold, and that calls may copy, for each byte of the pickle. Detectors
# need 2.
VALUES_PER_BYTE = 16
# Bytes for each byte of an argument, at most: encoding it as UTF-32.
GROWTH = 4
# The functions and classes of torch that a detector needs: others can call, copy and allocate.
TORCH_NAMES = {
    "torch.Size",
    "torch.device",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
}


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
        UserError: The file is damaged, no file of torch.save, or asks for more work or memory than
            its size can justify.
    """
    archive = _checked_copy(path)
    # Classes that other code of this process has declared safe would be called, not replaced.
    declared = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(archive)
        archive.seek(0)
        stand_ins: list[Any] = [(stand_in(name), name) for name in names]
        # torch warns of some damages before it raises.
        with warnings.catch_warnings(), torch.serialization.safe_globals(stand_ins):
            warnings.simplefilter("ignore")
            return torch.load(archive, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the damage leads to
        # Its own advice is to load the file unsafely.
        cause = reason(str(error).split("WeightsUnpickler error: ")[-1])
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


def _checked_copy(path: Path) -> io.BytesIO:
    """The archive written anew, so that torch reads exactly the entries that were checked."""
    copy = io.BytesIO()
    try:
        with zipfile.ZipFile(path) as file, zipfile.ZipFile(copy, "w") as new:
            top = _check_archive(file, path)
            _check_pickle(file.read(f"{top}/data.pkl"))
            for entry in file.namelist():
                if not entry.startswith(f"{top}/."):
                    new.writestr(entry, file.read(entry))
    except UserError:
        raise
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
    copy.seek(0)
    return copy


def _check_archive(file: zipfile.ZipFile, path: Path) -> str:
    """The folder in which everything lies. Raises UserError for archives unlike torch.save's."""
    names = file.namelist()
    top = names[0].split("/")[0] if names else ""
    pickles = [name for name in names if name.endswith(".pkl")]
    if pickles != [f"{top}/data.pkl"] or any(name.split("/")[0] != top for name in names):
        raise UserError(
            "it must hold one folder with one pickle, data.pkl, in it: give a file of torch.save"
        )
    if len(set(names)) < len(names):
        raise UserError("its entries share names: give a file of torch.save")
    # torch.save compresses nothing. Compressed and overlapping entries could become terabytes.
    if any(info.compress_type != zipfile.ZIP_STORED for info in file.infolist()):
        raise UserError("its entries are compressed: give a file of torch.save")
    if sum(info.file_size for info in file.infolist()) > path.stat().st_size:
        raise UserError("its entries are larger than the file: give a file of torch.save")
    return top


def _check_pickle(content: bytes) -> None:
    """Bound the time and memory that unpickling takes, without unpickling. Raises UserError."""
    if len(content) > LARGEST_PICKLE:
        raise UserError(f"its pickle has {len(content)} bytes, more than any detector's")
    sizes = _Sizes()
    names: set[str] = set()
    long_numbers = 0
    for op, argument, _ in pickletools.genops(content):
        if op.name == "PROTO" and argument != 2:
            raise UserError(f"its pickle has protocol {argument}: save it again with torch.save")
        if op.name == "GLOBAL":
            name = str(argument).replace(" ", ".")
            _check_name(name)
            names.add(name)
        if isinstance(argument, int) and abs(argument) >= 1 << 32:
            long_numbers += 1
        largest = max(sizes.step(op, argument), sizes.copied)
        if largest > VALUES_PER_BYTE * len(content) or max(len(names), long_numbers) > NAMES:
            raise UserError("its pickle uses the same values again and again: give another file")


class _Sizes:
    """Follows a pickle's stack, but of each value keeps only a size: how many values are in it.

    Tuples in tuples that take for ever to hash, and copies of one long list, have large sizes.
    """

    def __init__(self) -> None:
        # Sizes are in lists of one element, which the stack and the memo share as values would be.
        self.stack: list[list[int]] = []
        self.memo: dict[Any, list[int]] = {}
        self.marks: list[int] = []
        # Values in the arguments of calls, which may copy them.
        self.copied = 0

    def step(self, op: pickletools.OpcodeInfo, argument: Any) -> int:
        """Carry out an instruction. Returns the size of the value that it makes or changes."""
        if op.name == "MARK":
            self.marks.append(len(self.stack))
            return 0
        if op.name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
            return 0
        if op.name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
            return 0
        operands = self._pop(op.stack_before)
        size = 1 + sum(operand[0] for operand in operands)
        if isinstance(argument, str | bytes):
            size += len(argument) // 8
        if op.name in ("REDUCE", "NEWOBJ"):
            size *= GROWTH
            self.copied += size
        if op.name in ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "BUILD"):
            operands[0][0] = size
            self.stack.append(operands[0])
        elif op.stack_after:
            self.stack.append([size])
        return size

    def _pop(self, kinds: list[pickletools.StackObject]) -> list[list[int]]:
        start = len(self.stack) - len(kinds)
        if pickletools.markobject in kinds:
            start = self.marks.pop() - kinds.index(pickletools.markobject)
        operands = self.stack[start:]
        del self.stack[start:]
        return operands


def _check_name(name: str) -> None:
    """Raise UserError for names of torch and of the system that no detector needs."""
    allowed = name in TORCH_NAMES or name.startswith("torch.nn.modules.")
    allowed = allowed or re.fullmatch(r"torch\.[A-Za-z0-9]+Storage", name) is not None
    system = name.endswith(".bytearray") or name.split(".")[0] in ("os", "posix", "nt", "sys")
    if system or (name.startswith("torch.") and not allowed):
        raise UserError(f"its pickle uses {name}, which no detector needs: give another file")
