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
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Annotated, Any, NoReturn

from cyclopts import App, CycloptsError, Group, Parameter
from cyclopts.config import Env, Toml
from cyclopts.help import DefaultFormatter, HelpPanel

from spiking_yolo import __version__
from spiking_yolo.apps import console
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.io.assets import PROGRAM
from spiking_yolo.io.files import remove_empty_folders
from spiking_yolo.io.names import printable

# Command -> module, whose `main` takes its options; those first that most people need.
COMMANDS = {
    "detect": "apps.detect",
    "eval": "apps.eval",
    "calibrate": "apps.calibrate",
    "export": "apps.export",
    "list": "apps.list",
    "analyze": "apps.analyze",
    "demo": "apps.demo",
    "train": "apps.train",
    "benchmark": "apps.benchmark",
}
MOST, MORE = 5, Group("More commands", sort_key=1)
# Panels that only --help-all shows.
FOLDED = ("Data", "Video", "Boxes", "Network", "Output", "Messages")
# A command that cannot run need not be interpreted by cyclopts.
HOW: dict[str, Any] = {"exit_on_error": False, "print_error": False}
MESSAGES = Group("Messages", sort_key=9)


def main(*words: str) -> NoReturn:
    """Run the command line of this process, and exit with its status.

    Args:
        words: What goes before that which was typed: the command of a file of tools/, and an option
            with its value, unless that is typed too.
    """
    prepare_process()
    typed = sys.argv[1:]
    if any(word.partition("=")[0] in words[1:2] for word in typed):
        words = words[:1]
    sys.exit(call([*words, *typed]))


def call(argv: Sequence[str]) -> int:
    """Run a command, such as ["detect", "dog.jpg", "--T", "4"]; returns its exit status."""
    return status(lambda: _run(list(argv)))


def _run(argv: list[str]) -> int | None:
    app = program(everything="--help-all" in argv)
    argv = ["--help" if word == "--help-all" else word for word in argv]
    if argv in ([], ["--help"], ["-h"]):
        argv = []
        for name in COMMANDS:
            # Imported, for the first line of its docstring.
            assert app[name]
    try:
        return app.meta(argv, result_action="return_value", **HOW)
    except CycloptsError as error:
        raise UserError(_message(error, argv)) from error


class Folded(DefaultFormatter):
    """Help on one screen: what a command does, its examples, and the options of most people."""

    def __call__(self, console: Any, options: Any, panel: HelpPanel) -> None:
        if panel.title not in FOLDED:
            super().__call__(console, options, panel)

    def render_description(self, console: Any, options: Any, description: Any) -> None:
        markdown = description.primary_renderable.markup
        summary, *examples = markdown.split("```")[:2]
        console.print(" ".join(summary.split()), highlight=False)
        lines = ["", *"".join(examples).strip().splitlines()]
        for line in lines:
            console.print(f"  {line}", highlight=False, no_wrap=True, overflow="ignore", crop=False)
        console.print()


def program(everything: bool = False) -> App:
    """All commands, whose modules are imported when they are run.

    everything: Whether help tells all of every option.
    """
    # Options in [tool.spiking-yolo.COMMAND] of a pyproject.toml here or in a folder above.
    keys = ("tool", "spiking-yolo")
    file = Toml("pyproject.toml", root_keys=keys, search_parents=True, must_exist=False)
    app = App(
        name=PROGRAM,
        help="Spiking neural networks from trained YOLO detectors and classifiers.",
        version=f"{PROGRAM} {__version__}",
        version_flags=("--version", "-V"),
        help_format="markdown",
        help_formatter=None if everything else Folded(),
        help_epilogue="" if everything else "More options, and what they mean: --help-all",
        default_parameter=Parameter(
            name_transform=lambda name: name.replace("_", "-"), negative=(), show_default=_shown
        ),
        config=(Env("SPIKING_YOLO_", show=False), file),
    )
    for k, (name, module) in enumerate(COMMANDS.items()):
        more: dict[str, Any] = {} if k < MOST else {"group": MORE}
        app.command(f"spiking_yolo.{module}:main", name=name, sort_key=k, **more)
    app.register_install_completion_command()
    # Ends with status 130, see `status`.
    app.suppress_keyboard_interrupt = app.meta.suppress_keyboard_interrupt = False

    @app.meta.default
    def launch(  # pyright: ignore[reportUnusedFunction]
        *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        quiet: Annotated[bool, Parameter(name=("--quiet", "-q"), group=MESSAGES)] = False,
        plugin: Annotated[Path | None, Parameter(group="Network")] = None,
    ) -> int | None:
        """Run a command.

        Args:
            tokens: The command and its words.
            quiet: Print only errors and warnings; files are still written.
            plugin: A Python file that registers a neuron, a method or a head of your own; it is run
                first.
        """
        if plugin is not None:
            run_plugin(plugin)
        command, bound, _ = app.parse_args(tokens, **HOW)
        with console.quiet() if quiet else nullcontext():
            return command(*bound.args, **bound.kwargs)

    return app


def run_plugin(path: Path) -> None:
    """Import a Python file of the user's. Raises UserError that says where it fails."""
    # No module has such a name.
    name = f"plugin {path.stem}"
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UserError(f"--plugin {path} is no Python file: give a .py that exists")
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"--plugin {path} fails: {type(error).__name__}: {error}") from error


def _shown(value: Any) -> Any:
    """A default as it would be typed; None for what is not set."""
    if value is False or value in ((), {}, ""):
        return None
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return value


def _message(error: CycloptsError, argv: Sequence[str]) -> str:
    """What is wrong with a line in one line, and where to look."""
    if isinstance(error.__cause__, UserError):
        return str(error.__cause__)
    command = [name for name in argv[:1] if name in COMMANDS]
    if argv and not command and os.path.exists(argv[0]):
        return f"{argv[0]} is no command: did you mean {PROGRAM} detect {argv[0]}?"
    where = " ".join([PROGRAM, *command, "--help"])
    return f"{' '.join(str(error).split()).removesuffix('.')}; see {where}"


def prepare_process() -> None:
    """Let SIGTERM be handled like Ctrl-C and any text be printed; not for calls from Python."""
    ignored = signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    if threading.current_thread() is threading.main_thread() and not ignored:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def status(call: Callable[[], int | None]) -> int:
    """The exit status of a call.

    What it returns, or 0; 2 and one line on stderr for a UserError and for what the system says
    of a file; 130 after Ctrl-C or SIGTERM. Warnings are one line on stderr each.
    """
    other, warnings.formatwarning = warnings.formatwarning, _warning
    try:
        code = call() or 0
        # While an error can still be caught.
        sys.stdout.flush()
        return code
    except UserError as error:
        return _failed(2, f"error: {_one_line(error)}")
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
        warnings.formatwarning = other
        remove_empty_folders()


def _failed(code: int, message: str) -> int:
    console.write(message, file=sys.stderr)
    return code


def _warning(message: Warning | str, category: type[Warning], *_: object) -> str:
    kind = "note" if issubclass(category, Notice) else "warning"
    # In the place of a progress bar, which only terminals have.
    start = "\r\x1b[K" if sys.stderr.isatty() else ""
    return f"{start}{kind}: {_one_line(message)}\n"


def _one_line(text: object) -> str:
    return printable(" ".join(str(text).split()))
