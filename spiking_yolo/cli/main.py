"""The verbs of `spiking-yolo`, and how a typed command becomes a call of one of them."""

import os
import shlex
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NoReturn, get_type_hints

from spiking_yolo import __version__
from spiking_yolo.cli import program
from spiking_yolo.cli.defaults import sources
from spiking_yolo.cli.process import prepare_process, status, verbosity
from spiking_yolo.cli.program import flags_of, read
from spiking_yolo.cli.suggestions import verb_hint
from spiking_yolo.convert.methods import DEFAULT, get_recipe
from spiking_yolo.data.sources import check_there
from spiking_yolo.errors import UserError
from spiking_yolo.io.assets import PROGRAM, command
from spiking_yolo.models.zoo import located
from spiking_yolo.options import MethodOptions, MethodsOptions, WeightsOptions, recipes
from spiking_yolo.settings import Options

VERBS = {
    "detect": (
        "find objects in images, videos and webcams, and see what the network sees at every"
        " timestep"
    ),
    "report": (
        "one page to look at: photographs or a video at every timestep, with boxes, spike rates and"
        " energy"
    ),
    "eval": (
        "score a detector on COCO, VOC or your own data: mAP, spikes and energy at every timestep"
    ),
    "eval-video": (
        "score a detector on videos whose state it keeps: boxes, operations and energy per frame"
    ),
    "score": "score boxes of any detector against annotations, without a network",
    "analyze": "explain a conversion: where the error of every layer comes from, and what to try",
    "export": "write a converted network for other tools: NIR, JSON or safetensors",
    "demo": "write a page that detects in the browser: a webcam, a video or a photograph",
    "calibrate": "take the activation statistics that conversion needs",
    "tune": "tune the weights too, without labels, for far fewer operations",
    "train": "train a detector or a classifier that converts well",
    "benchmark": "time a spiking network against its ANN",
    "methods": "list the conversion methods, or the settings of one",
    "zoo": "list the networks that work, with their licences, and names for --weights",
    "weights": "show the networks that come with the package, and check the default one",
    "completion": "let the Tab key of a shell complete verbs, options and methods",
}
# Modules of the verbs whose name is not that of their module in apps/.
MODULES = {
    "eval": "apps.evaluate",
    "eval-video": "apps.video",
    "completion": "cli.completion",
}


def main(*tool: str) -> NoReturn:
    """Run the command line of this process, and exit with its status.

    Args:
        tool: In a file of tools/, its verb and the words that go before those that were typed.
    """
    prepare_process()
    argv = [*tool, *sys.argv[1:]]
    if argv[:1] == ["help"] and len(argv) > 1:
        argv = [*argv[1:], "--help"]
    if argv[:1] in (["--version"], ["-V"]):
        code = status(lambda: print(f"{PROGRAM} {__version__}"))
    elif argv[:1] == ["__complete"]:
        # What the script of `completion` calls, for names that are not written in it.
        code = status(lambda: verb_module("completion").app_of_verbs()(argv))
    elif not argv or argv[0] in ("--help", "-h") or argv == ["help"]:
        code = status(lambda: print(_overview()))
    else:
        code = call(argv, f"python {shlex.quote(sys.argv[0])}" if tool else None)
    sys.exit(code)


def _overview() -> str:
    lines = [f"Usage: {command('VERB')} [OPTIONS], or {command('VERB')} --help", ""]
    lines += [f"  {verb:<13}{summary}" for verb, summary in VERBS.items()]
    return "\n".join(lines)


def call(argv: Sequence[str], prog: str | None = None) -> int:
    """Run a verb; returns its exit status.

    Args:
        argv: The verb and its words, such as ["detect", "dog.jpg", "--T", "4"].
        prog: What messages call the command; by default as `command` does.
    """

    def run_verb() -> int | None:
        with verbosity(program.verbosity(argv)):
            options = parse(argv, prog)
            check_names(options)
            return verb_module(argv[0]).main(options)

    return status(run_verb)


def parse(argv: Sequence[str], prog: str | None = None) -> Options:
    """The options of a verb, which is not run.

    Raises:
        UserError: There is no such verb, or its words are not a good call.
    """
    verb = argv[0] if argv else ""
    if verb not in VERBS:
        raise UserError(_unknown_verb(argv))
    module = verb_module(verb)
    cls = options_of(module)
    defaults = partial(sources, verb, flags_of(cls), _flags)
    return read(cls, module.__doc__, argv[1:], prog or command(verb), defaults)


def classes() -> dict[str, type[Options]]:
    """The class of the options of every verb."""
    return {verb: options_of(verb_module(verb)) for verb in VERBS}


def _flags() -> dict[str, Collection[str]]:
    return {verb: flags_of(cls) for verb, cls in classes().items()}


def _unknown_verb(argv: Sequence[str]) -> str:
    """The message for a line that does not begin with a verb."""
    word = argv[0] if argv else ""
    if os.path.exists(word) or "=" in word:
        # As without a verb: detect says how that is typed.
        parse(["detect", *argv])
        return f"a verb is missing: {command('detect')} {shlex.join(argv)}"
    hint = verb_hint(word, VERBS) or f": choose from {', '.join(VERBS)}"
    return f"there is no verb {word!r}{hint}; see {command('--help')}"


def verb_module(verb: str) -> ModuleType:
    """The module of a verb: its docstring is the text of --help, its `main` takes the options."""
    return import_module(f"spiking_yolo.{MODULES.get(verb, f'apps.{verb}')}")


def options_of(module: ModuleType) -> type[Options]:
    """The class of the options that `main` of a verb's module takes."""
    return get_type_hints(module.main)["options"]


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
    if isinstance(options, MethodOptions):
        get_recipe(options.method or DEFAULT).with_settings(options.settings)
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
