"""The COCO reader, the id mapping and the common record, on small files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spiking_yolo.data.annotations import (
    VOC_NAMES,
    load_coco,
    load_coco_json,
    match_names,
    matched_classes,
)
from spiking_yolo.data.datasets import DetectionSet, Sample
from spiking_yolo.errors import UserError

ROOT = Path(__file__).parents[2]
DARKNET_NAMES = tuple((ROOT / "weights" / "coco.names").read_text().split("\n")[:80])


def content() -> dict[str, Any]:
    images = [
        {"id": 7, "file_name": "a.jpg", "width": 100, "height": 80},
        {"id": 3, "file_name": "b.jpg", "width": 60, "height": 50},
    ]
    dog = {"id": 1, "image_id": 7, "category_id": 18, "bbox": [10, 20, 30, 40], "iscrowd": 0}
    person = {"id": 2, "image_id": 7, "category_id": 1, "bbox": [0, 0, 5, 5], "iscrowd": 1}
    categories = [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}]
    annotations = [{**dog, "area": 900.5}, person]
    return {"images": images, "annotations": annotations, "categories": categories}


def official(root: Path, data: object, files: tuple[str, ...] = ("a.jpg", "b.jpg")) -> Path:
    for folder in ("annotations", "val2017"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(data))
    for name in files:
        (root / "val2017" / name).touch()
    return root


def test_official_layout(tmp_path: Path) -> None:
    data = load_coco(official(tmp_path, content()), "val2017")
    assert (data.name, data.classes, data.category_ids) == ("val2017", ("dog", "person"), (18, 1))
    assert data.notes == [] and data.has_ids
    a, b = data.samples
    assert (a.image_id, a.width, a.height, a.path) == (7, 100, 80, tmp_path / "val2017" / "a.jpg")
    assert a.boxes.tolist() == [[10, 20, 40, 60], [0, 0, 5, 5]] and a.labels.tolist() == [18, 1]
    assert a.area.tolist() == [900.5, 25] and a.ignored.tolist() == [False, True]
    assert b.boxes.shape == (0, 4) and b.labels.dtype == np.int64
    assert data.indexed().samples[0].labels.tolist() == [0, 1]


def test_absent_images_are_noted(tmp_path: Path) -> None:
    data = load_coco(official(tmp_path, content(), ("b.jpg",)), "val2017")
    assert [s.image_id for s in data.samples] == [3]
    assert len(data.notes) == 1 and "1 of 2" in data.notes[0] and "a.jpg" in data.notes[0]


def damaged(part: str, index: int, **entries: Any) -> Any:
    """The content with other entries in one place; None takes an entry out."""
    raw = content()
    item = {**raw[part][index], **entries}
    raw[part][index] = {key: value for key, value in item.items() if value is not None}
    return raw


def test_what_is_not_coco_is_refused(tmp_path: Path) -> None:
    for data, says in (
        ([1, 2], "Expected `object`"),
        ({**content(), "images": [], "annotations": []}, "no images"),
        (damaged("images", 1, width=None), "field `width`"),
        (damaged("images", 1, width=0), "int` >= 1"),
        (damaged("images", 1, id=7), "twice"),
        (damaged("annotations", 1, category_id=2), r"annotations\[1\].*not listed"),
        (damaged("annotations", 1, bbox=[1, 2, 3]), "bbox"),
        (damaged("annotations", 1, bbox=[1, 2, -3, 4]), "bbox"),
        (damaged("annotations", 1, bbox=[1, 2, 3, float("nan")]), "not the json"),
        (damaged("annotations", 1, area=-1), "area"),
        (damaged("annotations", 1, iscrowd="no"), "iscrowd"),
    ):
        with pytest.raises(UserError, match=says) as caught:
            load_coco(official(tmp_path, data), "val2017")
        assert "instances_val2017.json" in str(caught.value) and "\n" not in str(caught.value)


def of_categories(names: dict[int, str]) -> DetectionSet:
    return DetectionSet("some", tuple(names.values()), [], [], tuple(names), has_ids=True)


def test_other_lists_go_by_name_in_either_spelling() -> None:
    some = of_categories({63: "couch", 9: "TV", 4: "dog"})
    places = matched_classes(some, DARKNET_NAMES)
    assert {i: c for i, c in enumerate(places) if c >= 0} == {57: 0, 62: 1, 16: 2}
    assert matched_classes(some, ("tvmonitor", "zebra", "dog", "sofa")) == (1, -1, 2, 0)
    with pytest.raises(UserError, match=r"'couch' \(2 unknown\)"):
        matched_classes(some, ("dog", "cat"))


def test_two_classes_of_one_name(tmp_path: Path) -> None:
    """A group that an exporter lists beside its class goes, classes with objects are refused."""
    data = content()
    data["categories"].append({"id": 0, "name": "dog"})
    assert load_coco(official(tmp_path, data), "val2017").category_ids == (18, 1)
    with pytest.raises(UserError, match="2 classes called 'tvmonitor'"):
        matched_classes(of_categories({1: "tv", 2: "tvmonitor"}), ("tv",))


def test_voc_classes_among_the_outputs_of_a_coco_network() -> None:
    indices = match_names(VOC_NAMES, DARKNET_NAMES)
    assert indices == (4, 1, 14, 8, 39, 5, 2, 15, 56, 19, 60, 16, 17, 3, 0, 58, 18, 57, 6, 62)
    assert [DARKNET_NAMES[i] for i in indices] == list(VOC_NAMES)
    to_voc = match_names(DARKNET_NAMES, VOC_NAMES)
    assert to_voc[16] == VOC_NAMES.index("dog") and to_voc[22] == -1
    assert sum(i >= 0 for i in to_voc) == 20


def test_as_coco_is_coco(tmp_path: Path) -> None:
    """Written and read again, a set has the same boxes, names and flags."""
    corners = [(1, 2, 11, 22), (0, 0, 4, 4)]
    sample = Sample.of("x", Path("a.jpg"), (50, 40), corners, [1, 0], ignored=[False, True])
    (tmp_path / "a.jpg").touch()
    content = DetectionSet("one", ("cat", "dog"), [sample], []).as_coco().annotations
    (tmp_path / "instances.json").write_text(json.dumps(content))
    again = load_coco_json(tmp_path / "instances.json")
    assert again.classes == ("cat", "dog") and again.category_ids == (1, 2)
    (back,) = again.samples
    assert back.boxes.tolist() == sample.boxes.tolist() and back.labels.tolist() == [2, 1]
    assert again.as_coco().annotations["annotations"][0]["category_id"] == 2
    assert back.ignored.tolist() == [False, True] and back.area.tolist() == [200, 16]
