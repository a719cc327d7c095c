"""The entry point of `spiking-yolo VERB ...`, and of tools/*.py, which are the verbs in a checkout."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from spiking_yolo import __version__
from spiking_yolo.cli.program import status
from spiking_yolo.errors import UserError

VERBS = {
    "detect": "find objects in images, videos and webcams, and see what the network sees at every timestep",
    "eval": "score a detector on COCO, VOC or your own data: mAP, spikes and energy at every timestep",
    "classify": "score a classifier: top-1, top-5, spikes and energy at every timestep",
    "compare": "conversion methods on one network: one table, methods x timesteps",
    "analyze": "explain a conversion: where the error of every layer comes from, and what to try",
    "search": "tune the numbers of a method for one network",
    "convert": "convert a network and save it as one file that needs nothing else",
    "export": "write a converted network for other tools: NIR, JSON or safetensors",
    "calibrate": "take the activation statistics that conversion needs",
    "train": "train a detector or a classifier that converts well",
    "benchmark": "time a spiking network against its ANN",
    "methods": "list the conversion methods, or the settings of one",
    "weights": "show the weights that come with the package, or fetch them",
}
PROG = "spiking-yolo"


def call(verb: str, argv: Sequence[str], prog: str | None = None) -> int:
    """Run a verb; returns its exit status."""
    module = import_module(f"spiking_yolo.cli.{verb}")
    return status(lambda: module.main(argv, prog or f"{PROG} {verb}"))


def main() -> NoReturn:
    """`spiking-yolo VERB ...`."""
    verb, argv = sys.argv[1] if len(sys.argv) > 1 else "--help", sys.argv[2:]
    if verb in VERBS:
        sys.exit(call(verb, argv))
    sys.exit(status(lambda: _about(verb)))


def tool(verb: str, *preset: str) -> NoReturn:
    """A file of tools/: the verb, with `preset` before what is typed."""
    sys.exit(call(verb, [*preset, *sys.argv[1:]], f"python tools/{sys.argv[0].rpartition('/')[2]}"))


def _about(flag: str) -> None:
    if flag == "--version":
        print(f"{PROG} {__version__}")
    elif flag in ("--help", "-h"):
        lines = [f"  {verb:<11}{text}" for verb, text in VERBS.items()]
        print("\n".join([f"Usage: {PROG} VERB [OPTIONS], or {PROG} VERB --help", "", *lines]))
    else:
        raise UserError(f"{flag!r} is not one of {', '.join(VERBS)}; see {PROG} --help")
