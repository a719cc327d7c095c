"""The text of --help, from the options of a verb."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spiking_yolo.io.sizes import Size, size_name
from spiking_yolo.settings import Options, Setting, settings_of

WIDTH, COLUMN = 100, 26  # of the text, and where its second column begins
PLACEHOLDERS: Mapping[Any, str] = {int: "N", float: "X", str: "TEXT", Path: "PATH", Size: "SIZE"}


def help_text(
    cls: type[Options], doc: str | None, prog: str, spelled: Mapping[str, tuple[str, ...]], extra: Mapping[str, str]
) -> str:
    """Usage, the docstring as it is written, and the options by group: those of `cls`, then those that it inherits.

    extra: flags that are no fields, with their meanings.
    """
    entries = settings_of(cls).values()
    groups: dict[str, list[str]] = {}
    for c in (c for c in cls.__mro__ if issubclass(c, Options)):
        lines = groups.setdefault(c.title, [])
        for entry in (entry for entry in entries if entry.group is c):
            lines += _row(f"{_names(spelled[entry.name], entry)} {_placeholder(entry)}", _meaning(entry))
    groups["more"] = [line for flag, meaning in extra.items() for line in _row(flag, meaning)]
    places = [f"{spelled[e.name][0]} ..." if e.many else f"[{spelled[e.name][0]}]" for e in entries if e.positional]
    blocks = [" ".join(["Usage:", prog, *places, "[OPTIONS]"]), (doc or "").strip()]
    blocks += ["\n".join([f"{title.capitalize()}:", *lines]) for title, lines in groups.items() if lines]
    return "\n\n".join(blocks)


def _row(head: str, meaning: str) -> list[str]:
    lines = textwrap.wrap(meaning, WIDTH - COLUMN, break_on_hyphens=False)
    head = f"  {head}".rstrip()
    first = [head.ljust(COLUMN) + lines.pop(0)] if len(head) < COLUMN - 1 else [head]
    return first + [" " * COLUMN + line for line in lines]


def _names(flags: tuple[str, ...], entry: Setting) -> str:
    """The first spelling, and those of one letter; --no-NAME for what is on unless switched off."""
    name = f"--no-{flags[0][2:]}" if entry.default is True else flags[0]
    return ", ".join([*(flag for flag in flags if not flag.startswith("--") and flag != name), name])


def _placeholder(entry: Setting) -> str:
    if entry.positional:
        return "..." if entry.many else ""
    if entry.type is bool:
        return ""
    if entry.choices:
        return "|".join(map(str, entry.choices))
    if entry.is_mapping:
        return "KEY=VALUE"
    word = PLACEHOLDERS[entry.element]
    return f"{word} ..." if entry.words else f"{word},{word},..." if entry.many else word


def _meaning(entry: Setting) -> str:
    value = entry.default
    if entry.required:
        return f"{entry.doc} (required)"
    if value is True:  # the flag shown switches it off
        return entry.doc.partition(f"--no-{entry.name.replace('_', '-')}: ")[2] or entry.doc
    if value is None or value is False or value in ((), {}):
        return entry.doc
    shown = size_name(value) if entry.type == Size else ",".join(map(str, value)) if entry.many else value
    return f"{entry.doc} (default: {shown})"
