"""Detectors with hostile blocks and heads: name -> writer of a file. `SOUND` are the same, but sound.

A stem of 8 channels at full size, one block, and a head of one map, at 32 x 32 pixels.
"""

import math
import struct
from pathlib import Path

from helpers.pickles import Writer, mapping, network, plain, raw, record, tensor

BLOCK, HEAD = "ultralytics.nn.modules.block ", "ultralytics.nn.modules.head "
SEQUENTIAL, LIST = "torch.nn.modules.container Sequential", "torch.nn.modules.container ModuleList"
IDENTITY = record("torch.nn.modules.linear Identity")
SILU = record("torch.nn.modules.activation SiLU")
# Of every tensor but the strides.
NUMBERS = 4096


def numbers(*size: int) -> bytes:
    strides = [math.prod(size[axis + 1 :]) for axis in range(len(size))]
    return tensor(NUMBERS, size, tuple(strides))


def layer(outputs: int, inputs: int = 8, side: int = 1) -> bytes:
    """A convolution of torch.nn."""
    return record(
        "torch.nn.modules.conv Conv2d",
        _parameters=mapping(weight=numbers(outputs, inputs, side, side)),
        stride=plain((1, 1)),
        padding=plain((side // 2, side // 2)),
        dilation=plain((1, 1)),
        groups=plain(1),
        padding_mode=plain("zeros"),
    )


def conv(outputs: int, inputs: int = 8, side: int = 1, act: bytes = IDENTITY) -> bytes:
    """A convolution of the trainer."""
    inner = mapping(conv=layer(outputs, inputs, side), act=act)
    return record("ultralytics.nn.modules.conv Conv", _modules=inner, f=plain(-1))


def block(kind: str, attributes: dict[str, bytes] | None = None, **children: bytes) -> bytes:
    return record(BLOCK + kind, _modules=mapping(**children), f=plain(-1), **(attributes or {}))


def attention(kind: str = "Attention", qkv: bytes | None = None, **attributes: bytes) -> bytes:
    """Two heads of 4 values each; Attention has 2 keys, AAttn 4."""
    rows = 24 if kind == "AAttn" else 16
    attributes = {"num_heads": plain(2), **attributes}
    children = {"qkv": qkv or conv(rows), "proj": conv(8), "pe": conv(8, 8, 3)}
    return block(kind, attributes, **children)


def aggregation(gamma: bytes) -> bytes:
    attributes = {"_parameters": mapping(gamma=gamma)}
    return block("A2C2f", attributes, cv1=conv(4), cv2=conv(8, 4), m=record(LIST))


def branch(outputs: int, maps: int = 1) -> bytes:
    return record(LIST, _modules=mapping(**{f"n{k}": layer(outputs) for k in range(maps)}))


BRANCHES = {"cv2": branch(4), "cv3": branch(1)}


def head(kind: str = "Detect", branches: dict[str, bytes] | None = None, **changes: bytes) -> bytes:
    stride = tensor(1, (1,), (1,), key="1")
    attributes = {"nc": plain(1), "reg_max": plain(1), "stride": stride, "f": plain(-1), **changes}
    return record(HEAD + kind, _modules=mapping(**(branches or BRANCHES)), **attributes)


def detector(*middle: bytes, last: bytes | None = None, stride: float = 8.0) -> Writer:
    content = network(
        conv(8, 3),
        *middle,
        last or head(),
        names=mapping(n0=plain("cat")),
        args=mapping(imgsz=plain(32)),
    )
    entries = {"0": bytes(4 * NUMBERS), "1": struct.pack("<f", stride)}
    return raw(content, **entries)


def _executed(path: Path, trap: Path) -> None:
    """The number of heads is what a function returns."""
    called = b"cos\nmkdir\n" + plain(str(trap)) + b"\x85R"
    detector(attention(num_heads=called))(path, trap)


SOUND: dict[str, Writer] = {
    "attention": detector(attention(scale=plain(0.5))),
    "attention in areas": detector(attention("AAttn", area=plain(4))),
    "gamma": detector(aggregation(numbers(8))),
    "two heads": detector(
        last=head("v10Detect", {**BRANCHES, "one2one_cv2": branch(4), "one2one_cv3": branch(1)})
    ),
    "masks": detector(last=head("Segment")),
}

BLOCKS: dict[str, Writer] = {
    "called for the heads": _executed,
    "no heads": detector(attention(num_heads=plain(0))),
    "negative heads": detector(attention(num_heads=plain(-2))),
    "endless heads": detector(attention(num_heads=plain(1 << 40))),
    "heads that are text": detector(attention(num_heads=plain("2"))),
    "heads that are missing": detector(attention(num_heads=b"N")),
    "scale that is no number": detector(attention(scale=plain(float("nan")))),
    "endless scale": detector(attention(scale=plain(float("inf")))),
    "scale that is a list": detector(attention(scale=b"]")),
    "rows that do not fit": detector(attention(qkv=conv(15))),
    "rows of keys alone": detector(attention(qkv=conv(8))),
    "queries with an activation": detector(attention(qkv=conv(16, act=SILU))),
    "queries of a large kernel": detector(attention(qkv=conv(16, 8, 3))),
    "attention as queries": detector(attention(qkv=attention())),
    "attention of other children": detector(
        block("Attention", {"num_heads": plain(2)}, q=conv(8), k=conv(8), v=conv(8), proj=conv(8))
    ),
    "attention of a fork": detector(record("models.attention Attention", f=plain(-1))),
    "attention as two layers of a list": detector(
        record(LIST, _modules=mapping(n0=attention(), n1=attention()), f=plain(-1))
    ),
    "no areas": detector(attention("AAttn", area=plain(0))),
    "areas that do not fit": detector(attention("AAttn", area=plain(3))),
    "endless areas": detector(attention("AAttn", area=plain(1 << 40))),
    "gamma of other channels": detector(aggregation(numbers(5))),
    "gamma that is text": detector(aggregation(plain("a"))),
    "gamma of a terabyte": detector(aggregation(tensor(1 << 38, (1 << 38,), (1,)))),
    "normalised identity": detector(
        block("RepConv", None, conv1=conv(8), conv2=conv(8), act=SILU, bn=IDENTITY)
    ),
    "sum of nothing": detector(block("RepConv", None, act=SILU)),
    "sum of unlike maps": detector(block("RepConv", None, conv1=conv(8), conv2=conv(4), act=SILU)),
    "two unknown heads": detector(
        last=head(branches={"cv4": branch(4), "one2one_cv4": branch(4), "cv5": branch(1)})
    ),
    "half of two heads": detector(last=head(branches={"cv2": branch(4), "one2one_cv3": branch(1)})),
    "head of a fork": detector(
        last=head(
            branches={
                **BRANCHES,
                "one2one_cv2": record("models.of_a_fork Head"),
                "one2one_cv3": branch(1),
            }
        )
    ),
    "head in the middle": detector(head()),
    "head of two maps": detector(last=head(branches={"cv2": branch(4, 2), "cv3": branch(1, 2)})),
    "head of many bins": detector(last=head(reg_max=plain(1 << 40))),
    "head of other classes": detector(last=head(nc=plain(2))),
    "stride of half pixels": detector(stride=8.5),
    "endless stride": detector(stride=float("inf")),
    "stride of kilometres": detector(stride=1e9),
    "stride that is no number": detector(stride=float("nan")),
}
