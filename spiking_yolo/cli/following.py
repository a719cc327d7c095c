"""The command that usually comes next, which a verb ends with."""

import shlex
from collections.abc import Mapping
from pathlib import Path

from spiking_yolo.io.assets import command
from spiking_yolo.io.names import size_name
from spiking_yolo.settings import Options

_CARRIED = (  # options that make it the same network
    "weights", "cfg", "names", "imgsz", "trust_weights", "weight_bits", "statistics", "method",
    "settings",
)  # fmt: skip


def following(verb: str, options: Options, *words: str | Path, **changed: object) -> str:
    """ "next: spiking-yolo VERB WORDS --weights W", with the network of `options`.

    changed: other values of its options.
    """
    given = {name: changed.get(name, getattr(options, name, None)) for name in _CARRIED}
    flags = [word for name, value in given.items() if value for word in _typed(name, value)]
    return f"next: {command(verb)} {shlex.join([*map(str, words), *flags])}".rstrip()


def _typed(name: str, value: object) -> list[str]:
    """An option as it is typed."""
    if isinstance(value, Mapping):
        return [word for key, one in value.items() for word in ("--set", f"{key}={one}")]
    flag = f"--{name.replace('_', '-')}"
    return (
        [flag]
        if value is True
        else [flag, size_name(value) if isinstance(value, tuple) else str(value)]
    )
