"""Files of torch.save, read without executing anything: the description as data, tensors as records until asked for."""

import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.models.pickled import Name, Reference, plain, read_pickle

ENTRIES, DIMENSIONS = 100_000, 8  # at most
DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


@dataclass(frozen=True)
class TensorRecord:
    """A tensor that lies in the file: entry `key`, numbers of the storage's dtype, and which of them in what order."""

    storage: Any
    offset: Any
    size: Any
    stride: Any


def _ordered(pairs: Any = ()) -> dict[Any, Any]:
    made = {key: value for key, value in pairs if plain(key)}
    if len(made) != len(pairs):
        raise TypeError
    return made


# What is more than a Record: name -> f(*arguments). Sets become lists, since nothing here is hashed but names.
KNOWN: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor_v2": lambda storage, offset, size, stride, *rest: TensorRecord(
        storage, offset, size, stride
    ),
    "torch._utils._rebuild_parameter": lambda data, *rest: data,
    "torch.Size": lambda sizes=(): tuple(sizes),
    "collections.OrderedDict": _ordered,
    **dict.fromkeys(["builtins.set", "__builtin__.set"], lambda values=(): list(values)),
}


class TorchFile:
    """An open file: `content` is what was saved, with Records in place of objects, and `tensor` reads the numbers.

    A context manager. Raises UserError, naming the entry, for what is no such file.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, RuntimeError) as error:
            legacy = _starts_with(path, b"\x80")
            what = (
                "it is a bare pickle, PyTorch's format of before 2020"
                if legacy
                else "it is no zip archive of torch.save"
            )
            mend = "save it again with torch.save" if legacy else "fetch it again"
            raise UserError(f"{what}: {mend}") from error
        self._budget = 4 * path.stat().st_size  # bytes that may be read, so that no number is used a thousand times
        try:
            self._entries = _checked(self._zip.infolist(), path.stat().st_size)
            top = next(iter(self._entries)).split("/")[0]
            if self._entries.get(f"{top}/byteorder") and self._read(f"{top}/byteorder") != b"little":
                raise UserError("its numbers are big-endian: save it again on another machine")
            self._top = top
            self.content = read_pickle(self._read(f"{top}/data.pkl"), KNOWN)
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> "TorchFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def tensor(self, record: Any, name: str) -> Tensor:
        """The numbers of a record, a tensor of its own. Raises UserError, with `name`, unless they are in the file."""
        if not isinstance(record, TensorRecord):
            raise UserError(f"{name} is no tensor: give another checkpoint")
        match record.storage:
            case Reference(what=("storage", Name(path=path), str(key), _, int(count))):
                dtype = DTYPES.get(path.removeprefix("torch."))
            case _:
                dtype, key, count = None, "", 0
        entry = f"{self._top}/data/{key}"
        if dtype is None or entry not in self._entries:
            raise UserError(f"{name} has no numbers in the file: give another checkpoint")
        if not _fits(record, count) or self._entries[entry].file_size != count * dtype.itemsize:
            raise UserError(f"{name} does not fit into its entry {entry}: fetch the file again")
        if not count:
            return torch.zeros(record.size, dtype=dtype)
        values = torch.frombuffer(bytearray(self._read(entry)), dtype=dtype)
        return values.as_strided(record.size, record.stride, record.offset).clone()

    def _read(self, entry: str) -> bytes:
        if entry not in self._entries:
            raise UserError(f"there is no entry {entry}: give a file of torch.save")
        self._budget -= self._entries[entry].file_size
        if self._budget < 0:
            raise UserError(f"entry {entry} is used by too many tensors: give another checkpoint")
        try:
            return self._zip.read(self._entries[entry])
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError) as error:
            raise UserError(f"entry {entry} is damaged: fetch the file again") from error


def _starts_with(path: Path, magic: bytes) -> bool:
    with open(path, "rb") as file:
        return file.read(len(magic)) == magic


def _checked(infos: list[zipfile.ZipInfo], size: int) -> dict[str, zipfile.ZipInfo]:
    """The entries by name. Raises UserError for compression, encryption, double names and what overlaps."""
    entries = {info.filename: info for info in infos}
    if not 0 < len(infos) <= ENTRIES or len(entries) < len(infos):
        raise UserError(f"its {len(infos)} entries are too many, none, or share names: give a file of torch.save")
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.file_size != info.compress_size:
            raise UserError(f"entry {info.filename[:60]!r} is compressed or encrypted: give a file of torch.save")
    if sum(info.file_size for info in infos) > size:
        raise UserError("its entries lie over one another: give a file of torch.save")
    pickles = [name for name in entries if name.endswith(".pkl")]
    tops = {name.split("/")[0] for name in entries}
    if len(tops) > 1 or pickles != [f"{top}/data.pkl" for top in tops]:
        raise UserError("it must hold one folder with one pickle, data.pkl, in it: give a file of torch.save")
    return entries


def _fits(record: TensorRecord, count: int) -> bool:
    """Whether a tensor takes only numbers that are there, each at most once on average."""
    size, stride, offset = record.size, record.stride, record.offset
    if not (isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride) <= DIMENSIONS):
        return False
    if not all(type(v) is int and 0 <= v <= count for v in (*size, *stride, offset)):
        return False
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    return math.prod(size) <= count and (math.prod(size) == 0 or last < count)
