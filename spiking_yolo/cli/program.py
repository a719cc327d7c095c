"""A dataclass of options in, its command line out: parsing, --help, and what happens with mistakes and Ctrl-C."""

from __future__ import annotations

import inspect
import sys
import textwrap
import typing
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from cyclopts import App, CycloptsError, Group, Parameter
from cyclopts.help import PlainFormatter

from spiking_yolo.cli.listing import methods_text, settings_text
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.io.sizes import Size, size_name
from spiking_yolo.settings import Options, Setting, checked, parse, settings_of
from spiking_yolo.studies.options import ConversionOptions

O = TypeVar("O", bound=Options)
Flags = Mapping[str, tuple[str, ...]]  # field -> its spellings; help shows the first, and those of one letter

FLAGS: Flags = {
    "settings": ("--set",),
    "methods": ("--method", "--methods"),  # the second one is the name of before
    "output": ("--output", "-o"),
}
METAVARS: Mapping[Any, str] = {int: "N", float: "X", str: "TEXT", Path: "PATH", Size: "SIZE"}
WIDTH, COLUMN = 100, 26  # of help text, and where its second column begins


def status(call: Callable[[], int | None]) -> int:
    """The exit status of a call: what it returns or 0; 2 and one line on stderr for a UserError; 130 after Ctrl-C.

    A Notice is one line on stderr.
    """
    other = warnings.formatwarning
    warnings.formatwarning = lambda message, category, *where: (
        f"note: {message}\n" if issubclass(category, Notice) else other(message, category, *where)
    )
    try:
        return call() or 0
    except UserError as error:
        print("error:", " ".join(str(error).splitlines()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        warnings.formatwarning = other


def read(cls: type[O], doc: str | None, argv: Sequence[str], prog: str, flags: Flags | None = None) -> O:
    """The options that a command line gives. doc: the text of --help. flags: spellings besides FLAGS.

    Prints and exits for --help, --list-methods and --list-settings. Raises UserError for everything else that is not
    a good call; a value out of range is called by its flag.
    """
    entries = settings_of(cls)
    spelled = {name: _spellings(entry, {**FLAGS, **(flags or {})}) for name, entry in entries.items()}
    texts = _texts(cls, doc, argv, prog, spelled)
    given = {name: _value(spelled[name][0], entries[name], text) for name, text in texts.items() if name in entries}
    if "list_methods" in texts:
        _leave(methods_text())
    if "list_settings" in texts:
        method = given.get("method") or next(iter(given.get("methods", ())), None)
        _leave(settings_text(method, given.get("settings", {})))
    for name, entry in entries.items():
        if entry.required and name not in given:
            raise UserError(f"{spelled[name][0]} is missing; see {prog} --help")
    return cls(**given)


def _leave(text: str) -> None:
    print(text)
    raise SystemExit(0)


def _spellings(entry: Setting, flags: Flags) -> tuple[str, ...]:
    if entry.name in flags:
        return flags[entry.name]
    return (entry.name.upper().removesuffix("S") if entry.positional else f"--{entry.name.replace('_', '-')}",)


def _texts(cls: type[Options], doc: str | None, argv: Sequence[str], prog: str, spelled: Flags) -> dict[str, Any]:
    """What the command line says by field: True or False, one text, or several. Exits on --help."""

    def command(**_: Any) -> None: ...

    entries = settings_of(cls)
    groups = _groups(cls)
    parameters = [_parameter(entry, spelled[name], groups[entry.group]) for name, entry in entries.items()]
    if issubclass(cls, ConversionOptions):
        help = {
            "methods": "print the conversion methods",
            "settings": "print the keys of --set, as --method has them",
        }
        for what, text in help.items():
            flag = Parameter(name=f"--list-{what}", group=groups[ConversionOptions], help=text)
            parameters.append(_keyword(f"list_{what}", Annotated[bool, flag]))
    command.__signature__ = inspect.Signature(sorted(parameters, key=lambda p: p.kind))  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    app = _app(
        prog,
        doc,
        [spelled[name][0] + (" ..." if _several(entry) else "") for name, entry in entries.items() if entry.positional],
    )
    app.default(command)
    try:
        called, bound, _ = app.parse_args(list(argv))
    except CycloptsError as error:
        raise UserError(f"{' '.join(str(error).split()).rstrip('.')}; see {prog} --help") from error
    if called is not command:  # the command of --help
        called(*bound.args, **bound.kwargs)
        raise SystemExit(0)
    return dict(bound.arguments)


def _groups(cls: type[Options]) -> dict[type, Group]:
    """Class of the options -> group of the help: the study's own first, then those that it inherits."""
    titles = {
        c: c.__dict__.get("title") or getattr(c, "title", "options") for c in cls.__mro__ if issubclass(c, Options)
    }
    order = list(dict.fromkeys(titles.values()))
    made = {title: Group(title.capitalize(), sort_key=order.index(title)) for title in order}
    return {c: made[title] for c, title in titles.items()}


def _app(prog: str, doc: str | None, positional: Sequence[str]) -> App:
    group = Group("Options", sort_key=0)
    app = App(
        name=prog,
        usage=" ".join(["Usage:", prog, *positional, "[OPTIONS]"]),
        version_flags=(),
        help_flags=("--help", "-h"),
        help_formatter=_Help(doc),
        help_format="plaintext",
        help="-",
        group_parameters=group,
        group_commands=group,
        print_error=False,
        exit_on_error=False,
        help_on_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
        default_parameter=Parameter(
            negative=(), show_env_var=False, show_default=False, json_dict=False, json_list=False, required=False
        ),
    )
    app["--help"].help = "print this text"
    return app


def _parameter(entry: Setting, flags: tuple[str, ...], group: Group) -> inspect.Parameter:
    help = entry.doc + _default(entry)
    if entry.type is bool:
        negative = f"--no-{flags[0][2:]}" if entry.default is True else ()
        flag = Parameter(name=flags, negative=negative, group=group, help=help)
        return _keyword(entry.name, Annotated[bool, flag])
    if entry.positional:
        words = Annotated[str, Parameter(name=flags, group=group, help=help, metavar="..." if _several(entry) else "")]
        return inspect.Parameter(entry.name, inspect.Parameter.VAR_POSITIONAL, annotation=words)
    if _many_words(entry):
        metavar = f"{_metavar(entry)} ..."
        words = Parameter(name=flags, consume_multiple=True, group=group, help=help, metavar=metavar)
        return _keyword(entry.name, Annotated[tuple[str, ...], words])
    word = Parameter(
        name=flags,
        converter=lambda _, tokens: [token.value for token in tokens],
        n_tokens=1,
        allow_repeating=_is_mapping(entry),
        group=group,
        help=help,
        metavar=_metavar(entry),
    )
    return _keyword(entry.name, Annotated[list[str], word])


def _keyword(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=None)


def _value(flag: str, entry: Setting, texts: Any) -> Any:
    """The value of a field, in its type and range, from what was typed."""
    if entry.type is bool:
        return texts
    if _is_mapping(entry):
        return dict(_key_value(flag, text) for text in texts)
    if entry.positional and not _several(entry) and len(texts) > 1:
        raise UserError(f"{flag} is one, not {len(texts)}: leave out {texts[1]!r}")
    if _several(entry) and (entry.positional or _many_words(entry)):
        return checked(flag, entry, tuple(texts))
    if _several(entry):
        kind = typing.get_args(entry.type)[0]
        return checked(flag, entry, tuple(parse(flag, kind, text.strip()) for text in texts[-1].split(",")))
    return checked(flag, entry, parse(flag, entry.type, texts[-1]))


def _key_value(flag: str, text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise UserError(f"{flag} takes KEY=VALUE, e.g. {flag} neuron.gamma=4, not {text!r}")
    return key, value


def _is_mapping(entry: Setting) -> bool:
    return typing.get_origin(entry.type) is Mapping


def _several(entry: Setting) -> bool:
    return typing.get_origin(entry.type) is tuple and entry.type != Size


def _many_words(entry: Setting) -> bool:
    """Whether each value of an option is a word of its own, as files are; others are one word with commas."""
    return entry.type == tuple[Path, ...]


# ---- --help


def _metavar(entry: Setting) -> str:
    if entry.choices:
        return "|".join(map(str, entry.choices))
    if _is_mapping(entry):
        return "KEY=VALUE"
    if not _several(entry):
        return METAVARS[entry.type]
    word = METAVARS[typing.get_args(entry.type)[0]]
    return word if _many_words(entry) else f"{word},{word},..."


def _default(entry: Setting) -> str:
    value = entry.default
    if entry.required:
        return " (required)"
    if value is None or value in ((), {}) or isinstance(value, bool):
        return ""
    if entry.type == Size:
        value = size_name(value)
    return f" (default: {','.join(map(str, value)) if isinstance(value, tuple) else value})"


class _Help(PlainFormatter):
    """The tool's docstring as it is written, then names and meanings in two columns."""

    def __init__(self, doc: str | None):
        super().__init__()
        self.doc = (doc or "").strip()

    def render_description(self, console: Any, options: Any, description: Any) -> None:
        print(f"{self.doc}\n", file=console.file)

    def __call__(self, console: Any, options: Any, panel: Any) -> None:
        lines = [f"{panel.title}:"] if panel.entries else []
        for entry in panel.entries:
            names = [*entry.negative_names, *entry.positive_names, entry.positional_label]  # one is shown
            shown = [*entry.positive_shorts, *names[:1]]
            head = f"  {', '.join(shown)} {entry.metavar or ''}".rstrip()
            text = "".join(segment.text for segment in console.render(entry.description))
            indent = " " * COLUMN
            body = textwrap.wrap(
                " ".join(text.split()), WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
            )
            if len(head) < COLUMN - 1 and body:
                body[0] = head.ljust(COLUMN) + body[0][COLUMN:]
            else:
                lines.append(head)
            lines += body
        print("\n".join(lines), end="\n\n" if lines else "", file=console.file)
