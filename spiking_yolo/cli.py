"""The commands of `spiking-yolo`: how a typed line becomes a call of one of them, and a process
ends.
"""

import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from types import FrameType
from typing import Annotated, Any, NoReturn

from cyclopts import App, CycloptsError, Group, Parameter
from cyclopts.config import Env, Toml

from spiking_yolo import __version__
from spiking_yolo.apps import console
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.io.assets import PROGRAM
from spiking_yolo.io.files import remove_empty_folders
from spiking_yolo.io.names import printable

# Command -> module, whose `main` takes its options.
COMMANDS = {
    "detect": "apps.detect",
    "eval": "apps.evaluate",
    "analyze": "apps.analyze",
    "calibrate": "apps.calibrate",
    "export": "apps.export",
    "demo": "apps.demo",
    "train": "apps.train",
    "benchmark": "apps.benchmark",
    "list": "apps.list",
}
# What commands and options of version 0.3 are called now; for this release.
OLD = {
    "report": "detect --page FILE.html",
    "classify": "eval --data FOLDER",
    "compare": "eval --method A,B",
    "eval-video": "eval --data VIDEO",
    "score": "eval --predictions FILE.json",
    "tune": "calibrate --tune",
    "convert": "export -o FILE.safetensors",
    "methods": "list",
    "weights": "list",
    "zoo": "list",
    "--list-methods": "list",
    "--report": "--page FILE.html",
    "--overlay": "--page FILE.html",
    "--timeline": "--page FILE.html",
    # As Ultralytics and YOLOv5 call them.
    "predict": "detect",
    "track": "detect --track",
    "val": "eval",
    "--source": "the name of a file without an option",
    "--model": "--weights",
    "--conf-thres": "--conf",
    "--iou-thres": "--iou",
}
# A command that cannot run need not be interpreted by cyclopts.
HOW: dict[str, Any] = {"exit_on_error": False, "print_error": False}
MESSAGES = Group("Messages", sort_key=1)


def main(*words: str) -> NoReturn:
    """Run the command line of this process, and exit with its status.

    Args:
        words: What goes before that which was typed, such as the command of a file of tools/.
    """
    prepare_process()
    sys.exit(call([*words, *sys.argv[1:]]))


def call(argv: Sequence[str]) -> int:
    """Run a command, such as ["detect", "dog.jpg", "--T", "4"]; returns its exit status."""
    return status(lambda: _run(list(argv)))


def _run(argv: list[str]) -> int | None:
    app = program()
    if argv[:1] == ["help"]:
        argv = [*argv[1:], "--help"]
    if argv in ([], ["--help"], ["-h"]):
        argv = []
        for name in COMMANDS:
            # Imported, for the first line of its docstring.
            assert app[name]
    try:
        return app.meta(argv, result_action="return_value", **HOW)
    except CycloptsError as error:
        raise UserError(_message(error, argv)) from error


def program() -> App:
    """All commands, whose modules are imported when they are run."""
    # Options in [tool.spiking-yolo.COMMAND] of a pyproject.toml here or in a folder above.
    keys = ("tool", "spiking-yolo")
    file = Toml("pyproject.toml", root_keys=keys, search_parents=True, must_exist=False)
    app = App(
        name=PROGRAM,
        help="Spiking neural networks from trained YOLO detectors and classifiers.",
        version=f"{PROGRAM} {__version__}",
        version_flags=("--version", "-V"),
        help_format="markdown",
        default_parameter=Parameter(
            name_transform=lambda name: name.replace("_", "-"), negative=(), show_default=_shown
        ),
        config=(Env("SPIKING_YOLO_", show=False), file),
    )
    for name, module in COMMANDS.items():
        app.command(f"spiking_yolo.{module}:main", name=name)
    app.register_install_completion_command()
    # Ends with status 130, see `status`.
    app.suppress_keyboard_interrupt = app.meta.suppress_keyboard_interrupt = False

    @app.meta.default
    def launch(  # pyright: ignore[reportUnusedFunction]
        *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        quiet: Annotated[bool, Parameter(name=("--quiet", "-q"), group=MESSAGES)] = False,
    ) -> int | None:
        """Run a command.

        Args:
            tokens: The command and its words.
            quiet: Print errors and warnings alone; files are written as ever.
        """
        command, bound, _ = app.parse_args(tokens, **HOW)
        with console.quiet() if quiet else nullcontext():
            return command(*bound.args, **bound.kwargs)

    return app


def _shown(value: Any) -> Any:
    """A default as it would be typed; None for what is not set."""
    if value is False or value in ((), {}, ""):
        return None
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return value


def _message(error: CycloptsError, argv: Sequence[str]) -> str:
    """What is wrong with a line in one line, and where to look."""
    for word in argv:
        if word in OLD:
            return f"{word} is not known: use {OLD[word]} instead"
    if isinstance(error.__cause__, UserError):
        return str(error.__cause__)
    command = [name for name in argv[:1] if name in COMMANDS]
    where = " ".join([PROGRAM, *command, "--help"])
    return f"{' '.join(str(error).split()).removesuffix('.')}; see {where}"


class Terminated(KeyboardInterrupt):
    """SIGTERM, handled like Ctrl-C: half-written files are removed, finished ones stay."""


def prepare_process() -> None:
    """Let SIGTERM raise Terminated, and let any text be printed; not for calls from Python."""
    ignored = signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    if threading.current_thread() is threading.main_thread() and not ignored:
        signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def status(call: Callable[[], int | None]) -> int:
    """The exit status of a call.

    What it returns, or 0; 2 and one line on stderr for a UserError and for what the system says
    of a file; 130 after Ctrl-C, 143 after SIGTERM. Warnings are one line
    on stderr each; lines begin below any progress bar.
    """
    other_format = warnings.formatwarning
    warnings.formatwarning = _warning
    try:
        code = call() or 0
        # While an error can still be caught.
        sys.stdout.flush()
        return code
    except UserError as error:
        return _failed(2, f"error: {_one_line(error)}")
    except Terminated:
        return _failed(143, "terminated")
    except KeyboardInterrupt:
        return _failed(130, "interrupted")
    except BrokenPipeError:
        # As in `--help | head`: nobody reads on.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno is None:
            raise
        what = "" if error.filename is None else f"cannot use {_one_line(error.filename)}: "
        return _failed(2, f"error: {what}{error.strerror}; check the path and the free space")
    finally:
        warnings.formatwarning = other_format
        remove_empty_folders()


def _failed(code: int, message: str) -> int:
    print(_alone(message), file=sys.stderr)
    return code


def _warning(message: Warning | str, category: type[Warning], *_: object) -> str:
    kind = "warning"
    if issubclass(category, Notice):
        kind = "note"
    return _alone(f"{kind}: {_one_line(message)}\n")


def _alone(line: str) -> str:
    """A line that takes the place of a progress bar, which only terminals have."""
    if sys.stderr.isatty():
        return f"\r\x1b[K{line}"
    return line


def _one_line(text: object) -> str:
    return printable(" ".join(str(text).split()))


if __name__ == "__main__":
    main()
