"""A dataclass of options in, its command line out: parsing, and what happens with mistakes and
Ctrl-C.
"""

import inspect
import io
import os
import signal
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn, TypeVar

from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError

from spiking_yolo.apps.methods import methods_text, settings_text
from spiking_yolo.cli.start import SAID, end, handle_signals
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.io.names import Size, printable, size_name
from spiking_yolo.io.run_folder import leave_folders
from spiking_yolo.options import ConversionOptions
from spiking_yolo.settings import Options, Setting, checked, parse, settings_of

# Of the text, and where its second column begins.
WIDTH, COLUMN = 100, 26
PLACEHOLDERS: Mapping[Any, str] = {int: "N", float: "X", str: "TEXT", Path: "PATH", Size: "SIZE"}


def help_text(
    cls: type[Options],
    doc: str | None,
    prog: str,
    spelled: Mapping[str, tuple[str, ...]],
    extra: Mapping[str, str],
) -> str:
    """Usage, the docstring as it is written, and the options by group: those of `cls`, then those
    that it inherits.

    extra: flags that are no fields, with their meanings.
    """
    entries = settings_of(cls).values()
    groups: dict[str, list[str]] = {}
    for c in (c for c in cls.__mro__ if issubclass(c, Options)):
        lines = groups.setdefault(c.title, [])
        for entry in (entry for entry in entries if entry.group is c):
            lines += _row(
                f"{_names(spelled[entry.name], entry)} {_placeholder(entry)}", _meaning(entry)
            )
    groups["more"] = [line for flag, meaning in extra.items() for line in _row(flag, meaning)]
    places = [
        f"{spelled[e.name][0]} ..." if e.many else f"[{spelled[e.name][0]}]"
        for e in entries
        if e.positional
    ]
    blocks = [" ".join(["Usage:", prog, *places, "[OPTIONS]"]), (doc or "").strip()]
    blocks += [
        "\n".join([f"{title.capitalize()}:", *lines]) for title, lines in groups.items() if lines
    ]
    return "\n\n".join(blocks)


def _row(head: str, meaning: str) -> list[str]:
    lines = textwrap.wrap(meaning, WIDTH - COLUMN, break_on_hyphens=False)
    head = f"  {head}".rstrip()
    first = [head.ljust(COLUMN) + lines.pop(0)] if len(head) < COLUMN - 1 else [head]
    return first + [" " * COLUMN + line for line in lines]


def _names(flags: tuple[str, ...], entry: Setting) -> str:
    """The first spelling, and those of one letter; --no-NAME for what is on unless switched off."""
    name = f"--no-{flags[0][2:]}" if entry.default is True else flags[0]
    return ", ".join(
        [*(flag for flag in flags if not flag.startswith("--") and flag != name), name]
    )


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
    shown = (
        size_name(value)
        if entry.type == Size
        else ",".join(map(str, value))
        if entry.many
        else value
    )
    return f"{entry.doc} (default: {shown})"


O = TypeVar("O", bound=Options)
# Field -> its spellings; help shows the first, and those of one letter.
Flags = Mapping[str, tuple[str, ...]]

FLAGS: Flags = {
    "settings": ("--set",),
    "methods": ("--method", "--methods"),  # the second one is the name of before
    "output": ("--output", "-o"),
}
LISTINGS = {
    "--list-methods": "print the conversion methods",
    "--list-settings": "print the keys of --set, as --method has them",
}
HELP = {"-h, --help": "print this text"}


class Terminated(KeyboardInterrupt):
    """SIGTERM, which is taken as Ctrl-C is: what is half-written goes, and what is whole stays."""


