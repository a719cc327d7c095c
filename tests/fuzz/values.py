"""Values that a program does not expect, and putting them in the place of others."""

import json
import re
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

Value = TypeVar("Value")
NUMBERS = ("0", "-1", "1", "2", "1.5", "nan", "NaN", "inf", "1e999", "-0.0", "65537", "1000000000")
NUMBERS += ("1e308", "1e-300", "9" * 30, "9" * 5000)
JSON = (
    0,
    -1,
    1,
    2,
    3,
    1.5,
    100,
    65537,
    10**9,
    10**30,
    1e308,
    1e-300,
    None,
    True,
    [],
    {},
    [1, 2],
    [[[]]],
    {"a": 1},
)
TEXTS = (
    "",
    "../../escaped",
    "/tmp/escaped",
    "a\x1b[2J",
    "$a_$",
    "x" * 300,
    "\u202e",
    "null",
    "[]",
    "{}",
    "[" * 3000,
)
_MANY = "".join(f"<!ENTITY e{i} '{f'&e{i - 1};' * 10}'>" for i in range(1, 12))
FRAGMENTS = {  # lines of a format that ask for much, or for other files, by suffix
    ".xml": (
        f"<!DOCTYPE a [<!ENTITY e0 'aaaaaaaaaa'>{_MANY}]><a>&e11;</a>",
        "<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><a>&e;</a>",
        "<!DOCTYPE a SYSTEM 'http://example.org/a.dtd'>",
        "<object>" * 5000,
        "<?xml version='1.0' encoding='utf-7'?>",
        "<object><name>dog</name></object>",
        "<bndbox/>",
    ),
    ".yaml": (
        "a: &a [*a, *a]",
        "b: !!python/object/apply:os.mkdir [/tmp/escaped]",
        "\n".join(
            f"c{i}: &c{i} [{', '.join([f'*c{i - 1}'] * 9)}]" if i else "c0: &c0 [x]"
            for i in range(12)
        ),
        "d: " + "{a: " * 2000,
        "<<: *a",
        "path: /",
        "names: {0: cat, 1: dog, 9: bird}",
    ),
    ".cfg": (
        "[route]\nlayers=-1,-99",
        "[upsample]\nstride=1000",
        "[shortcut]\nfrom=-1",
        "[route]\nlayers=-1\ngroups=2\ngroup_id=1",
        "[shortcut]\nfrom=-2\nactivation=mish",
        "new_coords=1",
        "[convolutional]",
        "[net]",
        "[]",
    ),
    ".names": ("../../escaped", "a\x1b[2J", "$a_$", "x" * 300, "\u202e", "cat", ""),
    ".txt": ("a", "../../../photos/a", "0 0.5 0.5 0.25 0.5 1", "0 1 1 1 1", "99 0.5 0.5 0.25 0.5"),
}
_TOKEN = re.compile(rb'"[^"\n]*"|-?\d+(?:\.\d+)?(?:e-?\d+)?|[A-Za-z_/]\w*')


def pick(values: Sequence[Value], rng: np.random.Generator) -> Value:
    return values[rng.integers(len(values))]


def token(data: bytes, rng: np.random.Generator) -> bytes:
    """Put something else in the place of a number or a word. JSON stays JSON."""
    try:
        return json.dumps(odd(json.loads(data), rng)).encode()
    except (ValueError, RecursionError):
        found = list(_TOKEN.finditer(data))
    if not found:
        return data + b"\0"
    place = pick(found, rng)
    return data[: place.start()] + pick((*NUMBERS, *TEXTS), rng).encode() + data[place.end() :]


def odd(value: Any, rng: np.random.Generator) -> Any:
    """The same with one thing in it dropped, called otherwise, or of another value."""
    if isinstance(value, dict | list) and value and rng.random() < 0.95:
        key = pick(list(value if isinstance(value, dict) else range(len(value))), rng)
        changed, chance = value.copy(), rng.random()
        if chance < 0.1:
            del changed[key]
        elif chance < 0.15 and isinstance(value, dict):
            changed[pick((*TEXTS, *value), rng)] = changed.pop(key)
        else:
            changed[key] = odd(value[key], rng)
        return changed
    if isinstance(value, Tensor):
        return pick(_odd_tensors(value), rng)
    near = (value + 1, -value, value * 1000) if type(value) in (int, float) else ()
    return pick((*near, *JSON, *TEXTS), rng)


def _odd_tensors(tensor: Tensor) -> list[Tensor]:
    found = [tensor * 0, tensor[None].clone(), tensor.to(torch.int8), tensor.flatten()[:-1].clone()]
    if tensor.is_floating_point():
        found += [
            tensor * torch.nan,
            tensor * torch.inf,
            -tensor,
            tensor + 1e30,
            tensor.double(),
            tensor.half(),
        ]
    return found
