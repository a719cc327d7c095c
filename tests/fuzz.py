"""Damage files and call the commands that read them; exit status 1 unless each call ends in a result
or in one line: `python -m tests.fuzz --count 300 --seed 0`.

A case follows from its seed alone: a format, damage to a good file of it, and the call, in a child
process with limits of memory, time and file size.
"""

import argparse
import contextlib
import json
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from importlib import import_module
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))

from helpers.classifying import write_data, write_network
from helpers.onnx_exports import Anchored, export
from helpers.tiny import NAMES, YOLO, photo, write_tiny
from helpers.video import walk, write_frames

from spiking_yolo.cli import call

# What commands import is there when a child is forked: to import it takes two thirds of a call.
for _name in ("av", "matplotlib.pyplot", "onnxscript", "pycocotools.cocoeval", "yaml"):
    import_module(_name)
MEMORY, SECONDS, DISK = 6 << 30, 60, 256 << 20
_OUT = ("--T", "2", "--project", "out")
_TINY = ("--weights", "tiny.weights", "--method", "p-norm")
_DETECT = ("detect", "photos/a.png", *_OUT, "--weights")
_CLASSES = ("--weights", "class.safetensors", "--method", "p-norm")
_CALIBRATE = ("calibrate", "--images", "photos", "--method", "p-norm", "--weights")
# File to damage -> the call that reads it.
CALLS: dict[str, tuple[str, ...]] = {
    "tiny.cfg": (*_CALIBRATE, "tiny.weights"),
    "tiny.weights": (*_CALIBRATE, "tiny.weights"),
    "tiny.names": (*_DETECT, "tiny.weights"),
    "tiny.32.calibrations.safetensors": ("detect", "photos/a.png", *_OUT, *_TINY),
    "net.safetensors": (*_DETECT, "net.safetensors"),
    "yolo.pt": (*_CALIBRATE, "yolo.pt"),
    "yolo.onnx": (*_CALIBRATE, "yolo.onnx"),
    "photos/a.png": ("detect", "photos/a.png", *_OUT, *_TINY),
    "photos/c.jpg": ("detect", "photos/c.jpg", *_OUT, *_TINY),
    "clip.mp4": ("detect", "clip.mp4", *_OUT[2:], "--weights", "tiny.weights"),
    "instances.json": ("eval", *_OUT, *_TINY, "--data", "instances.json", "--images", "images"),
    "data.yaml": ("eval", *_OUT, *_TINY, "--data", "data.yaml"),
    "labels/a.txt": ("eval", *_OUT, *_TINY, "--data", "data.yaml"),
    "VOCdevkit/VOC2012/Annotations/a.xml": ("eval", *_OUT, *_TINY, "--data", "VOCdevkit"),
    "VOCdevkit/VOC2012/ImageSets/Main/val.txt": ("eval", *_OUT, *_TINY, "--data", "VOCdevkit"),
    "class.safetensors": ("eval", *_OUT, *_CLASSES, "--data", "set"),
}
_VOC = (
    "<annotation><size><width>80</width><height>48</height><depth>3</depth></size>\n"
    "<object><name>cat</name>\n<difficult>0</difficult>\n<bndbox>\n<xmin>4</xmin><ymin>5</ymin>"
    "<xmax>24</xmax><ymax>35</ymax></bndbox></object>\n</annotation>\n"
)
# What a token of a text becomes.
ODD = ("", "-1", "0", "1e999", "nan", "null", "true", "999999999999", "[]", "{}", "\0", "a" * 5000)


def write_good(folder: Path) -> Path:
    """Small good files of every format in a new folder."""
    folder.mkdir()
    write_tiny(folder, cfg=YOLO.replace("=64", "=32"))
    photo(folder / "photos" / "c.jpg")
    write_frames(folder / "clip.mp4", walk(4))
    write_yolov5(folder / "yolo.pt")
    torch.manual_seed(0)
    export(Anchored(nn.ReLU()), folder / "yolo.onnx")
    write_data(folder / "set", write_network(folder / "class.safetensors"), 4, 4)
    write_boxes(folder)
    calibrate = ("calibrate", *_CLASSES, "--images", "set")
    for argv in (calibrate, ("export", *_TINY, "-o", "net.safetensors")):
        status, said = run(argv, folder)
        assert status == 0, said
    return folder


