"""Checkpoints that would do harm to who unpickles them, or to who believes them: name -> writer of
a file.
"""

import os
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from helpers.hostile_blocks import BLOCKS
from helpers.pickles import (
    Calls,
    Writer,
    again,
    archive,
    call,
    detector,
    doubled,
    mapping,
    network,
    pickled,
    plain,
    raw,
    record,
    tensor,
)


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
    first, second = (
        data.index(b"archive/data/" + k, data.index(b"PK\x01\x02")) - 46 for k in (b"0", b"1")
    )
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
# A key that takes 2^60 steps to hash.
DOUBLED = b"\x80\x02)" + b"q\x01h\x01\x86" * 60 + b"q\x02}h\x02K\x01s."

HOSTILE: dict[str, Writer] = {
    "mkdir": call(_mkdir),
    "system": call(lambda trap: Calls(os.system, f"mkdir {trap}")),
    "exec": call(lambda trap: Calls(exec, f"import os; os.mkdir({str(trap)!r})")),
    "eval": call(lambda trap: Calls(eval, f"__import__('os').mkdir({str(trap)!r})")),
    "bare": call(_mkdir, lambda x: x),
    "in ema": call(_mkdir, lambda x: {"ema": x, "model": None}),
    "in a list": call(_mkdir, lambda x: {"model": [x] * 3}),
    "as a key": call(_mkdir, lambda x: {x: 1}),
    "in an OrderedDict": call(_mkdir, lambda x: {"model": OrderedDict(a=x)}),
    "protocol 0": lambda path, trap: archive(path, pickled({"model": _mkdir(trap)}, 0)),
    "protocol 4": lambda path, trap: archive(path, pickled({"model": _mkdir(trap)}, 4)),
    "getattr": call(lambda trap: Calls(getattr, "x", "upper")),
    "call of a result": raw(
        lambda t: b"\x80\x02cbuiltins\ngetattr\ncos\npath\nX\x04\x00\x00\x00join\x86R)R."
    ),
    "build on a dict": raw(b"\x80\x02}}X\x01\x00\x00\x00aK\x01sb."),
    "build on a class": raw(b"\x80\x02cbuiltins\ndict\n}X\x01\x00\x00\x00aK\x01sb."),
    "build on a tensor": raw(b"\x80\x02" + tensor(1, (1,), (1,)) + b"}b.", **{"0": bytes(4)}),
    "inst": raw(lambda trap: f"(S'{trap}'\nios\nmkdir\n.".encode()),
    "obj": raw(lambda trap: b"(cos\nmkdir\n" + pickled(str(trap))[2:-1] + b"o."),
    "extension": raw(b"\x80\x02\x82\x01."),
    "deep": raw(NESTED),
    "doubled key": raw(DOUBLED),
    "itself": raw(b"\x80\x02}q\x00X\x05\x00\x00\x00modelh\x00s."),
    "far memo": raw(b"\x80\x02}r\xff\xff\xff\xffj\xfe\xff\xff\xff."),
    "copies of one list": raw(b"\x80\x02(" + again("torch Size", 30_000, 3_000) + b"t."),
    "long text": raw(b"\x80\x02X\xff\xff\xff\xffabc."),
    "longest text": raw(b"\x80\x04\x8d" + b"\xff" * 8 + b"abc."),
    "long number": raw(b"\x80\x02\x8b\xff\xff\xff\x7f."),
    "empty stack": raw(b"\x80\x0200000R."),
    "no end": raw(b"\x80\x02}"),
    "no instruction": raw(b"\x80\x02\xff."),
    "unbalanced mark": raw(b"\x80\x02(R."),
    "module in itself": raw(
        b"\x80\x02"
        + mapping(
            model=b"cmodels.yolo\nModel\n)\x81q\x00}"
            + b"("
            + plain("yaml")
            + b"}"
            + plain("_parameters")
            + b"}"
            + plain("_buffers")
            + b"}"
            + plain("_modules")
            + mapping(model=b"h\x00")
            + b"ub"
        )
        + b"."
    ),
    "no yaml": raw(b"\x80\x02" + mapping(model=record("models.yolo Model")) + b"."),
    "no layers": raw(network()),
    "unknown head": raw(network(record("models.yolo Segment"))),
    "poses": raw(network(record("ultralytics.nn.modules.head Pose", f=b"]K\x00a"))),
    "turned boxes": raw(network(record("ultralytics.nn.modules.head OBB", f=b"]K\x00a"))),
    "name of two lines": raw(
        network(
            record(
                "torch.nn.modules.container Sequential", _modules=mapping(**{"a\nb\x1b": plain(1)})
            ),
            record("models.yolo Detect"),
        )
    ),
    "class of two lines": raw(
        b"\x80\x04"
        + mapping(
            model=plain("models") + plain("a\nb\x1b") + b"\x93)\x81" + mapping(yaml=b"}") + b"b"
        )
        + b"."
    ),
    "unknown layer": raw(network(record("os system"), record("models.yolo Detect"))),
    "the same layer 2^30 times": raw(network(doubled(30), record("models.yolo Detect"))),
    "huge tensor": detector(
        tensor(1 << 40, (1 << 20, 1 << 20, 1, 1), (1 << 20, 1, 1, 1)), **{"0": bytes(4)}
    ),
    "infinite groups": detector(
        tensor(1, (1, 1, 1, 1), (1, 1, 1, 1)),
        {"padding_mode": plain("zeros"), "groups": plain(float("inf"))},
        **{"0": bytes(4)},
    ),
    "empty tensor": detector(tensor(0, (0, 3, 3, 3), (27, 9, 3, 1)), **{"0": b""}),
    "tensor of one number": detector(
        tensor(1, (4096, 4096, 3, 3), (0, 0, 0, 0)), **{"0": bytes(4)}
    ),
    "tensor beyond its end": detector(tensor(4, (2, 2, 1, 1), (2, 1, 1, 1), 2), **{"0": bytes(16)}),
    "tensor before its start": detector(
        tensor(4, (2, 2, 1, 1), (2, 1, 1, 1), -2), **{"0": bytes(16)}
    ),
    "tensor of another file": detector(tensor(1, (1, 1, 1, 1), (1, 1, 1, 1), key="../../data.pkl")),
    "short storage": detector(tensor(4, (4, 1, 1, 1), (1, 1, 1, 1)), **{"0": bytes(8)}),
    "pickle elsewhere": lambda path, trap: archive(
        path, pickled({"model": _mkdir(trap)}), "archive/other/data.pkl"
    ),
    "pickle above": lambda path, trap: archive(
        path, pickled({"model": _mkdir(trap)}), "../data.pkl"
    ),
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
    "keys that collide": raw(
        b"\x80\x02}(" + b"".join(plain(i * (2**61 - 1)) + b"N" for i in range(4)) + b"u."
    ),
    **BLOCKS,
}
