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
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

from cyclopts import App, CycloptsError, Group, Parameter, UnknownCommandError, UnknownOptionError
from cyclopts.argument import ArgumentCollection
from cyclopts.config import Env, Toml

from spiking_yolo import __version__
from spiking_yolo.apps.console import verbosity
from spiking_yolo.arguments import Options
from spiking_yolo.convert.methods import DEFAULT, get_recipe
from spiking_yolo.data.sources import check_there
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.io.assets import PROGRAM
from spiking_yolo.io.files import leave_folders
from spiking_yolo.io.names import printable
from spiking_yolo.models.index import located
from spiking_yolo.options import MethodOptions, MethodsOptions, WeightsOptions, recipes

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
# What a folder that somebody sent must not be able to set.
TYPED = ("--trust-weights", "--overwrite-shipped")
# A command that cannot run need not be interpreted by cyclopts.
HOW: dict[str, Any] = {"exit_on_error": False, "print_error": False}
MESSAGES = Group("Messages", sort_key=1)

# What commands, options and methods of version 0.3 are called now; for this release.
PAGE = "`detect --page FILE.html` makes the page"
EVAL = "`eval --data DATA` decides by its data"
TUNE = "`calibrate --tune` moves the weights"
LIST = "`list` has them"
CAMERA = "cameras are fixed; version 0.3.0 followed moving ones"
RUNTIME = "networks are computed by PyTorch in float32"

OLD_COMMANDS = {
    "report": PAGE,
    "classify": EVAL,
    "compare": "`eval --method A,B` compares methods",
    "eval-video": EVAL,
    "score": "`eval --predictions FILE.json` scores boxes",
    "tune": TUNE,
    "convert": "`export` writes the file",
    "methods": LIST,
    "weights": LIST,
    "zoo": LIST,
    "search": "docs/howto/search.md has ten lines with optuna",
    "bound": "version 0.3.0 is the last that has it",
    "leaderboard": "docs/leaderboard.py draws it",
    "completion": "`--install-completion` installs it",
    # As Ultralytics and YOLOv5 call them.
    "predict": "`detect` finds objects",
    "track": "`detect --track` follows objects",
    "val": "`eval` measures accuracy",
}
OLD_OPTIONS = {
    "--precision": RUNTIME,
    "--compile": RUNTIME,
    "--backend": RUNTIME,
    "--camera": CAMERA,
    "--pan": CAMERA,
    "--jitter": CAMERA,
    "--streams": "give one video at a time",
    "--gif": "`--page FILE.html` shows every timestep",
    "--save-crop": "`--save-json` has the boxes",
    "--format": "the suffix of --output decides",
    "--explain": "`export -o FILE.nir` says what NIR cannot express",
    "--list-methods": LIST,
    "--list-settings": "`list METHOD` has them",
    "--report": PAGE,
    "--quick": "`--calibration untrained` is made within seconds",
    "--modes": "videos are scored with the state kept and anew in each frame",
    "--limit-frames": "--limit is of videos too",
    # As Ultralytics and YOLOv5 call them.
    "--source": "give images and videos without an option",
    "--model": "--weights is the network",
    "--conf-thres": "--conf is the smallest confidence",
    "--iou-thres": "--iou is the overlap",
}
OLD_METHODS = {
    "signed-digits-tuned": "`--method signed-digits --calibration tuned-weights`",
    "signed-digits-video": "`--method signed-digits --calibration video`",
    "msat-plus": "`--method msat-tuned` is MSAT at its best, signed-digits the default",
}
LEFT = "fixed-fraction group-neurons adafire srp cos signed-memory differential coarse-to-fine"
OLD_METHODS |= dict.fromkeys(LEFT.split(), "version 0.3.0 is the last that has it")


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
    app = App(
        name=PROGRAM,
        help="Spiking neural networks from trained YOLO detectors and classifiers.",
        version=f"{PROGRAM} {__version__}",
        version_flags=("--version", "-V"),
        help_format="markdown",
        default_parameter=Parameter(
            name_transform=lambda name: name.replace("_", "-"), negative=(), show_default=_shown
        ),
        config=(Env("SPIKING_YOLO_", show=False), _from_file),
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
        verbose: Annotated[bool, Parameter(name=("--verbose", "-v"), group=MESSAGES)] = False,
    ) -> int | None:
        """Run a command.

        Args:
            tokens: The command and its words.
            quiet: Print errors and warnings alone; files are written as ever.
            verbose: Print all there is, also versions and the time it took.
        """
        if quiet and verbose:
            raise UserError("--quiet and --verbose are two: give one")
        command, bound, _ = app.parse_args(tokens, **HOW)
        with verbosity(verbose - quiet):
            for options in bound.arguments.values():
                if isinstance(options, Options):
                    check_names(options)
            return command(*bound.args, **bound.kwargs)

    return app


