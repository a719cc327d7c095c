"""Read a pickle as data: a stack machine of the few instructions that checkpoints use, which can
call nothing.

Python's own unpickler imports and calls what the file names. Here a name is only a name: what a
file would call becomes an inert Record of it, and plain values are built from plain values. Work
and memory grow with the bytes of the file.
"""

import math
import pickletools
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.errors import UserError

# bytes; that of a detector has a tenth of a million.
LARGEST = 4 << 20
# Numbers below it have hashes of their own; of larger ones a file could choose those that collide.
KEYS = 1 << 32
_PUSHED = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}  # instruction -> constant
_ARGUMENT = {
    "BININT",
    "BININT1",
    "BININT2",
    "LONG1",
    "BINFLOAT",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "SHORT_BINBYTES",
}
_ARGUMENT |= {"BINBYTES", "SHORT_BINSTRING", "BINSTRING"}
_NEW: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": list,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()
_Key = str | int | bytes | None


@dataclass(frozen=True)
class Name:
    """What the file calls by its name, module and all: `torch.nn.modules.conv.Conv2d`."""

    path: str


@dataclass(eq=False)
class Record:
    """What the file would have made by calling `name` with `args`. state: what it would have been
    given then.

    items: of a subclass of dict or list.
    """

    name: str
    args: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict[Any, Any])


@dataclass(frozen=True)
class Reference:
    """Something that lies outside of the pickle: a storage of numbers."""

    what: Any


def read_pickle(content: bytes, known: Mapping[str, Callable[..., Any]]) -> Any:
    """The value that a pickle describes.

    known: name -> function that makes its value from the arguments; all else becomes a Record.
    Raises UserError for what is no pickle, or one that does more than describe data.
    """
    if len(content) > LARGEST:
        raise UserError(
            f"its description has {len(content)} bytes, more than any detector's: give another file"
        )
    machine = _Machine(known, len(content))
    try:
        for instruction, argument, _ in pickletools.genops(content):
            machine.step(instruction.name, argument)
    except (
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        OverflowError,
        RecursionError,
        AttributeError,
    ) as error:
        if isinstance(error, UserError):
            raise
        raise UserError("its pickle is damaged: fetch the file again") from error
    if len(machine.stack) != 1 or not machine.stopped:
        raise UserError("its pickle ends too early: fetch the file again")
    return machine.stack[0]


class _Machine:
    """copies: how many values the known functions may be given, which copy them; each takes a byte
    of the file.
    """

    def __init__(self, known: Mapping[str, Callable[..., Any]], copies: int) -> None:
        self.known, self.copies = known, copies
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.stopped = False

    def step(self, name: str, argument: Any) -> None:
        """Carry out one instruction. Raises whatever a malformed one leads to."""
        stack = self.stack
        if name in _ARGUMENT:
            stack.append(argument)
        elif name in _PUSHED:
            stack.append(_PUSHED[name])
        elif name in _NEW:
            stack.append(_NEW[name]())
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "TUPLE":
            items = self._marked()
            stack.append(tuple(items))
        elif name in _TUPLES:
            stack[-_TUPLES[name] :] = [tuple(self._top(_TUPLES[name]))]
        elif name in ("SETITEM", "SETITEMS"):
            self._set(self._pop(2) if name == "SETITEM" else self._marked())
        elif name in ("APPEND", "APPENDS", "ADDITEMS"):
            self._append(self._pop(1) if name == "APPEND" else self._marked())
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            stack.append(_name(argument.split(" ") if name == "GLOBAL" else self._pop(2)))
        elif name in ("REDUCE", "NEWOBJ"):
            self._call(*self._pop(2))
        elif name == "BUILD":
            self._build(*self._pop(1))
        elif name == "BINPERSID":
            stack[-1] = Reference(self._top(1)[0])
        elif name == "STOP":
            self.stopped = True
        elif name not in ("PROTO", "FRAME"):
            raise UserError(
                f"its pickle has the instruction {name}, which no checkpoint needs: give another"
                " file"
            )

    def _top(self, n: int) -> list[Any]:
        """The last n values. Raises IndexError where there are fewer since the last mark."""
        values = self.stack[-n:]
        if len(values) < n or any(value is _MARK for value in values):
            raise IndexError
        return values

    def _pop(self, n: int) -> list[Any]:
        values = self._top(n)
        del self.stack[-n:]
        return values

    def _marked(self) -> list[Any]:
        """The values since the last mark, which are taken off the stack with it."""
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise IndexError
        values = self.stack[at + 1 :]
        del self.stack[at:]
        return values

    def _set(self, pairs: list[Any]) -> None:
        (target,) = self._top(1)
        items = target.items if isinstance(target, Record) else target
        if not isinstance(items, dict):
            raise TypeError
        items.update(_pairs(pairs))

    def _append(self, values: list[Any]) -> None:
        (target,) = self._top(1)
        if isinstance(target, Record):
            target.items.update(enumerate(values, len(target.items)))
        elif isinstance(target, list):
            target += values
        else:
            raise TypeError

    def _call(self, callee: Any, args: Any) -> None:
        if not isinstance(callee, Name) or not isinstance(args, tuple):
            raise UserError("its pickle calls what is no name: give another file")
        make = self.known.get(callee.path)
        if make is None:
            self.stack.append(Record(callee.path, args))
            return
        self.copies -= len(args) + sum(len(a) for a in args if isinstance(a, (list, tuple, dict)))
        if self.copies < 0:
            raise UserError("its pickle uses the same values again and again: give another file")
        self.stack.append(make(*args))

    def _build(self, state: Any) -> None:
        (target,) = self._top(1)
        # An OrderedDict: a state_dict has _metadata, which nothing here reads.
        if isinstance(target, dict):
            return
        if not isinstance(target, Record):
            raise UserError(
                f"its pickle changes a {type(target).__name__} in place: give another file"
            )
        target.state = state


