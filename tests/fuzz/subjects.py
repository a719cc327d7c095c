"""The files that are damaged: small good ones of every format, and the call that reads each."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import numpy as np

from spiking_yolo.cli import main as cli
from tests.fuzz.command_lines import CALLS, PLAIN, odd_call
from tests.fuzz.good import write_classifier, write_detector, write_training
from tests.fuzz.mutate import mutate

# Share of the cases with the slow call of their subject, where it has one.
SLOW = 0.03
WRITERS = {"detector": write_detector, "classifier": write_classifier, "training": write_training}


@dataclass(frozen=True)
class Subject:
    """A file to damage, the folder of good files that it is in, and what is then called there.

    slow: another call, for a few of the cases. share: of the cases, beside 1 of the others.
    """

    file: str
    call: tuple[str, ...]
    slow: tuple[str, ...] = ()
    folder: str = "detector"
    share: float = 1.0


_NORM = ("--method", "p-norm")
_DETECT = (
    "detect",
    "photos/a.png",
    "--T",
    "2",
    "--project",
    "out",
    "--save-json",
    "--save-txt",
    "--weights",
)
_EVAL = ("eval", "--weights", "tiny.weights", *PLAIN, "--data")
_SCORE = ("score", "--predictions", "predictions.json", "--output", "out/score.json", "--data")
_EXPORT = ("export", *_NORM, "--output", "out.safetensors", "--weights")
_TAR = ("--weights", "ann.safetensors", "--data", "set.tar")
SUBJECTS = {
    "cfg": Subject("tiny.cfg", CALLS["detector export"], CALLS["detector calibrate"]),
    "weights": Subject("tiny.weights", CALLS["detector export"], CALLS["detector calibrate"]),
    "names": Subject("tiny.names", (*_DETECT, "tiny.weights", *_NORM), (*_EVAL, "data.yaml")),
    "statistics": Subject("tiny.32.statistics.safetensors", (*_DETECT, "tiny.weights", *_NORM)),
    "network": Subject(
        "net.safetensors", (*_DETECT, "net.safetensors"), (*_DETECT, "net.safetensors", "--overlay")
    ),
    "recipe": Subject("recipe.json", (*_DETECT, "tiny.weights", "--method", "recipe.json")),
    "image": Subject("photos/a.png", (*_DETECT, "tiny.weights", *_NORM)),
    "photograph": Subject(
        "photos/c.jpg", ("detect", "photos/c.jpg", "--weights", "tiny.weights", *PLAIN)
    ),
    "pt": Subject(
        "yolo.pt",
        (*_EXPORT, "yolo.pt"),
        ("calibrate", "--images", "photos", *_NORM, "--weights", "yolo.pt"),
    ),
    "coco": Subject(
        "instances.json",
        (*_SCORE, "instances.json"),
        (*_EVAL, "instances.json", "--images", "photos"),
    ),
    "predictions": Subject("predictions.json", (*_SCORE, "instances.json")),
    "yaml": Subject("data.yaml", (*_SCORE, "data.yaml"), (*_EVAL, "data.yaml")),
    "labels": Subject("labels/a.txt", (*_SCORE, "data.yaml"), (*_EVAL, "data.yaml")),
    "voc": Subject(
        "VOCdevkit/VOC2012/Annotations/a.xml", (*_SCORE, "VOCdevkit", "--metric", "voc")
    ),
    "listing": Subject("VOCdevkit/VOC2012/ImageSets/Main/val.txt", (*_SCORE, "VOCdevkit")),
    "checkpoint": Subject(
        "ann.safetensors",
        (*_EXPORT, "ann.safetensors"),
        CALLS["classifier calibrate"],
        "classifier",
    ),
    "tar": Subject(
        "set.tar", ("calibrate", *_NORM, *_TAR), ("eval", *PLAIN, *_TAR), "classifier", 0.25
    ),
    "state": Subject(
        "out/t/state.pt",
        CALLS["training train"],
        (*CALLS["training train"][:-1], "2"),
        "training",
        0.15,
    ),
    "options": Subject("", ()),
}
if find_spec("onnx"):
    SUBJECTS["onnx"] = Subject("yolo.onnx", (*_DETECT, "yolo.onnx"))


def write_all(good: Path) -> None:
    """The folders of good files. Runs a few tools, so it takes some seconds."""
    for name, write in WRITERS.items():
        write(good / name)


def prepare(kind: str, rng: np.random.Generator, good: Path, case: Path) -> Callable[[], Any]:
    """The call of a case, whose files are written into a new folder."""
    if kind == "options":
        folder, call = odd_call(rng)
        copytree(good / folder, case)
    else:
        subject = SUBJECTS[kind]
        copytree(good / subject.folder, case)
        mutate(case / subject.file, rng)
        call = subject.slow if subject.slow and rng.random() < SLOW else subject.call
    return lambda: cli.call(call)


def make_every_call(good: Path, place: Path) -> None:
    """Make every call on good files.

    Options of a call are not parsed a second time, which would take half of the time.
    """
    cli.parse = lru_cache(cli.parse)
    calls = [(name.split()[0], call) for name, call in CALLS.items()]
    for subject in SUBJECTS.values():
        calls += [(subject.folder, call) for call in (subject.call, subject.slow) if call]
    for folder, call in calls:
        copytree(good / folder, place / "case")
        os.chdir(place / "case")
        assert cli.call(call) == 0, call
        rmtree(place / "case")
