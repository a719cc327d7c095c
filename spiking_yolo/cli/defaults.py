"""Defaults of options that are not typed: environment variables and files, read by cyclopts.

The first of these that names an option gives its value; what is typed goes before all of them:

    SPIKING_YOLO_DETECT_CONF=0.4                 of one verb
    SPIKING_YOLO_CONF=0.4                        of every verb that has it
    spiking-yolo.toml: [detect] conf = 0.4       in the current folder
    spiking-yolo.toml: conf = 0.4
    pyproject.toml: [tool.spiking-yolo]          the same
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cyclopts import App, CycloptsError
from cyclopts.argument import ArgumentCollection
from cyclopts.config import Dict, Env, Toml

from spiking_yolo.errors import UserError
from spiking_yolo.io.names import did_you_mean
from spiking_yolo.settings import Setting

PREFIX = "SPIKING_YOLO_"
FILES: Mapping[str, tuple[str, ...]] = {
    "spiking-yolo.toml": (),
    "pyproject.toml": ("tool", "spiking-yolo"),
}
# A folder that somebody sent must not be able to set these.
TYPED = ("trust-weights", "overwrite-shipped")
# Variables that are no options, though a verb has one of this name.
OTHER_VARIABLES = ("--cache",)

# In the place of a verb.
EVERY = ""

# What cyclopts calls to fill in the arguments that have no words yet.
Source = Callable[[App, tuple[str, ...], ArgumentCollection], None]


def sources(
    verb: str, flags: Mapping[str, Setting], options: Callable[[], Mapping[str, Collection[str]]]
) -> list[Source]:
    """Where the defaults of a verb come from, the first one first.

    Args:
        verb: As it is typed.
        flags: Its flags, such as --conf, and their fields.
        options: Gives the flags of all verbs, by verb; called when there is a file.

    Raises:
        UserError: A file is damaged, or has an option that is not known or may not be there.
    """
    of_verb = Env(f"{PREFIX}{verb.replace('-', '_').upper()}_", command=False, show=False)
    result: list[Source] = [of_verb, _variables]
    for name, keys in FILES.items():
        if Path(name).is_file():
            tables = _tables(name, keys, options())
            for table in (tables.get(verb, {}), tables[EVERY]):
                values = dict(_values(name, table, flags))
                result.append(Dict(data=values, source=name, use_commands_as_keys=False))
    return result


def _variables(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Variables for every verb that has the option."""
    others = [argument for argument in arguments if argument.name not in OTHER_VARIABLES]
    Env(PREFIX, command=False, show=False)(app, commands, ArgumentCollection(others))


def _tables(
    name: str, keys: Sequence[str], options: Mapping[str, Collection[str]]
) -> dict[str, dict[str, Any]]:
    """The options that a file names, by verb; those for every verb under EVERY.

    Raises:
        UserError: It is damaged, or has an option that no verb has, or not the verb of its table.
    """
    try:
        content: Any = Toml(name).config
    except CycloptsError as error:
        raise UserError(f"{name} is not TOML: {' '.join(str(error).split())}; mend it") from error
    for key in keys:
        content = content.get(key, {}) if isinstance(content, dict) else {}
    tables: dict[str, dict[str, Any]] = {EVERY: {}}
    every = {flag for flags in options.values() for flag in flags}
    for key, value in content.items() if isinstance(content, dict) else ():
        if key in options and isinstance(value, dict):
            tables[key] = value
            for option in value:
                _check_name(f"{name}, [{key}]", option, options[key])
        else:
            tables[EVERY][key] = value
            _check_name(name, key, every)
    return tables


def _check_name(where: str, key: str, flags: Collection[str]) -> None:
    names = {flag.lstrip("-") for flag in flags if flag.startswith("--")}
    option = key.replace("_", "-")
    if option in TYPED:
        raise UserError(f"{where}: {key} has to be typed, as --{option}; take it out of the file")
    if option not in names:
        hint = did_you_mean(option, names) or "; take it out"
        raise UserError(f"{where}: there is no option {key!r}{hint}")


def _values(
    name: str, table: Mapping[str, Any], flags: Mapping[str, Setting]
) -> Iterator[tuple[str, Any]]:
    """The options of a table that a verb has, with values as cyclopts takes them.

    These are true and false, and what would be typed: a text or a list of texts.
    """
    for key, value in table.items():
        option = key.replace("_", "-")
        entry = flags.get(f"--{option}")
        if entry is None:
            continue
        if (entry.type is bool) != isinstance(value, bool):
            wanted = "true or false" if entry.type is bool else "a value"
            raise UserError(f"{name}: {key} must be {wanted}, not {str(value).lower()}")
        if entry.is_mapping and isinstance(value, dict):
            value = [f"{setting}={one}" for setting, one in _flat(value)]
        elif entry.many and not entry.words and isinstance(value, list):
            value = ",".join(map(str, value))
        elif isinstance(value, dict) or (isinstance(value, list) and not entry.words):
            raise UserError(f"{name}: {key} must be one value, not {value!r}")
        yield option, value


def _flat(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """neuron.gamma -> 4, from {"neuron": {"gamma": 4}}."""
    for key, value in table.items():
        if isinstance(value, dict):
            for inner, one in _flat(value):
                yield f"{key}.{inner}", one
        else:
            yield key, value
