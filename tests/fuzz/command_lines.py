"""A good call of every verb, and what happens to its options."""

from dataclasses import asdict
from typing import Any

import numpy as np

from spiking_yolo.cli.main import program
from spiking_yolo.convert.methods import get_recipe
from tests.fuzz.good import TRAIN
from tests.fuzz.values import NUMBERS, TEXTS, pick

PLAIN = ("--T", "2", "--project", "out", "--method", "p-norm")
_NET = ("--weights", "tiny.weights")
_SET = ("--weights", "ann.safetensors", "--data", "set")
_GOES_ON = ("--data", "set", "--project", "out", "--name", "t", "--resume", "out/t")
FAST = {  # folder of good files and verb -> call
    "detector detect": ("detect", "photos/a.png", *_NET, *PLAIN),
    "detector score": ("score", "--predictions", "predictions.json", "--data", "instances.json"),
    "detector export": ("export", *_NET, "--method", "p-norm", "--output", "out/n.safetensors"),
    "detector calibrate": ("calibrate", *_NET, "--images", "photos", "--method", "p-norm"),
    "detector methods": ("methods", "msat"),
    "detector zoo": ("zoo",),
    "detector weights": ("weights",),
    "classifier calibrate": ("calibrate", *_SET, "--method", "p-norm"),
}
SLOW = {
    "detector report": ("report", "photos/a.png", *_NET, *PLAIN),
    "detector eval": ("eval", *_NET, *PLAIN, "--data", "data.yaml"),
    "detector analyze": ("analyze", *_NET, *PLAIN, "--data", "photos"),
    "classifier eval": ("eval", *_SET, *PLAIN),
    "training train": (*TRAIN, *_GOES_ON, "--epochs", "1"),
}
_KEYS = [
    f"{slot}.{key}"
    for slot, keys in asdict(get_recipe("msat")).items()
    if slot != "name"
    for key in keys
]
CALLS: dict[str, tuple[str, ...]] = {**FAST, **SLOW}
# The one runs the file's code, as it says; the other takes a minute.
_LEFT_OUT = {"--trust-weights"}
_ASKS_FOR_WORK = {"65537", "1000000000"}  # and gets it
_PATHS = (
    "photos",
    "tiny.cfg",
    "tiny.weights",
    "nowhere/x",
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/proc/self/mem",
)
_PATHS += (
    ".",
    "out",
    "out/n.json",
    "x" * 300,
    "a\x1b[2J",
    "$a_$",
    "\u202e",
    "a\nb",
    "\udcff",
    "a\0b",
)
_DEVICES = ("cuda", "cuda:7", "meta", "cpu:3", "mps", "hpu", "-1")


def odd_call(rng: np.random.Generator) -> tuple[str, tuple[str, ...]]:
    """The folder of good files for a call, and the call with one to three options that are odd."""
    calls = SLOW if rng.random() < 0.05 else FAST
    name = pick(list(calls), rng)
    folder, verb = name.split()
    arguments = program()[verb].assemble_argument_collection()
    entries = [one for one in arguments if one.parse and one.name not in {*_LEFT_OUT, "*"}]
    call = calls[name]
    for _ in range(rng.integers(1, 4) if entries else 0):
        entry = pick(entries, rng)
        value = () if entry.hint is bool else (_odd_value(entry, rng),)
        if entry.name in call and value:
            at = call.index(entry.name)
            call = (*call[: at + 1], *value, *call[at + 2 :])
        else:
            call = (*call, entry.name, *value)
    return folder, call


def _odd_value(entry: Any, rng: np.random.Generator) -> str:
    numbers = [text for text in NUMBERS if text not in _ASKS_FOR_WORK]
    if entry.name == "--set":
        return f"{pick(_KEYS, rng)}={pick((*numbers, *TEXTS, 'true', 'p-norm'), rng)}"
    if entry.name == "--device":
        return pick((*_DEVICES, *TEXTS), rng)
    if "Path" in str(entry.hint):
        return pick(_PATHS, rng)
    return ",".join(pick((*numbers, *TEXTS), rng) for _ in range(rng.integers(1, 3)))
