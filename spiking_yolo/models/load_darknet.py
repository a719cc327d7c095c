"""A ready network from a darknet .weights file, its cfg and its class names."""

import dataclasses
import warnings
from pathlib import Path

import torch

from spiking_yolo.errors import Notice, UserError
from spiking_yolo.io.assets import YOLOV3_TINY, shipped
from spiking_yolo.io.files import read_text, sha256
from spiking_yolo.models.darknet import DarknetNet
from spiking_yolo.models.darknet_cfg import Section, read_cfg
from spiking_yolo.models.darknet_heads import head_spec
from spiking_yolo.models.darknet_weights import read_weights
from spiking_yolo.models.spec import Spec, numbered

CFG_FOLDER = Path(__file__).parent / "cfg"
WEIGHTS_FOLDER = shipped("weights")
# The same files under other public names.
SAME_CFG = {"tiny-yolov1": "yolov1-tiny", "tiny-yolo-voc": "yolov2-tiny-voc"}
NAMES_FILES = {80: "coco.names", 20: "voc.names"}


def load_darknet(
    weights: str | Path, cfg: str | Path | None = None, names: str | Path | None = None
) -> tuple[DarknetNet, Spec, str]:
    """The network in eval mode, its Spec and the SHA-256 of the weights.

    cfg: by default <stem>.cfg beside the weights, in the package or among the weights that come with it.
    names: by default <stem>.names beside the weights, then coco.names or voc.names (80, 20 classes) there or
    among the weights that come with the package, then "class 0", "class 1", ... Raises UserError for what does not fit.
    """
    weights = Path(weights)
    digest = sha256(weights)
    path = Path(cfg or _find_cfg(weights))
    sections = _published_masks(read_cfg(path), digest)
    try:
        with torch.device("meta"):  # no memory before it is known that the file is as large as the network
            net = DarknetNet(sections)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    classes = {head_spec(net.sections[i]).classes for i in net.head_indices}
    if len(classes) > 1:
        raise UserError(f"{path}: the heads disagree on the number of classes {sorted(classes)}; make them equal")
    read_weights(net, weights)
    count = classes.pop()
    common = [folder / NAMES_FILES[count] for folder in (weights.parent, WEIGHTS_FOLDER) if count in NAMES_FILES]
    beside = (weights.with_suffix(".names"), *common[:1])
    if common and not names and digest != YOLOV3_TINY and not any(path.is_file() for path in beside):
        said = f"{weights} has {count} classes and no names beside it: taking those of {common[1].name}"
        warnings.warn(f"{said}; --names FILE gives others", Notice, stacklevel=2)
    return net.eval(), net.spec(class_names(weights, names, count, *common)), digest


def _find_cfg(weights: Path) -> Path:
    packaged = SAME_CFG.get(weights.stem, weights.stem)
    for path in (weights.with_suffix(".cfg"), *(folder / f"{packaged}.cfg" for folder in (CFG_FOLDER, WEIGHTS_FOLDER))):
        if path.is_file():
            return path
    raise UserError(f"no cfg is known for {weights}; put {weights.stem}.cfg beside it or pass --cfg")


def _published_masks(sections: list[Section], digest: str) -> list[Section]:
    """Give the public yolov3-tiny its own anchors.

    It was trained with mask 1,2,3 on the fine head; the cfg was changed to 0,1,2 later, without new weights.
    """
    last = sections[-1]
    if digest != YOLOV3_TINY or last.kind != "yolo" or last.options.get("mask") != "0,1,2":
        return sections
    warnings.warn(
        "the public yolov3-tiny.weights were trained with mask=1,2,3; not using the cfg's 0,1,2", Notice, stacklevel=3
    )
    return [*sections[:-1], dataclasses.replace(last, options={**last.options, "mask": "1,2,3"})]


def class_names(weights: Path, given: str | Path | None, classes: int, *others: Path) -> tuple[str, ...]:
    """Class names from the file `given`; without it from <stem>.names beside the weights or the first of the others
    that exists; else "class 0", "class 1", ... Raises UserError for a file that does not fit.
    """
    if given:
        return read_names(Path(given), classes)
    path = next((path for path in (weights.with_suffix(".names"), *others) if path.is_file()), None)
    return read_names(path, classes) if path else numbered(classes)


def read_names(path: Path, classes: int) -> tuple[str, ...]:
    """The class names of a text file, one per line. Raises UserError unless there are so many."""
    lines = read_text(path).splitlines()
    names = tuple(line.strip() for line in lines if line.strip())
    if len(names) != classes:
        raise UserError(f"{path} has {len(names)} names, but the network has {classes} classes; pass other names")
    return names
