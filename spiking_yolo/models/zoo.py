"""The networks that are known to work, by name. Imports nothing heavy."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spiking_yolo.errors import UserError
from spiking_yolo.io.assets import command, shipped
from spiking_yolo.io.names import did_you_mean


@dataclass(frozen=True)
class ZooNetwork:
    """file: in the weights folder, or as its source calls it. imgsz: of the input, as published.
    shipped: whether the file comes with this repository; if not, `source` says where to get it.
    """

    name: str
    file: str
    task: str
    imgsz: str
    activation: str
    licence: str
    source: str
    shipped: bool = True


_OURS, _YOLO = "this project's repository", "YOLO licence (do as you please)"
_FASTEST, _NANO = "github.com/dog-qiuqiu/Yolo-Fastest", "github.com/dog-qiuqiu/MobileNet-Yolo"
_V5 = "github.com/ultralytics/yolov5/releases"
ZOO: tuple[ZooNetwork, ...] = (
    ZooNetwork(
        "yolov3-tiny",
        "yolov3-tiny.weights",
        "COCO",
        "416",
        "leaky",
        "public domain",
        "pjreddie.com/darknet",
    ),
    ZooNetwork(
        "yolo-fastest", "yolo-fastest-1.1.weights", "COCO", "320", "leaky, linear", _YOLO, _FASTEST
    ),
    ZooNetwork(
        "yolo-fastest-xl",
        "yolo-fastest-1.1-xl.weights",
        "COCO",
        "320",
        "leaky, linear",
        _YOLO,
        _FASTEST,
    ),
    ZooNetwork(
        "yolov3-nano",
        "MobileNetV2-YOLOv3-Nano-coco.weights",
        "COCO",
        "320",
        "ReLU, linear",
        _YOLO,
        _NANO,
    ),
    ZooNetwork(
        "yolov3-nano-voc",
        "MobileNetV2-YOLOv3-Nano-voc.weights",
        "VOC",
        "320",
        "ReLU, linear",
        _YOLO,
        _NANO,
    ),
    ZooNetwork("yolov1-voc", "yolov1-voc.safetensors", "VOC", "288x416", "ReLU", "MIT", _OURS),
    ZooNetwork("resnet20", "resnet20-cifar10.safetensors", "CIFAR-10", "32", "ReLU", "MIT", _OURS),
    ZooNetwork("vgg16", "vgg16-cifar10.safetensors", "CIFAR-10", "32", "ReLU", "MIT", _OURS),
    ZooNetwork("vgg-thin", "vgg-thin-cifar10.safetensors", "CIFAR-10", "32", "ReLU", "MIT", _OURS),
    ZooNetwork("yolov5n", "yolov5n.pt", "COCO", "640", "SiLU", "AGPL-3.0", _V5, False),
)
_HEADER: tuple[str, ...] = (
    *("name", "input", "ANN", "T=1", "minus ANN", "digits", "T=8", "digits"),
    *("measured on", "--set", "activations", "file", "licence", "source"),
)
_NOTES = (
    (
        "ANN, T=1: AP50 of the original and of the default method in percent (top-1 on CIFAR-10); n"
        " photographs."
    ),
    "minus ANN: 95 % interval of the difference, 1,000 resamplings of the photographs.",
    (
        "The default has settled after T=1, and T=4 and T=16 are the same. T=8: with --set"
        " encoding.refine=1 and --set encoding.refine_by=0.5."
    ),
    "* VOC 2012 val is training data for this network: the difference counts, the figures do not.",
    (
        "digits: operations of the default per multiply-accumulate of the ANN. The commands are in"
        " docs/results/zoo.md."
    ),
)


def located(weights: str | Path) -> Path:
    """The file that --weights means: a path, or the name of a network of the zoo.

    A file of that name comes first. Raises UserError for a network that is not shipped, or not
    installed.
    """
    path, wanted = Path(weights), str(weights).lower()
    if os.path.isfile(path):
        return path
    network = next((n for n in ZOO if wanted in (n.name, Path(n.file).stem.lower())), None)
    network = network or next((n for n in ZOO if not n.shipped and wanted == n.file), None)
    is_name = not path.suffix and not os.path.exists(path)
    if network is None and is_name and (hint := did_you_mean(wanted, (n.name for n in ZOO))):
        raise UserError(f"there are no weights {weights}{hint}")
    if network is None:
        return path
    if not network.shipped:
        raise UserError(
            f"{network.name} is not shipped ({network.licence}): fetch {network.file} from"
            f" {network.source} and give its path, --weights {network.file}"
        )
    found = shipped("weights") / network.file
    if not found.is_file():
        cfg = f" and {Path(network.file).stem}.cfg" if network.file.endswith(".weights") else ""
        images = "--data DATA" if network.task == "CIFAR-10" else "--images DIR"
        raise UserError(
            f"{network.file} comes with a checkout and not with an installation: fetch it{cfg} from"
            f" {network.source} and run `{command('calibrate')} --weights {network.file} {images}`,"
            " or use a checkout"
        )
    return found


def measured() -> list[dict[str, Any]]:
    """Of a network's "name", with what is "set", and at another "imgsz": what it was measured "on",
    figures in percent.

    ann, snn: of the ANN, and of the default method at T = 1 for its digits; interval: of their
    difference. refined, refined_digits: at T = 8 with spikes that become finer. The commands are in
    docs/results/zoo.md.
    """
    return json.loads(Path(__file__).with_suffix(".json").read_text())


def zoo_text() -> str:
    """The table of `spiking-yolo zoo`."""
    rows = [_HEADER]
    for n in ZOO:
        file = n.file if n.shipped else f"{n.file} (not shipped)"
        for own in (row for row in measured() if row["name"] == n.name):
            low, high = own["interval"]
            first = (
                f"{own['ann']:.1f}",
                f"{own['snn']:.1f}",
                f"[{low:.1f}, {high:.1f}]",
                f"{own['digits']:.2f}",
            )
            settled = (
                f"{own['refined']:.1f}",
                f"{own['refined_digits']:.2f}",
                own["on"],
                own.get("set", "-"),
            )
            rows.append(
                (
                    n.name,
                    own.get("imgsz", n.imgsz),
                    *first,
                    *settled,
                    n.activation,
                    file,
                    n.licence,
                    n.source,
                )
            )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join([*lines, "", *_NOTES])
