"""Checkpoints that would do harm to who unpickles them, or to who believes them: name -> writer of a file."""

import io
import os
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Writer = Callable[[Path, Path], None]  # (file to write, what it would create when it is unpickled)


class Calls:
    """Unpickling it calls a function."""

    def __init__(self, function: Any, *args: Any, state: Any = None) -> None:
        self.parts = (function, args) if state is None else (function, args, state)

    def __reduce__(self) -> Any:
        return self.parts


def archive(path: Path, content: bytes, name: Any = "archive/data.pkl", **entries: bytes) -> None:
    """A file as of torch.save around a pickle."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        file.writestr(name, content)
        file.writestr("archive/version", b"3\n")
        for key, value in entries.items():
            file.writestr(f"archive/data/{key}", value)


def pickled(value: Any, protocol: int = 2) -> bytes:
    stream = io.BytesIO()
    pickle.Pickler(stream, protocol).dump(value)
    return stream.getvalue()


def _call(function: Callable[[Path], Calls], wrap: Callable[[Any], Any] = lambda x: {"model": x}) -> Writer:
    return lambda path, trap: archive(path, pickled(wrap(function(trap))))


def _raw(content: bytes | Callable[[Path], bytes], **entries: bytes) -> Writer:
    return lambda path, trap: archive(path, content(trap) if callable(content) else content, **entries)


def _plain(value: Any) -> bytes:
    """The instructions that make a plain value."""
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value)) + value.encode()
    if isinstance(value, int):
        return b"\x8a\x08" + struct.pack("<q", value)
    if isinstance(value, tuple):
        return b"(" + b"".join(map(_plain, value)) + b"t"
    return {list: b"]", dict: b"}"}[type(value)]


def _object(name: str, **attributes: bytes) -> bytes:
    """The instructions that make an object of a class, with the instructions of its attributes."""
    empty = {"_modules": b"}", "_parameters": b"}", "_buffers": b"}"}
    return b"c" + name.replace(" ", "\n").encode() + b"\n)\x81" + _dict(**{**empty, **attributes}) + b"b"


def _dict(**values: bytes) -> bytes:
    """n0, n1, ...: keys "0", "1", ..., which are no names in Python."""
    keys = (key[1:] if re.fullmatch(r"n\d+", key) else key for key in values)
    return b"}(" + b"".join(_plain(key) + value for key, value in zip(keys, values.values(), strict=True)) + b"u"


def _tensor(count: int, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, key: str = "0") -> bytes:
    """The instructions that make a tensor over entry `key`, which is said to have `count` numbers."""
    storage = b"(" + _plain("storage") + b"ctorch\nFloatStorage\n" + _plain(key) + _plain("cpu") + _plain(count) + b"tQ"
    rest = _plain(offset) + _plain(size) + _plain(stride) + b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + rest + b"tR"


def _network(*layers: bytes) -> bytes:
    numbered = {f"n{i}": layer for i, layer in enumerate(layers)}
    body = _object("torch.nn.modules.container Sequential", _modules=_dict(**numbered))
    model = _object("models.yolo Model", yaml=b"}", _modules=_dict(model=body))
    return b"\x80\x02" + _dict(model=model) + b"."


def _doubled(times: int) -> bytes:
    """A module with one module twice in it, which has one twice in it, ..."""
    inner = _object("torch.nn.modules.linear Identity")
    for i in range(times):
        twice = _dict(a=inner + b"r" + struct.pack("<I", i), b=b"j" + struct.pack("<I", i))
        inner = _object("torch.nn.modules.container Sequential", _modules=twice)
    return inner


def _again(name: str, values: int, times: int) -> bytes:
    """A list of so many values that is given to what is called `name`, again and again."""
    call = b"h\x01h\x00\x85R"
    return b"](" + b"N" * values + b"eq\x00c" + name.replace(" ", "\n").encode() + b"\nq\x01" + call * times


def _detector(tensor: bytes, numbers: dict[str, bytes] | None = None, **entries: bytes) -> Writer:
    """A network whose first convolution has this weight. numbers: the instructions of other attributes of it."""
    conv = _object("torch.nn.modules.conv Conv2d", _parameters=_dict(weight=tensor), f=_plain(-1), **(numbers or {}))
    return _raw(_network(conv, _object("models.yolo Detect", f=b"]K\x00a", nc=_plain(1))), **entries)


def _zipped(change: Callable[[zipfile.ZipFile, bytes], Any]) -> Writer:
    def write(path: Path, trap: Path) -> None:
        with zipfile.ZipFile(path, "w") as file:
            change(file, pickled({"model": Calls(os.mkdir, str(trap))}))

    return write


def _compressed(file: zipfile.ZipFile, content: bytes) -> None:
    file.writestr("archive/data.pkl", content)
    file.writestr("archive/data/0", bytes(1 << 24), zipfile.ZIP_DEFLATED)


def _twice(file: zipfile.ZipFile, content: bytes) -> None:
    for part in (b"\x80\x02}.", content):
        file.writestr("archive/data.pkl", part)


def _encrypted(path: Path, trap: Path) -> None:
    archive(path, b"\x80\x02}.")
    data = bytearray(path.read_bytes())
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + at] |= 1
    path.write_bytes(data)


def _overlapping(path: Path, trap: Path) -> None:
    """Two directory entries for one place, as in a bomb of overlapping files."""
    archive(path, b"\x80\x02}.", **{"0": bytes(4000), "1": b""})
    data = bytearray(path.read_bytes())
    first, second = (data.index(b"archive/data/" + k, data.index(b"PK\x01\x02")) - 46 for k in (b"0", b"1"))
    data[second + 16 : second + 28], data[second + 42 : second + 46] = (
        data[first + 16 : first + 28],
        data[first + 42 : first + 46],
    )
    path.write_bytes(data)


def _flipped(path: Path, trap: Path) -> None:
    torch.save({"model": OrderedDict(a=torch.arange(9.0))}, path)
    data = bytearray(path.read_bytes())
    data[data.index(b"collections")] ^= 1
    path.write_bytes(data)


def _mkdir(trap: Path) -> Calls:
    return Calls(os.mkdir, str(trap))


NESTED = b"\x80\x02" + b"(" * 200_000 + b"t" * 200_000 + b"."
DOUBLED = b"\x80\x02)" + b"q\x01h\x01\x86" * 60 + b"q\x02}h\x02K\x01s."  # a key that takes 2^60 steps to hash

HOSTILE: dict[str, Writer] = {
    "mkdir": _call(_mkdir),
    "system": _call(lambda trap: Calls(os.system, f"mkdir {trap}")),
    "exec": _call(lambda trap: Calls(exec, f"import os; os.mkdir({str(trap)!r})")),
    "eval": _call(lambda trap: Calls(eval, f"__import__('os').mkdir({str(trap)!r})")),
    "bare": _call(_mkdir, lambda x: x),
    "in ema": _call(_mkdir, lambda x: {"ema": x, "model": None}),
    "in a list": _call(_mkdir, lambda x: {"model": [x] * 3}),
    "as a key": _call(_mkdir, lambda x: {x: 1}),
    "in an OrderedDict": _call(_mkdir, lambda x: {"model": OrderedDict(a=x)}),
    "protocol 0": lambda path, trap: archive(path, pickled({"model": _mkdir(trap)}, 0)),
    "protocol 4": lambda path, trap: archive(path, pickled({"model": _mkdir(trap)}, 4)),
    "getattr": _call(lambda trap: Calls(getattr, "x", "upper")),
    "call of a result": _raw(lambda t: b"\x80\x02cbuiltins\ngetattr\ncos\npath\nX\x04\x00\x00\x00join\x86R)R."),
    "build on a dict": _raw(b"\x80\x02}}X\x01\x00\x00\x00aK\x01sb."),
    "build on a class": _raw(b"\x80\x02cbuiltins\ndict\n}X\x01\x00\x00\x00aK\x01sb."),
    "build on a tensor": _raw(b"\x80\x02" + _tensor(1, (1,), (1,)) + b"}b.", **{"0": bytes(4)}),
    "inst": _raw(lambda trap: f"(S'{trap}'\nios\nmkdir\n.".encode()),
    "obj": _raw(lambda trap: b"(cos\nmkdir\n" + pickled(str(trap))[2:-1] + b"o."),
    "extension": _raw(b"\x80\x02\x82\x01."),
    "deep": _raw(NESTED),
    "doubled key": _raw(DOUBLED),
    "itself": _raw(b"\x80\x02}q\x00X\x05\x00\x00\x00modelh\x00s."),
    "far memo": _raw(b"\x80\x02}r\xff\xff\xff\xffj\xfe\xff\xff\xff."),
    "copies of one list": _raw(b"\x80\x02(" + _again("torch Size", 30_000, 3_000) + b"t."),
    "long text": _raw(b"\x80\x02X\xff\xff\xff\xffabc."),
    "longest text": _raw(b"\x80\x04\x8d" + b"\xff" * 8 + b"abc."),
    "long number": _raw(b"\x80\x02\x8b\xff\xff\xff\x7f."),
    "empty stack": _raw(b"\x80\x0200000R."),
    "no end": _raw(b"\x80\x02}"),
    "no instruction": _raw(b"\x80\x02\xff."),
    "unbalanced mark": _raw(b"\x80\x02(R."),
    "module in itself": _raw(
        b"\x80\x02"
        + _dict(
            model=b"cmodels.yolo\nModel\n)\x81q\x00}"
            + b"("
            + _plain("yaml")
            + b"}"
            + _plain("_parameters")
            + b"}"
            + _plain("_buffers")
            + b"}"
            + _plain("_modules")
            + _dict(model=b"h\x00")
            + b"ub"
        )
        + b"."
    ),
    "no yaml": _raw(b"\x80\x02" + _dict(model=_object("models.yolo Model")) + b"."),
    "no layers": _raw(_network()),
    "unknown head": _raw(_network(_object("models.yolo Segment"))),
    "poses": _raw(_network(_object("ultralytics.nn.modules.head Pose", f=b"]K\x00a"))),
    "turned boxes": _raw(_network(_object("ultralytics.nn.modules.head OBB", f=b"]K\x00a"))),
    "name of two lines": _raw(
        _network(
            _object("torch.nn.modules.container Sequential", _modules=_dict(**{"a\nb\x1b": _plain(1)})),
            _object("models.yolo Detect"),
        )
    ),
    "class of two lines": _raw(
        b"\x80\x04" + _dict(model=_plain("models") + _plain("a\nb\x1b") + b"\x93)\x81" + _dict(yaml=b"}") + b"b") + b"."
    ),
    "unknown layer": _raw(_network(_object("os system"), _object("models.yolo Detect"))),
    "the same layer 2^30 times": _raw(_network(_doubled(30), _object("models.yolo Detect"))),
    "huge tensor": _detector(_tensor(1 << 40, (1 << 20, 1 << 20, 1, 1), (1 << 20, 1, 1, 1)), **{"0": bytes(4)}),
    "infinite groups": _detector(
        _tensor(1, (1, 1, 1, 1), (1, 1, 1, 1)),
        {"padding_mode": _plain("zeros"), "groups": b"G" + struct.pack(">d", float("inf"))},
        **{"0": bytes(4)},
    ),
    "empty tensor": _detector(_tensor(0, (0, 3, 3, 3), (27, 9, 3, 1)), **{"0": b""}),
    "tensor of one number": _detector(_tensor(1, (4096, 4096, 3, 3), (0, 0, 0, 0)), **{"0": bytes(4)}),
    "tensor beyond its end": _detector(_tensor(4, (2, 2, 1, 1), (2, 1, 1, 1), 2), **{"0": bytes(16)}),
    "tensor before its start": _detector(_tensor(4, (2, 2, 1, 1), (2, 1, 1, 1), -2), **{"0": bytes(16)}),
    "tensor of another file": _detector(_tensor(1, (1, 1, 1, 1), (1, 1, 1, 1), key="../../data.pkl")),
    "short storage": _detector(_tensor(4, (4, 1, 1, 1), (1, 1, 1, 1)), **{"0": bytes(8)}),
    "pickle elsewhere": lambda path, trap: archive(path, pickled({"model": _mkdir(trap)}), "archive/other/data.pkl"),
    "pickle above": lambda path, trap: archive(path, pickled({"model": _mkdir(trap)}), "../data.pkl"),
    "compressed": _zipped(_compressed),
    "two pickles": _zipped(
        lambda file, c: (file.writestr("a/data.pkl", b"\x80\x02}."), file.writestr("a/b.pkl", c))[0]
    ),
    "one name twice": _zipped(_twice),
    "encrypted": _encrypted,
    "overlapping": _overlapping,
    "legacy": lambda path, trap: torch.save(
        {"model": Calls(os.mkdir, str(trap))}, path, _use_new_zipfile_serialization=False
    ),
    "flipped bit": _flipped,
    "only a state dict": lambda path, trap: torch.save(torch.nn.Conv2d(1, 1, 1).state_dict(), path),
    "keys that collide": _raw(b"\x80\x02}(" + b"".join(_plain(i * (2**61 - 1)) + b"N" for i in range(4)) + b"u."),
}
