"""Messages for users: errors for mistakes that can be mended, and notices."""

import sys
import warnings
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import distributions
from pathlib import Path
from traceback import walk_stack
from types import ModuleType

ROOT = Path(__file__).parents[1]


class UserError(ValueError):
    """Bad input. The message is one line that says what is wrong and what to do; tools exit with
    status 2.
    """


class Notice(UserWarning):
    """Something to know about a result; tools print it as one line on stderr and go on."""


def notice(text: str) -> None:
    """Warn with a Notice that shows the user's line, before the first one of this package."""
    callers = [frame.f_globals.get("__name__", "") for frame, _ in walk_stack(sys._getframe())]
    own = [k for k, name in enumerate(callers) if name.partition(".")[0] == __package__]
    warnings.warn(Notice(text), stacklevel=own[-1] + 2)


def no_attribute(owner: str, name: str, elsewhere: Mapping[str, str]) -> AttributeError:
    """Say that a class lacks an attribute, and what replaces it if Ultralytics' class has it."""
    hint = f": use {elsewhere[name]}" if name in elsewhere else ""
    return AttributeError(f"{owner} has no {name!r}{hint}")


def require(module: str, extra: str) -> ModuleType:
    """Import a module that an extra of this package brings. Raises UserError with the command that
    installs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise UserError(f"this needs {module} ({error}): {pip_install(extra)}") from error


def pip_install(extra: str) -> str:
    """The command that installs an extra: of the installed package, or else of this checkout."""
    folders = [one.locate_file("") for one in distributions(name="spiking_yolo")]
    installed = any(Path(str(folder)).resolve() != ROOT for folder in folders)
    in_checkout = (ROOT / "pyproject.toml").is_file()
    return f"pip install '{ROOT if in_checkout and not installed else 'spiking_yolo'}[{extra}]'"