def _name(parts: list[Any]) -> Name:
    module, attribute = parts
    if not (isinstance(module, str) and isinstance(attribute, str)):
        raise TypeError
    return Name(f"{module}.{attribute}")


def _pairs(values: list[Any]) -> Iterator[tuple[_Key, Any]]:
    """Keys and values in turn. Raises TypeError for a key that is not `plain`."""
    for key, value in zip(values[::2], values[1::2], strict=True):
        if not plain(key):
            raise TypeError
        yield key, value


def plain(key: Any) -> bool:
    """Whether it may be a key: nested ones could take for ever to compare, and large numbers to
    find.
    """
    return (
        key is None
        or isinstance(key, (str, bytes))
        or (isinstance(key, int) and -KEYS < key < KEYS)
    )


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
    """A tensor that lies in the file: entry `key`, numbers of the storage's dtype, and which of
    them in what order.
    """

    storage: Any
    offset: Any
    size: Any
    stride: Any


def _ordered(pairs: Any = ()) -> dict[Any, Any]:
    made = {key: value for key, value in pairs if plain(key)}
    if len(made) != len(pairs):
        raise TypeError
    return made


# What is more than a Record: name -> f(*arguments). Sets become lists, since nothing here is hashed
# but names.
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
    """An open file: `content` is what was saved, with Records in place of objects, and `tensor`
    reads the numbers.

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
        # Bytes that may be read, so that no number is used a thousand times.
        self._budget = 4 * path.stat().st_size
        try:
            self._entries = _checked(self._zip.infolist(), path.stat().st_size)
            top = next(iter(self._entries)).split("/")[0]
            if (
                self._entries.get(f"{top}/byteorder")
                and self._read(f"{top}/byteorder") != b"little"
            ):
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
        """The numbers of a record, a tensor of its own. Raises UserError, with `name`, unless they
        are in the file.
        """
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
    """The entries by name. Raises UserError for compression, encryption, double names and what
    overlaps.
    """
    entries = {info.filename: info for info in infos}
    if not 0 < len(infos) <= ENTRIES or len(entries) < len(infos):
        raise UserError(
            f"its {len(infos)} entries are too many, none, or share names: give a file of"
            " torch.save"
        )
    for info in infos:
        if (
            info.compress_type != zipfile.ZIP_STORED
            or info.flag_bits & 1
            or info.file_size != info.compress_size
        ):
            raise UserError(
                f"entry {info.filename[:60]!r} is compressed or encrypted: give a file of"
                " torch.save"
            )
    if sum(info.file_size for info in infos) > size:
        raise UserError("its entries lie over one another: give a file of torch.save")
    pickles = [name for name in entries if name.endswith(".pkl")]
    tops = {name.split("/")[0] for name in entries}
    if len(tops) > 1 or pickles != [f"{top}/data.pkl" for top in tops]:
        raise UserError(
            "it must hold one folder with one pickle, data.pkl, in it: give a file of torch.save"
        )
    return entries


def _fits(record: TensorRecord, count: int) -> bool:
    """Whether a tensor takes only numbers that are there, each at most once on average."""
    size, stride, offset = record.size, record.stride, record.offset
    if not (
        isinstance(size, tuple)
        and isinstance(stride, tuple)
        and len(size) == len(stride) <= DIMENSIONS
    ):
        return False
    if not all(type(v) is int and 0 <= v <= count for v in (*size, *stride, offset)):
        return False
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    return math.prod(size) <= count and (math.prod(size) == 0 or last < count)
