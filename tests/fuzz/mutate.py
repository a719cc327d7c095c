"""Damage to a file: bits, bytes, lines, and values that a program does not expect."""

from functools import partial
from pathlib import Path

import numpy as np

from tests.fuzz.containers import CONTAINERS
from tests.fuzz.values import FRAGMENTS, pick, token


def mutate(path: Path, rng: np.random.Generator) -> None:
    """Damage the file in one to three ways, most often so that it is still what its suffix says."""
    sound = rng.random() < 0.8
    if sound and path.suffix in CONTAINERS:
        return CONTAINERS[path.suffix](path, rng)
    data = path.read_bytes()
    for _ in range(pick((1, 1, 2, 3), rng)):
        data = pick(_SOUND.get(path.suffix, _ANY) if sound else _ANY, rng)(data, rng)
    path.write_bytes(data)


def _insert(lines: tuple[str, ...], data: bytes, rng: np.random.Generator) -> bytes:
    parts = data.split(b"\n")
    parts.insert(int(rng.integers(len(parts) + 1)), pick(lines, rng).encode())
    return b"\n".join(parts)


def _flip(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data or b"\0")
    for at in rng.integers(8 * len(changed), size=rng.integers(1, 9)).tolist():
        changed[at // 8] ^= 1 << at % 8
    return bytes(changed)


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: rng.integers(len(data) + 1)]


def _overwrite(data: bytes, rng: np.random.Generator) -> bytes:
    at, length = int(rng.integers(len(data) + 1)), int(rng.integers(1, 64))
    return (data[:at] + rng.bytes(length) + data[at + length :])[: len(data)]


def _repeat(data: bytes, rng: np.random.Generator) -> bytes:
    lines = data.split(b"\n")
    at = int(rng.integers(len(lines)))
    return b"\n".join(
        [*lines[: at + 1], *lines[at : at + 1 + int(rng.integers(3))], *lines[at + 1 :]]
    )


def _drop(data: bytes, rng: np.random.Generator) -> bytes:
    lines = data.split(b"\n")
    del lines[int(rng.integers(len(lines)))]
    return b"\n".join(lines)


_TEXT = (token, token, token, token, _repeat, _drop)
_ANY = (*_TEXT, _flip, _cut, _overwrite)
_SOUND = {".json": (token,), ".weights": (_flip, _overwrite), ".jpg": (_flip, _overwrite)}
_SOUND |= {suffix: (*_TEXT, partial(_insert, lines)) for suffix, lines in FRAGMENTS.items()}
