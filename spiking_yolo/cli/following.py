"""The command that usually comes next, which a verb ends with."""

import shlex
from pathlib import Path

from spiking_yolo.io.assets import command
from spiking_yolo.settings import Options

_CARRIED = ("weights", "cfg", "names", "imgsz", "method")  # options that make it the same network


def following(verb: str, options: Options, *words: str | Path, **changed: object) -> str:
    """ "next: spiking-yolo VERB WORDS --weights W", with the network of `options`.

    changed: other values of its options.
    """
    given = {name: changed.get(name, getattr(options, name, None)) for name in _CARRIED}
    flags = [part for name, value in given.items() if value for part in (f"--{name}", str(value))]
    return f"next: {command(verb)} {shlex.join([*map(str, words), *flags])}".rstrip()
