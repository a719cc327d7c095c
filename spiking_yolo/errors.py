"""What a user hears from us: an error for mistakes that can be mended, a notice for what to
know.
"""

from importlib import import_module
from types import ModuleType


class UserError(ValueError):
    """Bad input. The message is one line that says what is wrong and what to do; tools exit with
    status 2.
    """


class Notice(UserWarning):
    """What the user should know about a result; tools print it as one line on stderr and go on."""


def require(module: str, extra: str) -> ModuleType:
    """Import a module that an extra of this package brings. Raises UserError with the command that
    installs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise UserError(
            f"this needs {module} ({error}): pip install 'spiking_yolo[{extra}]'"
        ) from error
