"""Scores of boxes: pycocotools' twelve figures of a known set, VOC's rule by hand, files of
predictions.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.evaluating import make_scene
from helpers.tiny import run_tool

from spiking_yolo.apps.evaluate import EvalOptions
from spiking_yolo.apps.evaluate.run import score_predictions
from spiking_yolo.apps.evaluate.scoring import CocoScorer, VocScorer, detection_classes
from spiking_yolo.apps.evaluate.table import Table
from spiking_yolo.data.coco import VOC_NAMES, load_coco
from spiking_yolo.data.detection import DetectionSet, Sample
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.errors import UserError
from spiking_yolo.models.load import load_ann

# image, category, box, crowd or score: small, medium and large, a crowd, a duplicate, boxes in the
# wrong image
TRUTH: list[tuple[Any, ...]] = [
    (1, 1, [10, 10, 100, 200], 0),
    (1, 1, [200, 50, 40, 40], 0),
    (1, 1, [300, 300, 300, 150], 1),
    (2, 1, [50, 50, 20, 20], 0),
    (2, 18, [100, 100, 200, 200], 0),
    (3, 18, [0, 0, 31, 31], 0),
    (3, 90, [400, 200, 60, 10], 0),
]
FOUND: list[tuple[Any, ...]] = [
    (1, 1, [12, 8, 100, 200], 0.95),
    (1, 1, [205, 55, 40, 40], 0.8),
    (1, 1, [320, 320, 50, 50], 0.7),
    (1, 1, [500, 10, 60, 60], 0.6),
    (2, 1, [52, 52, 20, 20], 0.9),
    (2, 1, [50, 50, 20, 20], 0.85),
    (2, 18, [110, 110, 200, 200], 0.75),
    (2, 18, [90, 90, 260, 200], 0.74),
    (3, 18, [0, 0, 31, 31], 0.3),
    (3, 18, [100, 300, 20, 20], 0.55),
    (3, 90, [402, 200, 60, 10], 0.5),
    (3, 1, [10, 10, 10, 10], 0.2),
]
STATS = [0.698047, 0.889439, 0.768977, 0.7, 0.3, 0.8]
STATS += [0.561111, 0.827778, 0.827778, 0.966667, 0.3, 0.8]
NAMES = {1: "person", 18: "dog", 90: "toothbrush"}


def rows(found: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    return [{"image_id": i, "category_id": c, "bbox": box, "score": s} for i, c, box, s in found]


def truth(objects: list[tuple[Any, ...]]) -> dict[str, Any]:
    annotations = []
    for k, (i, c, box, crowd) in enumerate(objects, 1):
        one = {"id": k, "image_id": i, "category_id": c, "bbox": box, "iscrowd": crowd}
        annotations.append({**one, "area": box[2] * box[3]})
    images = [{"id": i, "width": 640, "height": 480, "file_name": f"p{i}.jpg"} for i in (1, 2, 3)]
    categories = [{"id": c, "name": name} for c, name in NAMES.items()]
    return {"images": images, "categories": categories, "annotations": annotations}


def scored(folder: Path, found: Any, objects: Any = TRUTH, **options: Any) -> Table:
    (folder / "dt.json").write_text(found if isinstance(found, str) else json.dumps(found))
    (folder / "gt.json").write_text(json.dumps(truth(objects)))
    own = {"predictions": folder / "dt.json", "data": folder / "gt.json"}
    return score_predictions(EvalOptions(**own, **options))


def test_the_figures_of_coco(tmp_path: Path):
    table = scored(tmp_path, rows(FOUND), bootstrap=50)
    (row,) = table.rows
    assert list(row.figures.values()) == pytest.approx(STATS, abs=1e-6)
    classes = {"person": 0.915842, "dog": 0.752475, "toothbrush": 1.0}
    assert row.per_class == pytest.approx(classes, abs=1e-6)
    assert row.objects == {"person": 3, "dog": 2, "toothbrush": 1}
    assert table.facts["notes"] == ["12 boxes; 0 of 3 images have none"]
    interval = row.intervals["mAP50"]
    assert interval.low < interval.value == row.figures["mAP50"] < interval.high
    lines = [line.split() for line in table.text(per_class=True).splitlines()]
    assert ["mAP50-95", "69.8"] in lines and ["dog", "2", "75.2"] in lines


def test_images_and_classes_by_name(tmp_path: Path):
    named = []
    for row in rows(FOUND):
        by_name = {"image_id": f"p{row['image_id']}", "category_id": NAMES[row["category_id"]]}
        named.append(row | by_name)
    (one,), (other,) = scored(tmp_path, named).rows, scored(tmp_path, rows(FOUND)).rows
    assert one.figures == other.figures


def test_the_rule_of_voc(tmp_path: Path):
    """Two dogs; by confidence: one found, a duplicate, one found. Precision 1 up to recall 1/2,
    then 2/3.
    """
    dogs = [(1, 18, [10, 10, 100, 100], 0), (2, 18, [20, 20, 60, 60], 0)]
    boxes = [
        (1, 18, [10, 10, 100, 100], 0.9),
        (1, 18, [12, 12, 100, 100], 0.8),
        (2, 18, [20, 20, 60, 60], 0.7),
    ]
    (row,) = scored(tmp_path, rows(boxes), dogs, metric="voc").rows
    assert row.figures["mAP_area"] == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert row.figures["mAP_07"] == pytest.approx((6 + 5 * 2 / 3) / 11)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ("{", "json"),
        ("{}", "list of boxes"),
        ([3], "row 0"),
        ([rows(FOUND)[0] | {"image_id": 9}], "image 9"),
        ([rows(FOUND)[0] | {"image_id": True}], "image True"),
        ([rows(FOUND)[0] | {"category_id": [1]}], "category"),
        ([rows(FOUND)[0] | {"bbox": [1, 2, -3, 4]}], "bbox"),
        ([rows(FOUND)[0] | {"score": "high"}], "score"),
    ],
)
def test_files_that_are_wrong(tmp_path: Path, found: Any, said: str):
    with pytest.raises(UserError, match=said):
        scored(tmp_path, found)


def test_the_command_scores_predictions(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    scored(tmp_path, rows(FOUND))
    call = ("--predictions", tmp_path / "dt.json", "--data", tmp_path / "gt.json")
    assert run_tool("eval", *call, "--project", tmp_path / "runs") == 0
    assert "69.8" in capsys.readouterr().out
    content = json.loads((tmp_path / "runs" / "exp" / "results.json").read_text())
    assert content["ann"]["mAP50-95"] == pytest.approx(STATS[0], abs=1e-6)


def test_figures_of_an_imagenet_of_boxes():
    """Difficult object, duplicate and miss, ranked: npos 2 gives 0.7727 by 11 points and 0.75 by
    area.
    """

    def sample(name: str, boxes: Any, ignored: Any) -> Sample:
        labels = np.zeros(len(boxes))
        return Sample.of(name, Path(name), (500, 500), boxes, labels, ignored)

    a = sample("A", [(10, 10, 50, 50), (60, 60, 100, 100)], [0, 1])
    b = sample("B", [(20, 20, 80, 80)], [0])
    found = [
        [((60, 60, 100, 100), 0.9), ((10, 10, 50, 50), 0.8), ((11, 11, 50, 50), 0.7)],
        [((400, 400, 450, 450), 0.6), ((20, 20, 80, 80), 0.5)],
    ]
    predictions = []
    for row in found:
        xyxy = torch.tensor([box for box, _ in row]).float()
        confidence = torch.tensor([p for _, p in row])
        predictions.append(Detections(xyxy, confidence, torch.zeros(len(row), dtype=torch.int64)))
    scorer = VocScorer(DetectionSet("voc", ("dog",), [a, b], []))
    result = scorer.score([], [predictions])
    assert result.figures["mAP_07"] == pytest.approx(0.7727272727)
    assert result.figures["mAP_area"] == pytest.approx(0.75)
    assert set(result.figures) == {"mAP_area", "mAP_07", "mAP50", "mAP50-95"}


def test_classes_of_a_coco_network_on_voc(tmp_path):
    dataset = DetectionSet("voc", VOC_NAMES, [], [])
    names = (
        "person",
        "kite",
        "dining table",
        *(n for n in VOC_NAMES if n not in ("person", "diningtable")),
    )
    index = detection_classes(dataset, names)
    assert index[0] == VOC_NAMES.index("person") and index[1] == -1
    assert index[2] == VOC_NAMES.index("diningtable")
    with pytest.raises(UserError, match="does not know"):
        detection_classes(dataset, ("person",))


def test_boxes_of_other_classes_take_nobodys_place(tmp_path):
    """max_det counts boxes of classes that the dataset has."""
    weights, path = make_scene(tmp_path, 2)
    content = json.loads(path.read_text())
    content["categories"] = content["categories"][:1]
    content["annotations"] = [a for a in content["annotations"] if a["category_id"] == 10]
    path.write_text(json.dumps(content))
    scorer = CocoScorer(load_coco(tmp_path), load_ann(weights).spec)
    assert scorer.selection and scorer.selection.classes == (0,)
    assert scorer.notes == ["1 of the network's 3 classes are matched with the dataset's 1 by name"]