def write_boxes(folder: Path) -> None:
    """Annotations of a photograph in COCO's, VOC's and YOLO's formats."""
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [3, 4, 20, 30], "area": 600}
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "width": 80, "height": 48}],
        "annotations": [{**box, "iscrowd": 0}],
        "categories": [{"id": i, "name": name} for i, name in enumerate(NAMES, 1)],
    }
    devkit = folder / "VOCdevkit" / "VOC2012"
    for made in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (devkit / made).mkdir(parents=True)
    for made in ("labels", "images"):
        (folder / made).mkdir()
    texts = {
        "instances.json": json.dumps(coco),
        "data.yaml": f"path: .\nval: images\nnames: [{', '.join(NAMES)}]\n",
        "labels/a.txt": "0 0.5 0.5 0.25 0.5\n1 0.25 0.5 0.125 0.25\n",
        "VOCdevkit/VOC2012/Annotations/a.xml": _VOC,
        "VOCdevkit/VOC2012/ImageSets/Main/val.txt": "a\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    photo(folder / "images" / "a.png")
    photo(devkit / "JPEGImages" / "a.jpg")


def write_yolov5(path: Path) -> None:
    """A checkpoint of YOLOv5's trainer, whose classes need not be there: a convolution, a head."""
    modules = {name: ModuleType(name) for name in ("models", "models.common", "models.yolo")}
    made: dict[str, nn.Module] = {}
    for name in ("models.common.Conv", "models.yolo.Detect", "models.yolo.Model"):
        module, _, last = name.rpartition(".")
        kind = type(last, (nn.Module,), {"__module__": module})
        setattr(modules[module], last, kind)
        made[last] = kind()
    torch.manual_seed(0)
    conv, head, model = made["Conv"], made["Detect"], made["Model"]
    conv.conv = nn.Conv2d(3, 4, 3, 8, 1, bias=False)
    conv.bn, conv.act = nn.BatchNorm2d(4), nn.ReLU()
    head.m = nn.ModuleList([nn.Conv2d(4, 8, 1)])
    head.register_buffer("anchors", torch.tensor([[[1.0, 2.0]]]))
    attributes = {"nc": 3, "stride": torch.tensor([8.0]), "f": [-1]}
    vars(head).update(attributes)
    vars(conv)["f"] = -1
    model.model = nn.Sequential(conv, head)
    vars(model).update({"yaml": {"nc": 3, "ch": 3}, "names": list(NAMES)})
    with patch.dict(sys.modules, modules):
        torch.save({"model": model.half(), "ema": None, "train_args": {"imgsz": 32}}, path)


def damage(path: Path, rng: np.random.Generator) -> None:
    """Change bits, bytes, lines or numbers in a file, once or twice."""
    data = path.read_bytes()
    for _ in range(rng.integers(1, 3)):
        at = int(rng.integers(len(data) + 1))
        end = at + int(rng.integers(1, 64))
        lines = data.split(b"\n")
        line = int(rng.integers(len(lines)))
        match rng.integers(5):
            case 0 if data:
                at = min(at, len(data) - 1)
                data = data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :]
            case 1:
                data = data[:at]
            case 2:
                data = data[:at] + rng.bytes(end - at) + data[end:]
            case 3:
                data = b"\n".join(lines[:line] + lines[line:][: rng.integers(3)] + lines[line:])
            case _:
                tokens = list(re.finditer(rb"[\w.-]+", data)) or [re.match(b"", data)]
                token = tokens[rng.integers(len(tokens))]
                assert token is not None
                odd = ODD[rng.integers(len(ODD))].encode()
                data = data[: token.start()] + odd + data[token.end() :]
    path.write_bytes(data)


def start(argv: tuple[str, ...], case: Path) -> int:
    """A command in a child of this process, with limits; its output goes to a file.

    The child leads a process group, so that `end` also reaches what it has started.
    """
    child = os.fork()
    if child:
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpgid(child, child)
        return child
    os.setpgid(0, 0)
    for which, most in (
        (resource.RLIMIT_CPU, SECONDS),
        (resource.RLIMIT_FSIZE, DISK),
        (resource.RLIMIT_AS, MEMORY),
    ):
        resource.setrlimit(which, (most, most))
    signal.alarm(2 * SECONDS)
    os.chdir(case)
    file = os.open(f"{case}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    status = 70
    try:
        status = call(argv)
    except BaseException:  # a child must not go on as its parent
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(status)


def end(child: int) -> int:
    """Wait for a child of `start` and kill what it has left behind; returns its status."""
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return status


def run(argv: tuple[str, ...], case: Path) -> tuple[int, str]:
    """Status and output of a command."""
    status = end(start(argv, case))
    return status, Path(f"{case}.log").read_text(errors="replace")


def verdict(status: int, said: str, case: Path) -> str:
    """How a call ended: "result" and "refused" are as they should be."""
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    if "Traceback" in said or status not in (0, 2):
        return "crash"
    if status == 2 and len(errors) != 1:
        return "not one line"
    if any(path.name.startswith(".") for path in case.rglob("*")):
        return "half-written"
    return "result" if status == 0 else "refused"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="cases")
    parser.add_argument("--seed", type=int, default=0, help="of the first; the n-th has seed + n")
    options = parser.parse_args()
    torch.set_num_threads(1)
    table: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as place:
        good = write_good(Path(place) / "good")
        for seed in range(options.seed, options.seed + options.count):
            rng = np.random.default_rng(seed)
            file = list(CALLS)[rng.integers(len(CALLS))]
            case = Path(place) / f"{seed}"
            shutil.copytree(good, case)
            damage(case / file, rng)
            status, said = run(CALLS[file], case)
            end = verdict(status, said, case)
            table[end] += 1
            if end not in ("result", "refused"):
                print(
                    f"--seed {seed} --count 1: {file}: {end}, {status}: {said[-400:]}", flush=True
                )
            shutil.rmtree(case)
    print(dict(table))
    return int(not table.keys() <= {"result", "refused"})


if __name__ == "__main__":
    sys.exit(main())
