"""Kill every tool at moments of all kinds, and run it again: `python -m tests.kills --count 100 --seed 0`.

Each case is a child of a process in which everything is loaded, killed by signal 9 somewhere in the time that it takes
undisturbed. Then whatever has a final name must be whole, and the same call, or --resume where the tool has it, must
give what an undisturbed run gives, bit by bit but for times and dates. Exit status 1 when it does not.
"""

import argparse
import csv
import json
import os
import pkgutil
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

from helpers import classifying, evaluating
from helpers.tiny import photo, run_tool, write_tiny
from helpers.video import walk, write_frames, write_images

import spiking_yolo
from spiking_yolo.errors import UserError
from spiking_yolo.io.tensors import read_safetensors
from spiking_yolo.io.video import frame_count

# Keys of what is of the run and not of its result; torch.save has the time in no file.
PASSING = ("seconds", "command", "date", "job", "ms", "fps", "checksum", "versions", "resume")
TIMED = ("benchmark.json", "trials.log")  # times are all that is in one, and every attempt in the other
IMPORTS = ("matplotlib.pyplot", "matplotlib.backends.backend_agg", "optuna", "albumentations")
LATE = "too late"  # it had ended before
SECONDS = 120  # of a case, at most


@dataclass(frozen=True)
class Tool:
    """A call that writes below out/, and what to add to go on with it; without that it is called again."""

    call: tuple[str, ...]
    resume: tuple[str, ...] = ()


OUT = ("--project", "out")
TINY = ("--weights", "tiny.weights", "--method", "p-norm")
SCENE = ("--weights", "net.weights", "--data", "instances.json", "--images", "images")
LATEST = ("--resume", "latest")
FILES = ("--save-json", "--save-txt", "--save-mot", "--timeline")
CLASSES = ("--weights", "class.safetensors")
QUICK = ("--set", "calibration.steps=2")
TRAIN = ("--imgsz", "64", "--batch", "4", "--epochs", "2", "--save-every", "0", "--val-every", "1", "--device", "cpu",
         "--no-calibrate", *OUT)  # fmt: skip
MODES = ("--modes", "ann,stream", "--bootstrap", "9")
PARTS = ("--parts", "shares")
TOOLS = {
    "detect": Tool(("detect", "photos", "v.mp4", *TINY, *OUT, "--T", "2", *FILES, "--gif", "--exist-ok")),
    "eval": Tool(("eval", *SCENE, *OUT, "--method", "p-norm", "--T", "8", "--report"), LATEST),
    "compare": Tool(("compare", *SCENE, *OUT, "--method", "p-norm,channel-norm", "--T", "8"), LATEST),
    "classify": Tool(("classify", *CLASSES, "--data", "set", *OUT, "--method", "p-norm", "--T", "4"), LATEST),
    "eval-video": Tool(
        ("eval-video", "--data", "walk", *TINY[:2], *OUT, "--modes", "ann,stream", "--bootstrap", "9"), LATEST
    ),
    "search": Tool(("search", "--data", "photos", *TINY[:2], *OUT, *QUICK, "--T", "2", "--budget", "4"), LATEST),
    "train classify": Tool(("train", "--task", "classify", "--model", "resnet20", "--data", "set", *TRAIN), LATEST),
    "train detect": Tool(("train", "--task", "detect", "--model", "yolov1", "--data", "data.yaml", *TRAIN), LATEST),
    "calibrate": Tool(("calibrate", "--weights", "net.weights", "--images", "images", "--method", "spike-norm")),
    "convert": Tool(("convert", *TINY, "--output", "out/net.safetensors")),
    "export": Tool(("export", *TINY, "--format", "json", "--output", "out/net.json")),
    "report": Tool(("report", "photos", *TINY, *OUT, "--T", "4")),
    "report VIDEO": Tool(("report", "v.mp4", *TINY[:2], *OUT)),
    "score": Tool(("score", *SCENE[2:4], "--predictions", "found.json", "--output", "out/s.json", "--bootstrap", "99")),
    "analyze": Tool(("analyze", "--data", "photos", *TINY, *OUT, "--T", "8")),
    "benchmark": Tool(("benchmark", "--images", "photos", *TINY, *OUT, "--T", "4", "--repeats", "1", *PARTS)),
}


