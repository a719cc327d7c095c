"""Good files of every format, small enough to run a tool on in a second, and the tool that reads each."""

import json
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

from helpers.classifying import write_data, write_network
from helpers.tiny import NAMES, photo, run_tool, write_tiny

from spiking_yolo.convert.registry import get_recipe

T = ("--T", "2", "--project", "out")
PLAIN = (*T, "--method", "p-norm")


@dataclass(frozen=True)
class Subject:
    """The file to damage, below the folder of a case, and what is then called there."""

    file: str
    call: tuple[str, ...]


_DETECT = ("detect", "photos/a.png", "--weights")
_EVAL = ("eval", "--weights", "tiny.weights", *PLAIN, "--data")
_TRAIN = ("train", "--task", "classify", "--model", "resnet20", "--epochs", "2", "--batch", "8", "--device", "cpu")
SUBJECTS = {
    "cfg": Subject("tiny.cfg", (*_DETECT, "tiny.weights", *PLAIN)),
    "weights": Subject("tiny.weights", (*_DETECT, "tiny.weights", *PLAIN)),
    "names": Subject("tiny.names", (*_DETECT, "tiny.weights", *PLAIN)),
    "statistics": Subject("tiny.64.statistics.safetensors", (*_DETECT, "tiny.weights", *PLAIN)),
    "network": Subject("net.safetensors", (*_DETECT, "net.safetensors", *T, "--overlay")),
    "recipe": Subject("recipe.json", (*_DETECT, "tiny.weights", *T, "--method", "recipe.json")),
    "image": Subject("photos/a.png", (*_DETECT, "tiny.weights", *PLAIN, "--save-txt")),
    "photograph": Subject("photos/c.jpg", ("detect", "photos/c.jpg", "--weights", "tiny.weights", *PLAIN)),
    "checkpoint": Subject(
        "ann.safetensors", ("calibrate", "--weights", "ann.safetensors", "--data", "set", "--method", "p-norm")
    ),
    "tar": Subject("set.tar", ("classify", "--weights", "ann.safetensors", *PLAIN, "--data", "set.tar")),
    "coco": Subject("instances.json", (*_EVAL, "instances.json", "--images", "photos")),
    "yaml": Subject("data.yaml", (*_EVAL, "data.yaml")),
    "labels": Subject("labels/a.txt", (*_EVAL, "data.yaml")),
    "state": Subject(
        "out/t/state.pt", (*_TRAIN, "--data", "set", "--project", "out", "--name", "t", "--resume", "out/t")
    ),
}


def write_all(folder: Path) -> None:
    """Every good file. Runs a few tools, so it takes some seconds."""
    weights = write_tiny(folder)
    photo(folder / "photos" / "c.jpg")
    (folder / "recipe.json").write_text(get_recipe("p-norm").to_json())
    run_tool("convert", "--weights", weights, "--method", "p-norm", "--output", folder / "net.safetensors")
    images = [{"id": 1, "file_name": "a.png", "width": 80, "height": 48}]
    boxes = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [3, 4, 20, 30], "area": 600, "iscrowd": 0}]
    kinds = [{"id": i, "name": name} for i, name in enumerate(NAMES, 1)]
    coco = {"images": images, "annotations": boxes, "categories": kinds}
    (folder / "instances.json").write_text(json.dumps(coco))
    (folder / "data.yaml").write_text(f"path: .\nval: images\nnames: [{', '.join(NAMES)}]\nnc: {len(NAMES)}\n")
    (folder / "labels").mkdir()
    (folder / "labels" / "a.txt").write_text("0 0.5 0.5 0.25 0.5\n1 0.25 0.5 0.125 0.25\n")
    shutil.copytree(folder / "photos", folder / "images")
    checkpoint = write_network(folder / "ann.safetensors")
    write_data(folder / "set", checkpoint, 4, 4)
    with tarfile.open(folder / "set.tar", "w") as tar:
        tar.add(folder / "set", ".")
    run_tool("calibrate", "--weights", checkpoint, "--data", folder / "set", "--method", "p-norm")
    train = [*_TRAIN[1:], "--data", folder / "set", "--project", folder / "out", "--name", "t"]
    run_tool("train", *(["1" if part == "2" else part for part in train]))
