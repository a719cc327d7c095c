"""The commands of `spiking-yolo`: how a typed line becomes a call of one of them, and a process
ends.
"""

import io
import os
import re
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from importlib.util import module_from_spec, spec_from_file_location
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, NoReturn

from cyclopts import App, CycloptsError, Group, Parameter, UnknownOptionError
from cyclopts.config import Env, Toml
from cyclopts.help import DefaultFormatter, HelpPanel

from spiking_yolo import __version__
from spiking_yolo.apps import console
from spiking_yolo.data.sources import is_source
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.io.files import PROGRAM, remove_empty_folders
from spiking_yolo.io.text import printable

# Each is a module of `apps` whose `main` takes its options; those first that most people need.
MOST_USED = ["detect", "eval", "calibrate", "export", "list"]
COMMANDS = [*MOST_USED, "analyze", "demo", "train", "benchmark"]
# Names of commands and options in Ultralytics' program -> their names here.
OTHER_COMMANDS = {"predict": "detect", "track": "detect --track", "val": "eval"}
OTHER_OPTIONS = {"model": "weights", "t": "T", "timesteps": "T", "vid_stride": "every"}
SOURCE, PAIR = "source", re.compile(r"[a-z_]+=.+")
MORE = Group("More commands", sort_key=1)
# Panels that only --help-all shows.
FOLDED = ("Data", "Video", "Boxes", "Network", "Output", "Messages")
# Errors are raised, so that they become one line here and cyclopts prints none.
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
            # Looking a command up imports it, since help shows the first line of its docstring.
            assert app[name]
    for before, word in pairwise(argv):
        # Ultralytics' program takes KEY=VALUE.
        if PAIR.fullmatch(word) and not before.startswith("--") and not os.path.exists(word):
            rule = "options are written --KEY VALUE, and sources without a name"
            raise UserError(f"{rule}, as in {PROGRAM} detect a.jpg --conf 0.5, not {word}")
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
        summary, *examples = description.primary_renderable.markup.split("```")[:2]
        console.print(" ".join(summary.split()), highlight=False)
        for line in ["", *"".join(examples).strip().splitlines()]:
            console.print(f"  {line}", highlight=False, no_wrap=True, overflow="ignore", crop=False)
        console.print()


def program(everything: bool = False) -> App:
    """Build the program of all commands, whose modules are imported when they are run.

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
    for k, name in enumerate(COMMANDS):
        more: dict[str, Any] = {} if name in MOST_USED else {"group": MORE}
        app.command(f"spiking_yolo.apps.{name}:main", name=name, sort_key=k, **more)
    app.register_install_completion_command()
    # Ctrl-C ends the process with status 130, see `status`.
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
            plugin: A Python file that registers a method, a neuron, a rule of thresholds or a head
                of your own; it is run first.
        """
        if plugin is not None:
            run_plugin(plugin)
        command, bound, _ = app.parse_args(with_values(tokens), **HOW)
        with console.quiet() if quiet else nullcontext():
            return command(*bound.args, **bound.kwargs)

    return app


def with_values(words: Sequence[str]) -> list[str]:
    """The words with an empty value for an --overlay whose next word is none of its own."""
    result: list[str] = []
    for word, after in pairwise([*words, "-"]):
        alone = word == "--overlay" and (after.startswith("-") or is_source(after))
        result.append("--overlay=" if alone else word)
    return result


def run_plugin(path: Path) -> None:
    """Import a Python file of the user's. Raises UserError that says where it fails."""
    from spiking_yolo.convert.methods import METHODS
    from spiking_yolo.models.heads import HEADS
    from spiking_yolo.rate.neurons.layer import BUILDERS
    from spiking_yolo.recipe import RULES

    # The name has a space, so that it is not that of any module.
    name = f"plugin {path.stem}"
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UserError(f"--plugin {path} is no Python file: give a .py that exists")
    tables = METHODS, HEADS, BUILDERS, RULES
    before = [dict(table) for table in tables]
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"--plugin {path} fails: {type(error).__name__}: {error}") from error
    if before == list(tables):
        what = "method, neuron, rule of thresholds or head"
        raise UserError(f"--plugin {path} registers no {what}: see register")


def _shown(value: Any) -> Any:
    """A default as it would be typed; None for what is not set."""
    if value is False or value in ((), {}, ""):
        return None
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return value


def _message(error: CycloptsError, argv: Sequence[str]) -> str:
    """Say in one line what is wrong with a command line, and where to look."""
    if isinstance(error.__cause__, UserError):
        return str(error.__cause__)
    command = [name for name in argv[:1] if name in COMMANDS]
    if argv and not command and (argv[0] in OTHER_COMMANDS or os.path.exists(argv[0])):
        ours, rest = OTHER_COMMANDS.get(argv[0]), argv[1:]
        line = f"{ours} {shlex.join(rest)}" if ours else f"detect {argv[0]}"
        return f"{argv[0]} is no command: did you mean {PROGRAM} {line.strip()}?"
    if isinstance(error, UnknownOptionError):
        word = (error.token.keyword or error.token.value).partition("=")[0]
        key = word.lstrip("-").replace("-", "_")
        known = {name for one in error.argument_collection for name in one.names}
        if key == SOURCE and "--sources" in known:
            return f"{word} is no option: a source has no name, as in {PROGRAM} detect a.jpg"
        if (ours := f"--{OTHER_OPTIONS.get(key)}") in known:
            return f"{word} is no option: did you mean {ours}?"
    where = " ".join([PROGRAM, *command, "--help"])
    return f"{' '.join(str(error).split()).removesuffix('.')}; see {where}"


def prepare_process() -> None:
    """Handle SIGTERM like Ctrl-C, print any text, and let threads that wait spin for a short while.

    Not for calls from Python, whose process is not ours. OpenMP reads the variables when torch is
    imported. Threads that spin for long take the core from the one that they wait for; those that
    sleep at once take long to wake.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
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
        # Flush here, where an error can still be caught.
        sys.stdout.flush()
        return code
    except UserError as error:
        return _failed(2, f"error: {_one_line(error)}")
    except KeyboardInterrupt:
        return _failed(130, "interrupted")
    except BrokenPipeError:
        # The reader is gone, as in `--help | head`.
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
    # The line replaces a progress bar, which only terminals have.
    start = "\r\x1b[K" if sys.stderr.isatty() else ""
    return f"{start}{kind}: {_one_line(message)}\n"


def _one_line(text: object) -> str:
    return printable(" ".join(str(text).split()))
