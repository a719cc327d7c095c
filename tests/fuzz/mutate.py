"""Damage to a file: bits, bytes, lines, and values that a program does not expect."""

from pathlib import Path

import numpy as np

from tests.fuzz.containers import CONTAINERS
from tests.fuzz.values import FRAGMENTS, pick, token


def mutate(path: Path, rng: np.random.Generator) -> None:
    """Damage the file in one to three ways, most often so that it is still what its suffix says."""
    data, sound = path.read_bytes(), rng.random() < 0.8
    if sound and path.suffix in CONTAINERS:
        return CONTAINERS[path.suffix](path, rng)
    for _ in range(rng.integers(1, 4)):
        if sound and path.suffix in FRAGMENTS and rng.random() < 0.1:
            data = _insert(data, pick(FRAGMENTS[path.suffix], rng).encode(), rng)
        else:
            data = (token if sound and path.suffix == ".json" else pick(_WAYS, rng))(data, rng)
    path.write_bytes(data)


def _insert(data: bytes, line: bytes, rng: np.random.Generator) -> bytes:
    lines = data.split(b"\n")
    lines.insert(int(rng.integers(len(lines) + 1)), line)
    return b"\n".join(lines)


def _flip(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data or b"\0")
    for at in rng.integers(8 * len(changed), size=rng.integers(1, 9)).tolist():
        changed[at // 8] ^= 1 << at % 8
    return bytes(changed)


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: rng.integers(len(data) + 1)]


def _overwrite(data: bytes, rng: np.random.Generator) -> bytes:
    at, length = int(rng.integers(len(data) + 1)), int(rng.integers(1, 64))
    return data[:at] + rng.bytes(length) + data[at + length :]


def _repeat(data: bytes, rng: np.random.Generator) -> bytes:
    lines = data.split(b"\n")
    at = int(rng.integers(len(lines)))
    return b"\n".join([*lines[: at + 1], *lines[at : at + 1 + int(rng.integers(3))], *lines[at + 1 :]])


def _drop(data: bytes, rng: np.random.Generator) -> bytes:
    lines = data.split(b"\n")
    del lines[int(rng.integers(len(lines)))]
    return b"\n".join(lines)


_WAYS = (token, token, token, _flip, _cut, _overwrite, _repeat, _drop)
