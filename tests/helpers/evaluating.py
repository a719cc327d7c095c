"""A small random detector on disk, and photographs whose objects are what its ANN finds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from helpers.calibrating import calibrate_on
from helpers.darknet_files import write_weights
from spiking_yolo.data.images import preprocess, read_image
from spiking_yolo.decode.selection import Selection
from spiking_yolo.graph import forward
from spiking_yolo.models.darknet import DarknetNet, read_cfg
from spiking_yolo.models.load import load_ann

NAMES = ("cup", "spoon", "plate")
CFG = (
    "[net]\nwidth=32\nheight=32\nchannels=3\n[convolutional]\nfilters=8\nsize=3\npad=1\nactivation=leaky\n"
    "[maxpool]\nsize=2\nstride=2\n[convolutional]\nfilters=12\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[convolutional]\nfilters=8\nactivation=leaky\n[upsample]\nstride=2\n[route]\nlayers=-1,1\n"
    "[convolutional]\nfilters=16\nactivation=linear\n[yolo]\nmask=0,1\nanchors=8,8, 16,12\nclasses=3\nnum=2\n"
)


def results(folder: Path) -> dict[str, Any]:
    """What a run of `eval` has left."""
    return json.loads((folder / "results.json").read_text())


def make_network(folder: Path, photos: list[Path]) -> Path:
    """A .weights file with its cfg, names and statistics beside it."""
    weights = folder / "net.weights"
    weights.with_suffix(".cfg").write_text(CFG)
    weights.with_suffix(".names").write_text("\n".join(NAMES))
    torch.manual_seed(0)
    net = DarknetNet(read_cfg(weights.with_suffix(".cfg"))).to_empty(device="cpu")
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.BatchNorm2d):
            module.reset_parameters()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(std=0.25)
    write_weights(net, weights)
    calibrate_on(weights, map(str, photos))
    return weights


def make_photos(folder: Path, n: int) -> list[Path]:
    """Coloured noise of several sizes, the same each time."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{k:03d}.png" for k in range(n)]
    for k, path in enumerate(paths):
        coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((40 + 3 * k, 36)).save(path)
    return paths


def make_scene(folder: Path, n: int = 6) -> tuple[Path, Path]:
    """(weights, images/instances.json) in `folder`: the objects are some of the ANN's own boxes, so that
    its mAP is not 0.
    """
    photos = make_photos(folder / "images", n)
    weights = make_network(folder, photos)
    ann = load_ann(weights)
    images, annotations = [], []
    for image_id, path in enumerate(photos, 1):
        x, placement = preprocess(read_image(path), ann.spec)
        outputs = forward(ann.graph, ann.spec.normalised(x[None]))
        selection = Selection(conf=0.05, max_det=9, multi_label=True)
        (found,) = selection.boxes(outputs, ann.spec, [placement])
        width, height = placement.image
        images.append({"id": image_id, "file_name": path.name, "width": width, "height": height})
        for (x1, y1, x2, y2), label in zip(
            found.xyxy[::2].tolist(), found.class_id[::2].tolist(), strict=True
        ):
            box = [x1, y1, x2 - x1, y2 - y1]
            row = {"id": len(annotations) + 1, "image_id": image_id, "bbox": box}
            row |= {"category_id": 10 * (label + 1), "area": box[2] * box[3], "iscrowd": 0}
            annotations.append(row)
    categories = [{"id": 10 * (i + 1), "name": name} for i, name in enumerate(NAMES)]
    path = folder / "images" / "instances.json"
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))
    return weights, path
