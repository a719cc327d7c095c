"""What a wrong word was probably meant to be: spellings of other YOLO programs, and near ones."""

import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence

from spiking_yolo.errors import UserError
from spiking_yolo.io.names import Size, did_you_mean, nearest
from spiking_yolo.settings import Setting

# What Ultralytics and YOLOv5 call them -> the verb.
VERBS_ELSEWHERE = {
    "predict": "detect",
    "track": "detect",
    "val": "eval",
    "validate": "eval",
    "test": "eval",
}
# The same of options: their name -> the field.
OPTIONS_ELSEWHERE = {
    "source": "sources",
    "model": "weights",
    "img": "imgsz",
    "img-size": "imgsz",
    "conf-thres": "conf",
    "iou-thres": "iou",
    "vid-stride": "every",
    "line-thickness": "line_width",
    "visualize": "overlay",
    "fraction": "limit",
}
_ASSIGNMENT = re.compile(r"([A-Za-z][\w-]*)=(.*)", re.DOTALL)

# The flags of a verb, and the field that each sets; an argument without a flag is in capitals.
Flags = Mapping[str, Setting]


def verb_hint(word: str, verbs: Iterable[str]) -> str:
    """A hint such as "; did you mean 'detect'?", or ""."""
    elsewhere = VERBS_ELSEWHERE.get(word.lower())
    return f"; did you mean {elsewhere!r}?" if elsewhere else did_you_mean(word, verbs)


def option_hint(word: str, flags: Flags) -> str:
    """The same for an unknown option, such as --t."""
    name = word.partition("=")[0].lstrip("-").replace("_", "-")
    flag = _flag_elsewhere(name, flags)
    if flag and flags[flag].positional:
        return f"; give it without a flag, in the place of {flag}"
    if not flag:
        names = {flag.lstrip("-"): flag for flag in flags if flag.startswith("-")}
        flag = names.get(nearest(name, names))
    return f"; did you mean {flag}?" if flag else ""


def _flag_elsewhere(name: str, flags: Flags) -> str | None:
    """The flag of a name of other programs."""
    field = OPTIONS_ELSEWHERE.get(name.lower())
    return next((flag for flag, entry in flags.items() if entry.name == field), None)


def check_assignments(
    suspects: Iterable[str], argv: Sequence[str], flags: Flags, prog: str
) -> None:
    """Refuse NAME=VALUE in the place of a file, as in source=dog.jpg, with the right spelling.

    Args:
        suspects: Words in the place of files, or that have no place.
        argv: All words behind the verb.
        flags: Of the verb.
        prog: What the user types before `argv`.

    Raises:
        UserError: A word sets an option so.
    """
    wrong = [word for word in suspects if _assignment(word, flags)]
    if not wrong:
        return
    words: list[str] = []
    unknown: list[str] = []
    for word in argv:
        if flag_and_value := _assignment(word, flags):
            words += _typed(*flag_and_value, flags)
        elif _looks_assigned(word):
            unknown.append(word)
        elif word not in VERBS_ELSEWHERE:
            words.append(word)
    without = f", without {' '.join(unknown)}" if unknown else ""
    raise UserError(
        f"{' '.join(wrong)} is written otherwise here: {prog} {shlex.join(words)}{without}"
    )


def _looks_assigned(word: str) -> bool:
    return bool(_ASSIGNMENT.fullmatch(word)) and not os.path.exists(word)


def _assignment(word: str, flags: Flags) -> tuple[str, str] | None:
    """The flag and the value that NAME=VALUE means; None for other words."""
    if not _looks_assigned(word):
        return None
    name, _, value = word.partition("=")
    name = name.replace("_", "-")
    names = {flag.lstrip("-"): flag for flag in flags}
    flag = _flag_elsewhere(name, flags) or names.get(name)
    return (flag, value) if flag else None


def _typed(flag: str, value: str, flags: Flags) -> list[str]:
    entry = flags[flag]
    if entry.positional:
        return [value]
    if entry.type is bool:
        return [flag] if value.lower() in ("true", "1") else []
    # Lists, as Python writes them.
    value = value.strip("[]()").replace(" ", "")
    return [flag, value.replace(",", "x") if entry.element == Size else value]
