"""Scores of boxes: pycocotools' twelve figures of a known set, VOC's rule by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.coco import EXPECTED, FOUND, OBJECTS, ground_truth
from helpers.evaluating import make_scene

from spiking_yolo.apps.evaluate import EvalOptions
from spiking_yolo.apps.evaluate.scoring import CocoScorer
from spiking_yolo.apps.evaluate.table import Row
from spiking_yolo.data.annotations import load_coco_json
from spiking_yolo.data.datasets import DetectionSet
from spiking_yolo.decode.selection import Selection
from spiking_yolo.models.load import load_ann
from spiking_yolo.models.spec import Spec


def rows(found: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    return [{"image_id": i, "category_id": c, "bbox": box, "score": s} for i, c, *box, s in found]


def truth(objects: list[tuple[Any, ...]]) -> dict[str, Any]:
    content = ground_truth(objects)
    for image in content["images"]:
        image["file_name"] = f"p{image['id']}.jpg"
    return content


def opened(folder: Path, objects: list[tuple[Any, ...]]) -> DetectionSet:
    content = truth(objects)
    (folder / "gt.json").write_text(json.dumps(content))
    for image in content["images"]:
        (folder / image["file_name"]).touch()
    return load_coco_json(folder / "gt.json")


def test_the_figures_of_coco(tmp_path: Path):
    dataset = opened(tmp_path, OBJECTS)
    scored = CocoScorer(dataset, Spec("detect", dataset.classes, 8, 8), Selection()).score_rows(
        rows(FOUND)
    )
    assert list(scored.figures.values()) == pytest.approx(EXPECTED, abs=1e-6)
    classes = {"person": 0.915842, "dog": 0.752475, "toothbrush": 1.0}
    assert scored.per_class == pytest.approx(classes, abs=1e-6)
    assert scored.objects == {"person": 3, "dog": 2, "toothbrush": 1}
    interval = Row.of("a", "b", scored, EvalOptions(bootstrap=50)).resampling
    assert interval is not None
    ends = interval.intervals()["mAP50"]
    assert ends.low < ends.value == scored.figures["mAP50"] < ends.high


def test_boxes_of_other_classes_take_nobodys_place(tmp_path):
    """max_det counts boxes of classes that the dataset has."""
    weights, path = make_scene(tmp_path, 2)
    content = json.loads(path.read_text())
    content["categories"] = content["categories"][:1]
    content["annotations"] = [a for a in content["annotations"] if a["category_id"] == 10]
    path.write_text(json.dumps(content))
    dataset = load_coco_json(path, images=tmp_path / "images")
    scorer = CocoScorer(dataset, load_ann(weights).spec, Selection())
    assert scorer.selection.classes == (0,)
    assert scorer.notes == ["1 of the network's 3 classes are matched with the dataset's 1 by name"]