def parse(argv: Sequence[str]) -> Options:
    """The options of a command, which is not run.

    Raises:
        UserError: There is no such command, or its words are not a good call.
    """
    try:
        _, bound, _ = program().parse_args(list(argv), **HOW)
    except CycloptsError as error:
        raise UserError(_message(error, argv)) from error
    bound.apply_defaults()
    return bound.arguments["options"]


def _shown(value: Any) -> Any:
    """A default as it would be typed; None for what is not set."""
    if value is False or value in ((), {}, ""):
        return None
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return value


def _from_file(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Options in [tool.spiking-yolo.COMMAND] of a pyproject.toml here or in a folder above."""
    keys = ("tool", "spiking-yolo")
    file = Toml("pyproject.toml", root_keys=keys, search_parents=True, must_exist=False)
    file(app, commands, arguments)
    for argument in arguments:
        if argument.name in TYPED and any(t.source not in ("cli", "env") for t in argument.tokens):
            raise UserError(f"{argument.name} has to be typed: take it out of {file.source}")


def _message(error: CycloptsError, argv: Sequence[str]) -> str:
    """What is wrong with a line, and what to type instead, in one line."""
    if isinstance(error.__cause__, UserError):
        return str(error.__cause__)
    if isinstance(error, UnknownCommandError) and argv[0] in OLD_COMMANDS:
        return f"{argv[0]} is no command any more: {OLD_COMMANDS[argv[0]]}"
    if isinstance(error, UnknownOptionError):
        option = (error.token.keyword or error.token.value).partition("=")[0]
        if option in OLD_OPTIONS:
            return f"{option} is no option any more: {OLD_OPTIONS[option]}"
        names = [name for argument in error.argument_collection for name in argument.names]
        if option.swapcase() in names:
            return f"there is no option {option}: did you mean {option.swapcase()}?"
    text = " ".join(str(error).split()).removesuffix(".")
    if argv[0] in COMMANDS:
        return f"{text}; see {PROGRAM} {argv[0]} --help"
    if os.path.exists(argv[0]):
        return f"{argv[0]} is no command: did you mean {PROGRAM} detect {argv[0]}?"
    return f"{text}; see {PROGRAM} --help"


def check_names(options: Options) -> None:
    """Check what can be checked before anything heavy is imported.

    Raises:
        UserError: Weights, data or the only source do not exist; a method or a setting is unknown.
    """
    if isinstance(options, WeightsOptions) and options.weights:
        path = located(options.weights)
        if not os.path.exists(path):
            raise UserError(
                f"cannot read the weights {path}: No such file or directory; check the path"
            )
    for name in (getattr(options, "method", None), *getattr(options, "methods", ())):
        if name in OLD_METHODS:
            raise UserError(f"{name} is no method any more: {OLD_METHODS[name]}")
    if isinstance(options, MethodOptions):
        get_recipe(options.method or DEFAULT, options.calibration).with_settings(options.settings)
    if isinstance(options, MethodsOptions):
        recipes(options if options.methods else replace(options, methods=(DEFAULT,)))
    for name in ("data", "predictions"):
        path = getattr(options, name, None)
        if isinstance(path, Path) and not os.path.exists(path):
            raise UserError(f"{path} does not exist; check --{name}")
    sources = getattr(options, "sources", ())
    # Of several sources, the others may be good.
    if len(sources) == 1:
        check_there(sources[0])


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
    of a file, or of OpenCV's libraries; 130 after Ctrl-C, 143 after SIGTERM. Warnings are one line
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
    except ImportError as error:
        # A system without libGL, for the OpenCV that opens windows.
        if error.name != "cv2":
            raise
        other = "pip install --force-reinstall opencv-python-headless"
        return _failed(2, f"error: OpenCV does not start ({_one_line(error)}): {other}")
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
        leave_folders()


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
