"""Read a pickle as data: a stack machine of the few instructions that checkpoints use, which can call nothing.

Python's own unpickler imports and calls what the file names. Here a name is only a name: what a file would call becomes
an inert Record of it, and plain values are built from plain values. Work and memory grow with the bytes of the file.
"""

import pickletools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from spiking_yolo.errors import UserError

LARGEST = 4 << 20  # bytes; that of a detector has a tenth of a million
KEYS = 1 << 32  # numbers below it have hashes of their own; of larger ones a file could choose those that collide
_PUSHED = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}  # instruction -> constant
_ARGUMENT = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "SHORT_BINBYTES"}
_ARGUMENT |= {"BINBYTES", "SHORT_BINSTRING", "BINSTRING"}
_NEW: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": list}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()
_Key = str | int | bytes | None


@dataclass(frozen=True)
class Name:
    """What the file calls by its name, module and all: `torch.nn.modules.conv.Conv2d`."""

    path: str


@dataclass(eq=False)
class Record:
    """What the file would have made by calling `name` with `args`. state: what it would have been given then.

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

    known: name -> function that makes its value from the arguments; all else becomes a Record. Raises UserError for
    what is no pickle, or one that does more than describe data.
    """
    if len(content) > LARGEST:
        raise UserError(f"its description has {len(content)} bytes, more than any detector's: give another file")
    machine = _Machine(known, len(content))
    try:
        for instruction, argument, _ in pickletools.genops(content):
            machine.step(instruction.name, argument)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, RecursionError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError("its pickle is damaged: fetch the file again") from error
    if len(machine.stack) != 1 or not machine.stopped:
        raise UserError("its pickle ends too early: fetch the file again")
    return machine.stack[0]


class _Machine:
    """copies: how many values the known functions may be given, which copy them; each takes a byte of the file."""

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
            raise UserError(f"its pickle has the instruction {name}, which no checkpoint needs: give another file")

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
        if isinstance(target, dict):  # an OrderedDict: a state_dict has _metadata, which nothing here reads
            return
        if not isinstance(target, Record):
            raise UserError(f"its pickle changes a {type(target).__name__} in place: give another file")
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
    """Whether it may be a key: nested ones could take for ever to compare, and large numbers to find."""
    return key is None or isinstance(key, (str, bytes)) or (isinstance(key, int) and -KEYS < key < KEYS)