def write_all(folder: Path) -> None:
    """What the calls read."""
    write_tiny(folder)
    _, instances = evaluating.make_scene(folder)
    write_frames(folder / "v.mp4", walk(6))
    write_images(folder / "walk" / "img1", walk(6))
    classifying.write_all(folder)
    (folder / "net.safetensors").rename(folder / "class.safetensors")
    (folder / "net.16.statistics.safetensors").rename(folder / "class.16.statistics.safetensors")
    (folder / "data").rename(folder / "set")
    (folder / "yolo" / "images").mkdir(parents=True)
    (folder / "yolo" / "labels").mkdir()
    for i in range(8):
        photo(folder / "yolo" / "images" / f"{i}.png", i)
        (folder / "yolo" / "labels" / f"{i}.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    (folder / "data.yaml").write_text("path: yolo\ntrain: images\nval: images\nnames: [cup]\n")
    boxes = json.loads(instances.read_text())["annotations"]
    rows = [{k: box[k] for k in ("image_id", "category_id", "bbox")} | {"score": 0.5} for box in boxes]
    (folder / "found.json").write_text(json.dumps(rows))


def child(case: Path, argv: tuple[str, ...]) -> int:
    """The number of a process in which the tool runs; its output goes to case/log."""
    number = os.fork()
    if number:
        return number
    status = 70
    try:
        os.chdir(case)
        log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        status = run_tool(argv[0], *argv[1:])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def run(case: Path, argv: tuple[str, ...]) -> tuple[int, str]:
    """Status and output of an undisturbed run; -14 when it took more than SECONDS."""
    number = child(case, argv)
    end = time.monotonic() + SECONDS
    while (done := os.waitpid(number, os.WNOHANG))[0] == 0:
        if time.monotonic() > end:
            os.kill(number, signal.SIGKILL)
            os.waitpid(number, 0)
            return -signal.SIGALRM, "it hangs"
        time.sleep(0.002)
    return os.waitstatus_to_exitcode(done[1]), (case / "log").read_text()


def content(path: Path) -> Any:
    """What a result file says, without what passes. Raises whatever its reader does where it is not whole."""
    match path.suffix:
        case ".json":
            return _lasting(json.loads(path.read_text()))
        case ".jsonl":  # of an interrupted run: the last line may be torn, and is written again
            return [
                _lasting(json.loads(line)) for line in path.read_text().splitlines(keepends=True) if line[-1:] == "\n"
            ]
        case ".csv":
            with open(path, newline="") as file:
                return [_lasting(row) for row in csv.DictReader(file)]
        case ".safetensors":
            metadata, tensors = read_safetensors(path)
            said = {key: _lasting(_parsed(value)) for key, value in metadata.items()}
            return _lasting(said), {key: value.numpy().tobytes() for key, value in tensors.items()}
        case ".pt":
            return _plain(torch.load(path, weights_only=True))
        case ".mp4":
            assert frame_count(path), "no frames"
        case ".png" | ".jpg" | ".gif":
            with Image.open(path) as image:
                image.load()
        case ".html":
            assert path.read_text().rstrip().endswith("</html>"), "it breaks off"
    return path.read_bytes()


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _lasting(v) for k, v in value.items() if not any(word in k.split("_") for word in PASSING)}
    return [_lasting(one) for one in value] if isinstance(value, list) else value


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.numpy().tobytes()
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def results(case: Path) -> dict[str, Any]:
    """By name, what the latest run has left, and what lies beside the weights."""
    runs = sorted((case / "out").glob("exp*"), key=lambda path: int(path.name[3:] or 1))
    latest = runs[-1] if runs else case / "out"
    files = [*latest.rglob("*"), *case.glob("*.safetensors")]
    found = [path for path in files if path.is_file() and path.name not in TIMED]
    return {path.name if path.parent == case else str(path.relative_to(latest)): content(path) for path in found}


def torn(case: Path) -> list[str]:
    """The files with a final name that are not whole, and why."""
    said = []
    for path in case.rglob("*"):
        if path.is_file() and not path.name.startswith(".") and path.name not in ("log", "trials.log"):
            try:
                content(path)
            except (Exception, UserError) as error:
                said.append(f"{path.relative_to(case)}: {error!r}")
    return said


def killed(tool: Tool, good: Path, case: Path, seconds: float, wanted: dict[str, Any]) -> tuple[str, str]:
    """What became of a case, in one word and in many."""
    shutil.copytree(good, case)
    number = child(case, tool.call)
    time.sleep(seconds)
    os.kill(number, signal.SIGKILL)
    if os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) != -signal.SIGKILL:
        return LATE, ""
    if found := torn(case):
        return "torn", str(found)
    status, said = run(case, (*tool.call, *tool.resume)) if tool.resume else (2, "no unfinished run")
    resumed = status == 0
    if status == 2 and ("no unfinished run" in said or "holds no training" in said):
        status, said = run(case, tool.call)
    if status:
        return "refused", f"{status}: {said[-300:]}"
    got = results(case)
    if differing := [name for name in got.keys() | wanted.keys() if got.get(name) != wanted.get(name)]:
        return "differs", f"{sorted(differing)} {'resumed' if resumed else 'again'}"
    return "resumed" if resumed else "again", ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="kills; the tools take turns")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--only", choices=TOOLS, action="append", help="this tool, or several")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    for module in (*(m.name for m in pkgutil.walk_packages(spiking_yolo.__path__, "spiking_yolo.")), *IMPORTS):
        if not module.endswith("__main__"):
            import_module(module)
    names = options.only or list(TOOLS)[: options.count]
    table: Counter[tuple[str, str]] = Counter()
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as place:
        good = Path(place) / "good"
        good.mkdir()
        write_all(good)
        lengths, wanted = {}, {}
        for name in names:
            case = Path(place) / name
            shutil.copytree(good, case)
            start = time.monotonic()
            status, said = run(case, TOOLS[name].call)
            lengths[name] = time.monotonic() - start
            assert status == 0, f"{name}: {said}"
            wanted[name] = results(case)
            print(f"{name}: {lengths[name]:.1f} s, {len(wanted[name])} files", flush=True)
        for n in range(options.count):
            name = names[n % len(names)]
            end, said, seconds = LATE, "", 0.0
            while end == LATE:
                seconds = lengths[name] * rng.random()
                end, said = killed(TOOLS[name], good, Path(place) / f"{n}", seconds, wanted[name])
                shutil.rmtree(Path(place) / f"{n}")
            table[name, end] += 1
            print(f"kill {n}, {name} after {seconds:.2f} of {lengths[name]:.2f} s: {end} {said}", flush=True)
    for (name, end), count in sorted(table.items()):
        print(f"{name:16}{end:10}{count:5}")
    return int(any(end in ("torn", "refused", "differs") for _, end in table))


if __name__ == "__main__":
    sys.exit(main())
