"""A dataclass of options becomes a command line, by cyclopts: flags, messages and --help."""

import inspect
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

from cyclopts import (
    App,
    CycloptsError,
    Group,
    Parameter,
    Token,
    UnknownOptionError,
    UnusedCliTokensError,
)
from cyclopts.argument import ArgumentCollection

from spiking_yolo.apps.methods import methods_text, settings_text
from spiking_yolo.cli.defaults import Source
from spiking_yolo.cli.suggestions import check_assignments, option_hint
from spiking_yolo.convert.methods import list_methods
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.io.names import Size, size_name
from spiking_yolo.options import ConversionOptions, untyped
from spiking_yolo.settings import Options, Setting, from_texts, settings_of

O = TypeVar("O", bound=Options)

# Field -> its spellings on the command line; any other is --NAME, or NAME where it has a place.
SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "settings": ("--set",),
    "methods": ("--method", "--methods"),
    "output": ("--output", "-o"),
    "check": ("--assert",),
    "sources": ("SOURCE",),
    "network": ("WEIGHTS",),
}
LISTINGS = {
    "--list-methods": "print the conversion methods",
    "--list-settings": "print the keys of --set, with the values that --method has",
}
HELP = {"--help", "-h"}
# Of every verb.
AMOUNTS = {
    "quiet": (("--quiet", "-q"), "print errors and warnings alone; files are written as ever"),
    "verbose": (("--verbose", "-v"), "print all there is, also versions and the time it took"),
}


def read(
    cls: type[O],
    doc: str | None,
    argv: Sequence[str],
    prog: str,
    defaults: Callable[[], Sequence[Source]] = tuple,
) -> O:
    """Parse a command line. A Notice says which options are not typed and not as usual.

    Args:
        cls: Class of the options.
        doc: Text of --help, above the options.
        argv: Words behind the verb.
        prog: What messages and --help call the command, such as "spiking-yolo detect".
        defaults: Gives the sources of values of options that are not typed.

    Raises:
        UserError: An option is unknown, missing, or has a value that does not fit.
        SystemExit: --help, --list-methods or --list-settings was printed.
    """
    if HELP & set(argv):
        _print_help(cls, doc, prog)
    values = _parse(cls, argv, prog, defaults())
    for name in AMOUNTS:
        values.pop(name, None)
    if values.pop("list_methods", False):
        _leave(methods_text())
    if values.pop("list_settings", False):
        methods = values.get("methods") or (values.get("method"),)
        if len(methods) > 1:
            raise UserError("--list-settings shows one method: give one by --method")
        _leave(settings_text(methods[0], values.get("settings", {})))
    for name, entry in settings_of(cls).items():
        if entry.required and name not in values:
            raise UserError(f"{spellings(entry)[0]} is missing; see {prog} --help")
    return cls(**values)


def verbosity(argv: Sequence[str]) -> int:
    """1 where --verbose is typed, -1 for --quiet, else 0.

    Raises:
        UserError: Both are.
    """
    words = set(argv[: argv.index("--")] if "--" in argv else argv)
    if HELP & words:
        return 0
    quiet, verbose = (bool(words.intersection(flags)) for flags, _ in AMOUNTS.values())
    if quiet and verbose:
        raise UserError("--quiet and --verbose are two: give one")
    return verbose - quiet


def _parse(
    cls: type[Options], argv: Sequence[str], prog: str, defaults: Sequence[Source]
) -> dict[str, Any]:
    """The values of the parameters that a command line or the defaults name."""
    app = app_of(cls, prog, required=False)
    flags = flags_of(cls)
    more = f"; see {prog} --help"
    origins: dict[str, list[str]] = defaultdict(list)
    words: list[str] = []

    def note(_: App, __: tuple[str, ...], arguments: ArgumentCollection) -> None:
        for argument in arguments:
            if argument.tokens and argument.tokens[0].source != "cli":
                origins[_origin(argument.tokens[0])].append(argument.name)
                values = [token.value for token in argument.tokens]
                words.extend(_as_typed(argument.name, flags[argument.name], values))

    app.config = (*defaults, note)
    try:
        _, bound, _ = app.parse_args(list(argv))
    except UnusedCliTokensError as error:
        unused = error.unused_tokens or []
        check_assignments(unused, argv, flags, prog)
        raise UserError(f"{' '.join(unused)} is not expected{more}") from error
    except UnknownOptionError as error:
        word = error.token.keyword or error.token.value
        raise UserError(f"Unknown option: {word}{option_hint(word, flags)}{more}") from error
    except CycloptsError as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise UserError(" ".join(str(error).split()).removesuffix(".") + more) from error
    untyped.set(tuple(words))
    for origin, names in origins.items():
        warnings.warn(Notice(f"from {origin}: {', '.join(names)}"), stacklevel=2)
    values = dict(bound.arguments)
    for name, entry in settings_of(cls).items():
        if entry.positional and name in values:
            given = values[name] if entry.many else [str(values[name])]
            check_assignments(given, argv, flags, prog)
    return values


def _as_typed(flag: str, entry: Setting, values: Sequence[str]) -> list[str]:
    """An option of the defaults as it would be typed."""
    if entry.type is bool:
        on = values[0].lower() not in ("false", "0", "no", "n", "off")
        return [flag] if on else [f"--no-{flag[2:]}"] * (entry.default is True)
    if entry.words:
        return [flag, *values]
    return [word for value in values for word in (flag, value)]


def _origin(token: Token) -> str:
    """Where a word comes from that was not typed: a variable or a file."""
    return f"${token.keyword}" if token.source == "env" else token.source