def become_process() -> None:
    """What suits a process of its own, and not a call from Python: SIGTERM raises, any text can be
    printed.
    """
    if threading.current_thread() is threading.main_thread():  # no other may
        handle_signals(_interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Raise in the code that is running; but end at once in an import, whose code may catch
    whatever is raised.
    """
    at = frame
    while at is not None:
        if at.f_code.co_filename == "<frozen importlib._bootstrap>":
            end(number)
        at = at.f_back
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def status(call: Callable[[], int | None]) -> int:
    """The exit status of a call: what it returns or 0; 2 and one line on stderr for a UserError and
    for what the system says of a file; 130 after Ctrl-C, 143 after SIGTERM.

    A warning is one line on stderr; whatever is said there begins on a line of its own, below any
    bar.
    """
    other, warnings.formatwarning = warnings.formatwarning, _warning
    try:
        code = call() or 0
        # Here an error can still be caught.
        sys.stdout.flush()
        return code
    except UserError as error:
        return _ended(2, f"error: {_one_line(error)}")
    except Terminated:
        return _ended(143, SAID[143])
    except KeyboardInterrupt:
        return _ended(130, SAID[130])
    except BrokenPipeError:  # as in `--help | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # what the system refuses, and nothing above could word better
        if error.errno is None:
            raise
        what = "" if error.filename is None else f"cannot use {_one_line(error.filename)}: "
        return _ended(2, f"error: {what}{error.strerror}; check the path and the free space")
    finally:
        warnings.formatwarning = other
        leave_folders()


def _ended(code: int, said: str) -> int:
    _clear_bars()
    print(said, file=sys.stderr)
    return code


def _warning(message: Warning | str, category: type[Warning], *_: object) -> str:
    _clear_bars()
    return f"{'note' if issubclass(category, Notice) else 'warning'}: {_one_line(message)}\n"


def _clear_bars() -> None:
    """Empty the line that a bar is on, where one is: what is printed next has it to itself."""
    # Which is imported where there is work.
    bars = getattr(sys.modules.get("tqdm"), "tqdm", None)
    for bar in getattr(bars, "_instances", ()):
        bar.clear()


def _one_line(text: object) -> str:
    return printable(" ".join(str(text).split()))


def read(
    cls: type[O], doc: str | None, argv: Sequence[str], prog: str, flags: Flags | None = None
) -> O:
    """The options that a command line gives. doc: the text of --help. flags: spellings besides
    FLAGS.

    Prints and exits for --help, --list-methods and --list-settings. Raises UserError for everything
    else that is not a good call; a value out of range is called by its flag.
    """
    entries = settings_of(cls)
    spelled = {
        name: _spellings(entry, {**FLAGS, **(flags or {})}) for name, entry in entries.items()
    }
    extra = {**(LISTINGS if issubclass(cls, ConversionOptions) else {}), **HELP}
    typed = _typed(entries, spelled, extra, argv, prog)
    if HELP.keys() & typed.keys():
        _leave(help_text(cls, doc, prog, spelled, extra))
    given = {
        name: _value(spelled[name][0], entries[name], typed[name])
        for name in typed
        if name in entries
    }
    if "--list-methods" in typed:
        _leave(methods_text())
    if "--list-settings" in typed:
        methods = given.get("methods") or [given.get("method")]
        if len(methods) > 1:
            raise UserError("--list-settings shows one method: give one by --method")
        method = methods[0]
        _leave(settings_text(method, given.get("settings", {})))
    for name, entry in entries.items():
        if entry.required and name not in given:
            raise UserError(f"{spelled[name][0]} is missing; see {prog} --help")
    return cls(**given)


def _leave(text: str) -> NoReturn:
    print(text, flush=True)
    raise SystemExit(0)


def _spellings(entry: Setting, flags: Flags) -> tuple[str, ...]:
    name = (
        entry.name.upper().removesuffix("S")
        if entry.positional
        else f"--{entry.name.replace('_', '-')}"
    )
    return flags.get(entry.name, (name,))


def _typed(
    entries: Mapping[str, Setting],
    spelled: Flags,
    extra: Iterable[str],
    argv: Sequence[str],
    prog: str,
) -> dict[str, Any]:
    """What a command line says, by field or extra flag: True or False, or a sequence of texts."""

    def command(**_: Any) -> None: ...

    parameters = [_parameter(entry, spelled[name]) for name, entry in entries.items()]
    names = {f"extra_{k}": flag for k, flag in enumerate(extra)}
    parameters += [_keyword(name, bool, name=flag.split(", ")) for name, flag in names.items()]
    command.__signature__ = inspect.Signature(sorted(parameters, key=lambda p: p.kind))  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    plain = Parameter(negative=(), json_dict=False, json_list=False, required=False)
    app = App(
        name=prog,
        help_flags=(),
        version_flags=(),
        default_parameter=plain,
        print_error=False,
        exit_on_error=False,
    )
    app.default(command)
    try:
        _, bound, _ = app.parse_args(list(argv))
    except UnusedCliTokensError as error:
        raise UserError(
            f"{' '.join(error.unused_tokens or ())} is not expected; see {prog} --help"
        ) from error
    except CycloptsError as error:
        raise UserError(f"{' '.join(str(error).split()).rstrip('.')}; see {prog} --help") from error
    return {names.get(name, name): value for name, value in bound.arguments.items()}


def _parameter(entry: Setting, flags: tuple[str, ...]) -> inspect.Parameter:
    if entry.positional:
        annotation = Annotated[str, Parameter(name=flags)]
        return inspect.Parameter(
            entry.name, inspect.Parameter.VAR_POSITIONAL, annotation=annotation
        )
    if entry.type is bool:
        return _keyword(
            entry.name,
            bool,
            name=flags,
            negative=f"--no-{flags[0][2:]}" if entry.default is True else (),
        )
    if entry.words:
        return _keyword(entry.name, tuple[str, ...], name=flags, consume_multiple=True)
    one = {"n_tokens": 1, "converter": lambda _, tokens: [token.value for token in tokens]}
    return _keyword(entry.name, list[str], name=flags, allow_repeating=entry.is_mapping, **one)


def _keyword(field: str, kind: Any, /, **details: Any) -> inspect.Parameter:
    # Where pydantic is loaded, defaults are validated.
    annotation = Annotated[kind | None, Parameter(**details)]
    return inspect.Parameter(
        field, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=None
    )


def _value(flag: str, entry: Setting, typed: Any) -> Any:
    """The value of a field, in its type and range."""
    if entry.type is bool:
        return typed
    if entry.is_mapping:
        return dict(_key_value(flag, text) for text in typed)
    if not entry.many:
        if len(typed) > 1:
            raise UserError(f"{flag} is one, not {len(typed)}: leave out {typed[1]!r}")
        return checked(flag, entry, parse(flag, entry.type, typed[0]))
    texts = (
        typed if entry.positional or entry.words else [text.strip() for text in typed[0].split(",")]
    )
    return checked(flag, entry, tuple(parse(flag, entry.element, text) for text in texts))


def _key_value(flag: str, text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise UserError(f"{flag} takes KEY=VALUE, e.g. {flag} neuron.gamma=4, not {text!r}")
    return key, value
