"""Files of torch.save written by hand: pickles from their instructions, and what calls a function
when unpickled.
"""

import io
import pickle
import re
import struct
import zipfile
from pathlib import Path
from typing import Any


class Calls:
    """Unpickling it calls a function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.parts = function, args

    def __reduce__(self) -> Any:
        return self.parts


def archive(path: Path, content: bytes, **entries: bytes) -> None:
    """A file as of torch.save around a pickle."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        file.writestr("archive/data.pkl", content)
        file.writestr("archive/version", b"3\n")
        for key, value in entries.items():
            file.writestr(f"archive/data/{key}", value)


def pickled(value: Any, protocol: int = 2) -> bytes:
    stream = io.BytesIO()
    pickle.Pickler(stream, protocol).dump(value)
    return stream.getvalue()


def plain(value: Any) -> bytes:
    """The instructions that make a plain value."""
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value)) + value.encode()
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, int):
        return b"\x8a\x08" + struct.pack("<q", value)
    if isinstance(value, tuple):
        return b"(" + b"".join(map(plain, value)) + b"t"
    return {list: b"]", dict: b"}"}[type(value)]


def record(name: str, **attributes: bytes) -> bytes:
    """The instructions that make an object of a class, with the instructions of its attributes."""
    empty = {"_modules": b"}", "_parameters": b"}", "_buffers": b"}"}
    begin = b"c" + name.replace(" ", "\n").encode() + b"\n)\x81"
    return begin + mapping(**{**empty, **attributes}) + b"b"


def mapping(**values: bytes) -> bytes:
    """n0, n1, ...: keys "0", "1", ..., which are no names in Python."""
    keys = (key[1:] if re.fullmatch(r"n\d+", key) else key for key in values)
    pairs = zip(keys, values.values(), strict=True)
    return b"}(" + b"".join(plain(key) + value for key, value in pairs) + b"u"


def tensor(
    count: int, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, key: str = "0"
) -> bytes:
    """The instructions that make a tensor over entry `key`, which is said to have `count`
    numbers.
    """
    named = plain(key) + plain("cpu") + plain(count)
    storage = b"(" + plain("storage") + b"ctorch\nFloatStorage\n" + named + b"tQ"
    rest = plain(offset) + plain(size) + plain(stride) + b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + rest + b"tR"


def network(*layers: bytes) -> bytes:
    """The instructions of a checkpoint."""
    numbered = {f"n{i}": layer for i, layer in enumerate(layers)}
    body = record("torch.nn.modules.container Sequential", _modules=mapping(**numbered))
    model = record("models.yolo Model", yaml=b"}", _modules=mapping(model=body))
    return b"\x80\x02" + mapping(model=model) + b"."
