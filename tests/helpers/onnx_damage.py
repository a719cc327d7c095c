"""ONNX files with something changed: a field of any message, as an attacker would do it."""

import random
from typing import Any

NUMBERS = (-1, 0, 1, 2, 3, 7, 1 << 16, 1 << 31, (1 << 63) - 1, -(1 << 63))
WORDS = ("", "images", "Conv", "Reshape", "Expand", "MatMul", "Loop", "x" * 500, "\x00", "Äß")


def messages(proto: Any) -> list[Any]:
    """A message and all messages in it."""
    every = [proto]
    for field, value in proto.ListFields():
        if field.message_type is None:
            continue
        for inner in value if field.is_repeated else [value]:
            every += messages(inner)
    return every


def damage(proto: Any, rng: random.Random) -> None:
    """Change one field of one message: numbers, text, or messages that are removed or repeated."""
    while True:
        message = rng.choice(messages(proto))
        fields = message.ListFields()
        if fields:
            break
    field, value = rng.choice(fields)
    if field.is_repeated:
        _damage_list(field, value, rng)
    elif field.message_type is not None:
        message.ClearField(field.name)
    elif isinstance(value, str):
        setattr(message, field.name, rng.choice(WORDS))
    elif isinstance(value, bytes):
        setattr(message, field.name, value[: rng.randrange(len(value) + 1)])
    elif isinstance(value, float):
        setattr(message, field.name, rng.choice([0.0, -1.0, 1e30, float("nan"), float("inf")]))
    else:
        try:
            setattr(message, field.name, rng.choice(NUMBERS))
        except ValueError:
            message.ClearField(field.name)


def _damage_list(field: Any, value: Any, rng: random.Random) -> None:
    at = rng.randrange(len(value))
    if rng.random() < 0.3:
        del value[at]
    elif field.message_type is not None:
        value.add().CopyFrom(value[at])
    elif isinstance(value[at], str):
        value[at] = rng.choice(WORDS)
    elif isinstance(value[at], int | float):
        value.append(value[at])
        try:
            value[at] = rng.choice(NUMBERS)
        except ValueError:
            del value[at]
