"""The tools, small files for them to work on, and calls that take a second or some."""

import json
from dataclasses import dataclass
from pathlib import Path

from helpers import classifying, evaluating
from helpers.tiny import photo, write_tiny
from helpers.video import walk, write_frames, write_images


@dataclass(frozen=True)
class Tool:
    """A call that writes below out/, and what to add to go on with it; without that it is called
    again.
    """

    call: tuple[str, ...]
    resume: tuple[str, ...] = ()


OUT = ("--project", "out")
TINY = ("--weights", "tiny.weights", "--method", "p-norm")
SCENE = ("--weights", "net.weights", "--data", "instances.json", "--images", "images")
LATEST = ("--resume", "latest")
FILES = ("--save-json", "--save-txt", "--save-mot", "--timeline")
CLASSES = ("--weights", "class.safetensors")
QUICK = ("--set", "calibration.steps=2")
TRAIN = ("--imgsz", "64", "--batch", "4", "--epochs", "2", "--val-every", "1", "--device", "cpu",
         "--no-calibrate", *OUT)  # fmt: skip
MODES = ("--modes", "ann,stream", "--bootstrap", "9")
PARTS = ("--parts", "steps")
TOOLS = {
    "detect": Tool(("detect", "photos", "v.mp4", *TINY, *OUT, "--T", "2", *FILES, "--exist-ok")),
    "eval": Tool(("eval", *SCENE, *OUT, "--method", "p-norm", "--T", "8", "--report"), LATEST),
    "compare": Tool(("eval", *SCENE, *OUT, "--method", "p-norm,channel-norm", "--T", "8"), LATEST),
    "classify": Tool(
        ("eval", *CLASSES, "--data", "set", *OUT, "--method", "p-norm", "--T", "4"), LATEST
    ),
    "eval-video": Tool(
        (
            "eval-video",
            "--data",
            "walk",
            *TINY[:2],
            *OUT,
            "--modes",
            "ann,stream",
            "--bootstrap",
            "9",
        ),
        LATEST,
    ),
    "train classify": Tool(
        ("train", "--task", "classify", "--model", "resnet20", "--data", "set", *TRAIN), LATEST
    ),
    "train detect": Tool(
        ("train", "--task", "detect", "--model", "yolov1", "--data", "data.yaml", *TRAIN), LATEST
    ),
    "calibrate": Tool(
        ("calibrate", "--weights", "net.weights", "--images", "images", "--method", "spike-norm")
    ),
    "export": Tool(("export", *TINY, "--output", "out/net.safetensors", "--overwrite")),
    "report": Tool(("report", "photos", *TINY, *OUT, "--T", "4")),
    "report VIDEO": Tool(("report", "v.mp4", *TINY[:2], *OUT)),
    "score": Tool(
        (
            "score",
            *SCENE[2:4],
            "--predictions",
            "found.json",
            "--output",
            "out/s.json",
            "--bootstrap",
            "99",
        )
    ),
    "analyze": Tool(("analyze", "--data", "photos", *TINY, *OUT, "--T", "8")),
    "benchmark": Tool(
        ("benchmark", "--images", "photos", *TINY, *OUT, "--T", "4", "--repeats", "1", *PARTS)
    ),
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
    rows = [
        {k: box[k] for k in ("image_id", "category_id", "bbox")} | {"score": 0.5} for box in boxes
    ]
    (folder / "found.json").write_text(json.dumps(rows))
