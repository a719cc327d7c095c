"""Damage within files of safetensors, torch.save and tar, which are whole as such."""

import pickletools
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.fuzz.values import TEXTS, odd, pick, token

_PARTS = (
    b"N",
    b"\x88",
    b"}",
    b"]",
    b")",
    b"(",
    b"0",
    b"R",
    b"Q",
    b"b",
    b".",
    b"h\0",
    b"h\1",
    b"cos\nmkdir\n",
    b"t",
    b"\x81",
)
_NUMBERS = (
    b"K\0",
    b"K\1",
    b"K\x07",
    b"M\0\x10",
    b"J\0\0\0@",
    b"J\xff\xff\xff\xff",
    b"\x8a\x09" + b"\xff" * 8 + b"\0",
)
_NUMBERS += (
    b"G\x7f\xf8\0\0\0\0\0\0",
    b"G\x7f\xf0\0\0\0\0\0\0",
    b"G\x7e7\xe4<\x88\0u\x9c",
    b"X\1\0\0\0$",
    b"X\0\0\0\0",
)


def _safetensors(path: Path, rng: np.random.Generator) -> None:
    """Change a value of the metadata or a tensor, and leave the checksum out, as one who means harm
    would.
    """
    with safe_open(path, "pt") as file:
        metadata = {
            key: value for key, value in (file.metadata() or {}).items() if key != "checksum"
        }
        tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
    if rng.random() < 0.7:
        key = pick(sorted(metadata), rng)
        metadata[key] = token(metadata[key].encode(), rng).decode(errors="replace")
    else:
        name = pick(sorted(tensors), rng)
        tensors[name] = odd(tensors[name], rng)
    save_file(tensors, path, metadata)


def _torch(path: Path, rng: np.random.Generator) -> None:
    """Change a value that was saved, instructions of the pickle, or some bytes of a tensor."""
    if path.name == "state.pt" and rng.random() < 0.6:
        return torch.save(odd(torch.load(path), rng), path)
    with zipfile.ZipFile(path) as file:
        parts = {info.filename: file.read(info) for info in file.infolist()}
    changed = next(name for name in parts if name.endswith("data.pkl"))
    if rng.random() < 0.2:
        changed = pick(sorted(parts), rng)
        at = int(rng.integers(len(parts[changed]) + 1))
        parts[changed] = (
            parts[changed][:at] + rng.bytes(4) + parts[changed][at + 4 * int(rng.integers(2)) :]
        )
    else:
        for _ in range(rng.integers(1, 4)):
            parts[changed] = _instruction(parts[changed], rng)
    with zipfile.ZipFile(path, "w") as file:
        for name, content in parts.items():
            file.writestr(name, content)


def _instruction(content: bytes, rng: np.random.Generator) -> bytes:
    """Drop, double or replace one instruction of a pickle, most often a number."""
    try:
        places = [(at, op) for op, _, at in pickletools.genops(content)]
    except ValueError:  # damaged by what was done before
        return content
    ends = [*(at for at, _ in places[1:]), len(content)]
    numbers = [
        i
        for i, (_, op) in enumerate(places)
        if op.name.startswith(("BININT", "LONG1", "BINFLOAT", "NEW"))
    ]
    if rng.random() < 0.6:
        i = pick(numbers, rng)
        new = pick(_NUMBERS, rng)
    else:
        i = int(rng.integers(len(places)))
        new = pick((b"", content[places[i][0] : ends[i]] * 2, *_PARTS), rng)
    return content[: places[i][0]] + new + content[ends[i] :]


def _tar(path: Path, rng: np.random.Generator) -> None:
    """Change what the archive says of a member: its name, kind, target or size."""
    with tarfile.open(path) as tar:
        members = [(member, (file := tar.extractfile(member)) and file.read()) for member in tar]
    member = pick(members, rng)[0]
    changes: list[Callable[[], None]] = [
        lambda: setattr(
            member, "name", pick((*TEXTS, "a/" * 40, "../" * 9, pick(members, rng)[0].name), rng)
        ),
        lambda: setattr(
            member,
            "type",
            pick((b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"S", b"L", b"x", b"Z"), rng),
        ),
        lambda: setattr(member, "linkname", pick((*TEXTS, "/etc/passwd", "../.."), rng)),
        lambda: setattr(member, "size", int(pick((0, 1, 511, 513, 1 << 20, 1 << 33), rng))),
        lambda: setattr(member, "mode", int(pick((0, 0o7777), rng))),
    ]
    for _ in range(rng.integers(1, 4)):
        pick(changes, rng)()
    kind = pick((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT), rng)
    with open(path, "wb") as file:
        for each, content in members:
            try:
                file.write(each.tobuf(kind, errors="surrogateescape"))
            except ValueError:  # a name that the format does not hold
                continue
            file.write((content or b"") + bytes(-len(content or b"") % tarfile.BLOCKSIZE))
        file.write(bytes(2 * tarfile.BLOCKSIZE))


def _png(path: Path, rng: np.random.Generator) -> None:
    """Change bytes in a chunk, or its name, and correct its checksum."""
    data = bytearray(path.read_bytes())
    starts, at = [], 8
    while at < len(data):
        starts.append(at)
        at += 12 + int.from_bytes(data[at : at + 4])
    start = pick((starts[0], *starts), rng)  # the header, most often
    length = int.from_bytes(data[start : start + 4])
    for _ in range(rng.integers(1, 4)):
        data[start + 4 + rng.integers(4 * bool(length), 4 + length)] = rng.integers(256)
    data[start + 8 + length : start + 12 + length] = zlib.crc32(
        data[start + 4 : start + 8 + length]
    ).to_bytes(4)
    path.write_bytes(data)


CONTAINERS = {".png": _png, ".safetensors": _safetensors, ".pt": _torch, ".tar": _tar}
