"""Values that a program does not expect, and putting them in the place of others."""

import json
import re
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Value = TypeVar("Value")
NUMBERS = ("0", "-1", "1", "2", "1.5", "nan", "NaN", "inf", "1e999", "-0.0", "65537", "1000000000")
NUMBERS += ("1e308", "1e-300", "9" * 30, "9" * 5000)
JSON = (0, -1, 1, 2, 3, 1.5, 100, 65537, 10**9, 10**30, 1e308, 1e-300, None, True, [], {}, [1, 2], [[[]]], {"a": 1})
TEXTS = ("", "../../escaped", "/tmp/escaped", "a\x1b[2J", "$a_$", "x" * 300, "\u202e", "null", "[]", "{}", "[" * 3000)
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
        "\n".join(f"c{i}: &c{i} [{', '.join([f'*c{i - 1}'] * 9)}]" if i else "c0: &c0 [x]" for i in range(12)),
        "d: " + "{a: " * 2000,
        "<<: *a",
        "path: /",
        "names: {0: cat, 1: dog, 9: bird}",
    ),
    ".cfg": (
        "[route]\nlayers=-1,-99",
        "[upsample]\nstride=1000",
        "[shortcut]\nfrom=-1",
        "[convolutional]",
        "[net]",
        "[]",
    ),
    ".txt": ("a", "../../../photos/a", "0 0.5 0.5 0.25 0.5 1", "0 1 1 1 1", "99 0.5 0.5 0.25 0.5"),
}
_TOKEN = re.compile(rb'"[^"\n]*"|-?\d+(?:\.\d+)?(?:e-?\d+)?|[A-Za-z_/]\w*')
_JSON = re.compile(rb'"[^"\n]*"|-?\d+(?:\.\d+)?(?:e-?\d+)?|\b(?:true|false|null)\b')


def pick(values: Sequence[Value], rng: np.random.Generator) -> Value:
    return values[rng.integers(len(values))]


def token(data: bytes, rng: np.random.Generator) -> bytes:
    """Put something else in the place of a number or a word. What seems to be JSON stays JSON."""
    is_json = data[:1] in (b"{", b"[")
    found = list((_JSON if is_json else _TOKEN).finditer(data))
    if not found:
        return data + b"\0"
    place = pick(found, rng)
    new = json.dumps(pick((*JSON, *TEXTS), rng)) if is_json else pick((*NUMBERS, *TEXTS), rng)
    return data[: place.start()] + new.encode() + data[place.end() :]
