"""Damage to a file: bits, bytes, and values that a program does not expect."""

import json
import re
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

NUMBERS = (
    "0",
    "-1",
    "1",
    "2",
    "nan",
    "NaN",
    "inf",
    "1e999",
    "-0.0",
    "65537",
    "1000000000",
    "9" * 30,
    "9" * 5000,
    "1.5",
)
JSON = (0, -1, 1, 2, 3, 1.5, 100, 65537, 10**9, 10**30, 1e308, 1e-300, None, True, [], {}, [1, 2], [[[]]], {"a": 1})
TEXTS = ("", "../../escaped", "/tmp/escaped", "a\x1b[2J", "$a_$", "x" * 300, "\u202e", "null", "[]", "{}", "[" * 3000)
_TOKEN = re.compile(rb'"[^"\n]*"|-?\d+(?:\.\d+)?(?:e-?\d+)?|\b(?:true|false|null)\b|(?<==)[A-Za-z_]\w*')


def mutate(path: Path, rng: np.random.Generator) -> None:
    """Damage the file in one to three ways."""
    if path.suffix == ".safetensors" and rng.random() < 0.8:
        return _mutate_safetensors(path, rng)
    data = path.read_bytes()
    ways = (_token,) if path.suffix == ".json" and rng.random() < 0.8 else _WAYS
    for _ in range(rng.integers(1, 4)):
        data = ways[rng.integers(len(ways))](data, rng)
    path.write_bytes(data)


def _mutate_safetensors(path: Path, rng: np.random.Generator) -> None:
    """Change a value of the metadata or a tensor, and leave the checksum out, as one who means harm would."""
    with safe_open(path, "pt") as file:
        metadata = {key: value for key, value in (file.metadata() or {}).items() if key != "checksum"}
        tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
    key = sorted(metadata)[rng.integers(len(metadata))]
    if rng.random() < 0.7:
        metadata[key] = _token(metadata[key].encode(), rng).decode(errors="replace")
    else:
        name = sorted(tensors)[rng.integers(len(tensors))]
        tensor = tensors[name]
        damaged = [tensor * 0, tensor[None].clone(), tensor.to(torch.int8), tensor.flatten()[:-1].clone()]
        if tensor.is_floating_point():
            damaged += [tensor * torch.nan, -tensor, tensor + 1e30]
        tensors[name] = damaged[rng.integers(len(damaged))]
    save_file(tensors, path, metadata)


def _token(data: bytes, rng: np.random.Generator) -> bytes:
    """Put something else in the place of a number or a word."""
    found = list(_TOKEN.finditer(data))
    if not found:
        return data + b"\0"
    token = found[rng.integers(len(found))]
    if data[:1] in (b"{", b"["):  # it stays JSON
        new = json.dumps((*JSON, *TEXTS)[rng.integers(len(JSON) + len(TEXTS))])
    else:
        new = (*NUMBERS, *TEXTS)[rng.integers(len(NUMBERS) + len(TEXTS))]
    return data[: token.start()] + new.encode() + data[token.end() :]


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


_WAYS = (_token, _token, _token, _flip, _cut, _overwrite, _repeat, _drop)