def _print_help(cls: type[Options], doc: str | None, prog: str) -> NoReturn:
    """The text as it is written, and the options by group."""
    places = ""
    for entry in settings_of(cls).values():
        if entry.positional:
            name = spellings(entry)[0]
            places += f" {name} ..." if entry.many else f" [{name}]"
    print(f"Usage: {prog}{places} [OPTIONS]\n\n{(doc or '').strip()}\n", flush=True)
    app_of(cls, prog, required=True).help_print([])
    raise SystemExit(0)


def _leave(text: str) -> NoReturn:
    print(text, flush=True)
    raise SystemExit(0)


def app_of(cls: type[Options], prog: str, required: bool) -> App:
    """A command with one parameter for each field: first those of `cls`, then the inherited ones.

    required: whether required fields are; otherwise any may be missing, as with --list-methods.
    """

    def command(*_: Any, **__: Any) -> None: ...

    parameters = []
    groups: dict[str, Group] = {}
    for group_class in cls.__mro__:
        for entry in settings_of(cls).values():
            if entry.group is group_class:
                title = group_class.title.capitalize()
                group = groups.setdefault(title, Group(title, sort_key=len(groups)))
                parameters.append(_parameter(entry, group, required and entry.required))
    if issubclass(cls, ConversionOptions):
        for flag, meaning in LISTINGS.items():
            details = Parameter(name=flag, help=meaning, group="Lists")
            name = flag[2:].replace("-", "_")
            parameters.append(_keyword(name, Annotated[bool, details], False))
    for name, (names, meaning) in AMOUNTS.items():
        details = Parameter(name=names, help=meaning, group="Messages")
        parameters.append(_keyword(name, Annotated[bool, details], False))
    parameters.sort(key=lambda parameter: parameter.kind)
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    app = App(
        name=prog,
        usage="",
        help="",
        help_format="plaintext",
        help_flags=(),
        version_flags=(),
        default_parameter=Parameter(
            negative=(), json_dict=False, json_list=False, show_default=_shown_default
        ),
        print_error=False,
        exit_on_error=False,
    )
    app.default(command)
    return app


def flags_of(cls: type[Options]) -> dict[str, Setting]:
    """The flags of a class of options, such as --conf, and the field that each sets."""
    return {flag: entry for entry in settings_of(cls).values() for flag in spellings(entry)}


def spellings(entry: Setting) -> tuple[str, ...]:
    """How a field is called on the command line."""
    name = entry.name.upper() if entry.positional else f"--{entry.name.replace('_', '-')}"
    return SPELLINGS.get(entry.name, (name,))


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default
    )


def _parameter(entry: Setting, group: Group, required: bool) -> inspect.Parameter:
    """A field as a parameter of the command: cyclopts finds its words, the settings read them."""
    flags = spellings(entry)
    meaning = f"{entry.doc} [{entry.range}]" if entry.range else entry.doc
    details: dict[str, Any] = {"name": flags, "help": meaning, "group": group}
    details["required"] = required
    if entry.name in ("method", "methods"):
        details["completer"] = lambda _: list(list_methods())
    default = None if entry.required else entry.default
    if entry.positional:
        kind = inspect.Parameter.POSITIONAL_ONLY
        if entry.many:
            kind, default = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.empty
        # A path for the completion of shells; an address of a stream stays as it is.
        details["converter"] = _text
        hint = entry.type if entry.choices else Path
        annotation = Annotated[hint | None, Parameter(**details)]
        return inspect.Parameter(entry.name, kind, annotation=annotation, default=default)
    if entry.type is bool:
        details["negative"] = f"--no-{flags[0][2:]}" if entry.default is True else ()
    else:
        details["metavar"] = _metavar(entry)
        details["converter"] = _converter(entry)
        if entry.words:
            details["consume_multiple"] = True
        else:
            details["n_tokens"] = 1
            details["allow_repeating"] = entry.is_mapping
    # Where pydantic has been imported, cyclopts lets it check values and defaults by the hint.
    hint = bool if entry.type is bool else entry.type | None
    if entry.is_mapping:
        hint = list[str] | hint
    return _keyword(entry.name, Annotated[hint, Parameter(**details)], default)


def _text(_: Any, tokens: Sequence[Token]) -> str:
    return tokens[0].value


def _converter(entry: Setting) -> Callable[[Any, Sequence[Token]], Any]:
    """What cyclopts calls with the words of a field."""

    def convert(_: Any, tokens: Sequence[Token]) -> Any:
        try:
            return from_texts(spellings(entry)[0], entry, [token.value for token in tokens])
        except UserError as error:
            if tokens[0].source == "cli":
                raise
            raise UserError(f"{error}, in {_origin(tokens[0])}") from None

    return convert


def _metavar(entry: Setting) -> str:
    words = {int: "INT", float: "FLOAT", str: "TEXT", Path: "PATH", Size: "SIZE"}
    if entry.is_mapping:
        return "KEY=VALUE"
    if entry.choices:
        return "CHOICE"
    word = words[entry.element]
    if entry.words:
        return f"{word}..."
    return f"{word},..." if entry.many else word


def _shown_default(value: Any) -> Any:
    """A default as it would be typed; nothing for a flag and for what is not set."""
    if value is False or value in ((), {}, ""):
        return None
    if not isinstance(value, tuple):
        return value
    is_size = len(value) == 2 and all(type(side) is int for side in value)
    return size_name(value) if is_size else ",".join(map(str, value))
