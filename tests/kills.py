"""Kill every command at a random moment, and run it again: `python -m tests.kills --count 25`.

Each case is a child process, killed by signal 9 somewhere in the time that it takes undisturbed.
Then every file with a final name must be whole, and the same call, or --resume where the command has
it, must give what an undisturbed run gives, but for times and dates. Exit status 1 when it does not.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from spiking_yolo.io.tensors import read_safetensors
from tests.fuzz import end, run, start, write_good

_OUT = ("--project", "out")
_TINY = ("--weights", "tiny.weights", "--method", "p-norm")
_CLASSES = ("--weights", "class.safetensors", "--method", "p-norm", "--data", "set")
_TRAIN = ("--data", "set", "--batch", "4", "--epochs", "2", "--device", "cpu", "--no-calibrate")
CALLS: dict[str, tuple[str, ...]] = {
    "detect": ("detect", "photos", "clip.mp4", *_TINY, *_OUT, "--T", "2", "--save-json"),
    "eval": ("eval", *_TINY, *_OUT, "--data", "data.yaml", "--T", "4"),
    "eval classes": ("eval", *_CLASSES, *_OUT, "--T", "4"),
    "analyze": ("analyze", *_TINY, *_OUT, "--data", "photos", "--T", "4"),
    "calibrate": ("calibrate", *_TINY, "--images", "photos"),
    "export": ("export", *_TINY, "-o", "out/net.safetensors", "--overwrite"),
    "train": ("train", "--task", "classify", "--model", "resnet20", *_TRAIN, *_OUT),
    "benchmark": ("benchmark", *_TINY, *_OUT, "--T", "2", "--repeats", "1"),
}
# Commands that go on where they were interrupted.
RESUMED = ("eval", "eval classes", "train")
# Parts of keys of what is of the run and not of its result, and files of nothing else.
PASSING = {"seconds", "command", "date", "ms", "fps", "checksum", "versions", "resume", "job"}
TIMED = ("benchmark.json", "benchmark.csv")


def content(path: Path) -> Any:
    """What a file says apart from times. Raises whatever its reader does where it is not whole."""
    match path.suffix:
        case ".json":
            return lasting(json.loads(path.read_text()))
        case ".safetensors":
            metadata, tensors = read_safetensors(path)
            said = {key: parsed(value) for key, value in metadata.items()}
            return lasting(said), {key: value.tolist() for key, value in tensors.items()}
        case ".pt":
            return str(torch.load(path, weights_only=True).keys())
        case ".png" | ".jpg":
            with Image.open(path) as image:
                return np.asarray(image).tobytes()
        case ".csv" | ".txt" | ".svg" | ".html":
            return len(path.read_text().splitlines())
    return path.stat().st_size > 0


def lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: lasting(v) for k, v in value.items() if PASSING.isdisjoint(k.split("_"))}
    return [lasting(one) for one in value] if isinstance(value, list) else value


def parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def results(case: Path) -> dict[str, Any]:
    """By name, what the latest run has left, and what lies beside the weights."""
    runs = sorted((case / "out").glob("exp*"), key=lambda path: int(path.name[3:] or 1))
    latest = runs[-1] if runs else case / "out"
    found: dict[str, Any] = {}
    for path in (*latest.rglob("*"), *case.glob("*.safetensors")):
        if path.is_file() and path.name not in TIMED and "/." not in str(path.relative_to(case)):
            found[path.name] = content(path)
    return found


def kill(name: str, case: Path, seconds: float, expected: dict[str, Any]) -> str:
    """Kill a command after some seconds, and call it again; returns "" or what is wrong."""
    child = start(CALLS[name], case)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    end(child)
    try:
        results(case)
    except Exception as error:  # whatever the readers raise
        return f"a file is torn: {error!r:.300}"
    status, said = 2, ""
    if name in RESUMED:
        status, said = run((*CALLS[name], "--resume", "out/exp"), case)
    if status:
        status, said = run(CALLS[name], case)
    if status:
        return f"refused: {said[-300:]}"
    found = results(case)
    differing = [key for key in found | expected if found.get(key) != expected.get(key)]
    return f"{sorted(differing)} differ" if differing else ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__)
    parser.add_argument("--count", type=int, default=25, help="kills; the commands take turns")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    torch.set_num_threads(1)
    table: Counter[str] = Counter()
    rng = np.random.default_rng(options.seed)
    lengths: dict[str, float] = {}
    expected: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as place:
        good = write_good(Path(place) / "good")
        for n in range(options.count):
            name = list(CALLS)[n % len(CALLS)]
            case = Path(place) / f"{n}"
            if name not in expected:
                shutil.copytree(good, case)
                begin = time.monotonic()
                status, said = run(CALLS[name], case)
                assert status == 0, f"{name}: {said}"
                lengths[name], expected[name] = time.monotonic() - begin, results(case)
                shutil.rmtree(case)
            shutil.copytree(good, case)
            seconds = lengths[name] * rng.random()
            wrong = kill(name, case, seconds, expected[name])
            table["wrong" if wrong else "as undisturbed"] += 1
            print(
                f"{name} after {seconds:.2f} of {lengths[name]:.2f} s: {wrong or 'fine'}",
                flush=True,
            )
            shutil.rmtree(case)
    print(dict(table))
    return int("wrong" in table)


if __name__ == "__main__":
    sys.exit(main())
