"""Photographs whose objects are what the ANN of a small random detector finds."""

import json
from pathlib import Path
from typing import Any

from helpers.tiny import NAMES, photo, write_tiny
from spiking_yolo.data.images import preprocess, read_image
from spiking_yolo.decode.selection import Selection
from spiking_yolo.graph import forward
from spiking_yolo.models.load import load_ann


def results(folder: Path) -> dict[str, Any]:
    """What a run of `eval` has left."""
    return json.loads((folder / "results.json").read_text())


def make_scene(folder: Path, n: int = 6) -> tuple[Path, Path]:
    """(weights, images/instances.json) in `folder`: the objects are some of the ANN's own boxes, so that
    its mAP is not 0.
    """
    (folder / "images").mkdir()
    places = [folder / "images" / f"{k:03d}.png" for k in range(n)]
    photos = [photo(place, k, 40 + 3 * k, 36) for k, place in enumerate(places)]
    weights = write_tiny(folder)
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
