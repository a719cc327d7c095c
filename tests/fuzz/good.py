"""Good files of every format, as small as they can be."""

import json
import sys
import tarfile
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import torch
from helpers.calibrating import calibrate_on
from helpers.classifying import write_data, write_network
from helpers.onnx_exports import Anchored, export
from helpers.tiny import NAMES, YOLO, photo, run_tool, write_tiny
from torch import nn

from spiking_yolo.convert.methods import get_recipe

TRAIN = (
    "train",
    "--task",
    "classify",
    "--model",
    "resnet20",
    "--batch",
    "8",
    "--device",
    "cpu",
    "--no-calibrate",
)
VOC = (
    "<annotation><size><width>80</width><height>48</height><depth>3</depth></size>\n<object><name>cat</name>\n"
    "<difficult>0</difficult>\n<bndbox>\n<xmin>4</xmin><ymin>5</ymin><xmax>24</xmax><ymax>35</ymax></bndbox></object>\n"
    "</annotation>\n"
)


def write_detector(folder: Path) -> None:
    """A darknet detector, what belongs to it, a YOLOv5 as .pt and as .onnx, photographs, and the
    boxes in them in every format.
    """
    folder.mkdir()
    weights = write_tiny(folder, cfg=YOLO.replace("=64", "=32"))
    photo(folder / "photos" / "c.jpg")
    (folder / "recipe.json").write_text(get_recipe("p-norm").to_json())
    run_tool(
        "export",
        "--weights",
        weights,
        "--method",
        "p-norm",
        "--output",
        folder / "net.safetensors",
    )
    write_yolov5(folder / "yolo.pt")
    if find_spec("onnx"):
        torch.manual_seed(0)
        export(Anchored(nn.ReLU()), folder / "yolo.onnx")
    calibrate_on(folder / "yolo.pt", [str(folder / "photos" / "a.png")])
    write_boxes(folder)


def write_boxes(folder: Path) -> None:
    """Annotations of a photograph in COCO's, VOC's and YOLO's formats, and predictions."""
    images = [{"id": 1, "file_name": "a.png", "width": 80, "height": 48}]
    boxes = [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 1,
            "bbox": [3, 4, 20, 30],
            "area": 600,
            "iscrowd": 0,
        }
    ]
    kinds = [{"id": i, "name": name} for i, name in enumerate(NAMES, 1)]
    coco = {"images": images, "annotations": boxes, "categories": kinds}
    (folder / "instances.json").write_text(json.dumps(coco))
    found = [
        {"image_id": "a", "category_id": name, "bbox": [3, 5, 20, 28], "score": 0.5}
        for name in NAMES[:2]
    ]
    (folder / "predictions.json").write_text(json.dumps(found))
    (folder / "data.yaml").write_text(
        f"path: .\nval: images\nnames: [{', '.join(NAMES)}]\nnc: {len(NAMES)}\n"
    )
    devkit = folder / "VOCdevkit" / "VOC2012"
    for made in ("labels", "images", "out"):
        (folder / made).mkdir()
    for made in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (devkit / made).mkdir(parents=True)
    (folder / "labels" / "a.txt").write_text("0 0.5 0.5 0.25 0.5\n1 0.25 0.5 0.125 0.25\n")
    photo(folder / "images" / "a.png")
    photo(devkit / "JPEGImages" / "a.jpg")
    (devkit / "Annotations" / "a.xml").write_text(VOC)
    (devkit / "ImageSets" / "Main" / "val.txt").write_text("a\n")


def write_yolov5(path: Path) -> None:
    """A checkpoint of YOLOv5's trainer, whose classes need not be there: one convolution and a
    head.
    """
    modules = {name: ModuleType(name) for name in ("models", "models.common", "models.yolo")}

    def of(name: str) -> nn.Module:
        module, _, last = name.rpartition(".")
        kind = type(last, (nn.Module,), {"__module__": module})
        setattr(modules[module], last, kind)
        return kind()

    torch.manual_seed(0)
    conv, head, model = of("models.common.Conv"), of("models.yolo.Detect"), of("models.yolo.Model")
    conv.conv, conv.bn, conv.act = (
        nn.Conv2d(3, 4, 3, 8, 1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
    )
    head.m = nn.ModuleList([nn.Conv2d(4, 8, 1)])
    head.register_buffer("anchors", torch.tensor([[[1.0, 2.0]]]))
    head.nc, head.stride = 3, torch.tensor([8.0])
    conv.f, head.f = -1, [-1]
    model.model, model.yaml, model.names = (
        nn.Sequential(conv, head),
        {"nc": 3, "ch": 3},
        list(NAMES),
    )
    with patch.dict(sys.modules, modules):
        torch.save(
            {"epoch": 1, "model": model.half(), "ema": None, "train_args": {"imgsz": 32}}, path
        )


def write_classifier(folder: Path) -> None:
    """A checkpoint of ours with activation statistics, its images, and the same as a tar file."""
    folder.mkdir()
    checkpoint = write_network(folder / "ann.safetensors")
    write_data(folder / "set", checkpoint, 4, 4)
    with tarfile.open(folder / "set.tar", "w") as tar:
        tar.add(folder / "set", ".")
    run_tool("calibrate", "--weights", checkpoint, "--data", folder / "set", "--method", "p-norm")


def write_training(folder: Path) -> None:
    """A training of one epoch, which has finished."""
    folder.mkdir()
    checkpoint = write_network(folder / "ann.safetensors")
    write_data(folder / "set", checkpoint, 4, 4)
    checkpoint.unlink()
    run = partial(
        run_tool, *TRAIN, "--data", folder / "set", "--project", folder / "out", "--name", "t"
    )
    assert run("--epochs", "1") == 0
