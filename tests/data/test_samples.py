"""The sample photographs and their annotations: a valid COCO set, official ids, boxes inside the
pictures.
"""

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

SAMPLES = Path(__file__).parents[2] / "data" / "samples"
OFFICIAL = {
    1: "person",
    2: "bicycle",
    4: "motorcycle",
    8: "truck",
    16: "bird",
    18: "dog",
    19: "horse",
    24: "zebra",
    25: "giraffe",
}


@pytest.fixture(scope="module")
def coco() -> COCO:
    return COCO(str(SAMPLES / "instances.json"))


def test_every_photograph_is_listed_with_its_true_size(coco):
    listed = {i["file_name"]: (i["width"], i["height"]) for i in coco.dataset["images"]}
    actual = {p.name: Image.open(p).size for p in SAMPLES.glob("*.jpg")}
    assert listed == actual
    assert len(coco.imgs) == len(actual) == 5


def test_categories_are_the_official_ones(coco):
    assert {c["id"]: c["name"] for c in coco.dataset["categories"]} == OFFICIAL
    assert {a["category_id"] for a in coco.dataset["annotations"]} == set(OFFICIAL)


def test_boxes_lie_inside_their_photographs(coco):
    assert len(coco.anns) == len(coco.dataset["annotations"])
    for a in coco.anns.values():
        x, y, w, h = a["bbox"]
        image = coco.imgs[a["image_id"]]
        assert x >= 0 and y >= 0 and w > 0 and h > 0
        assert x + w <= image["width"] and y + h <= image["height"]
        assert a["area"] == w * h and a["iscrowd"] == 0


@pytest.mark.parametrize(
    ("photo", "content"),
    [
        ("dog", {"dog": 1, "bicycle": 1, "truck": 1, "motorcycle": 1}),
        ("eagle", {"bird": 1}),
        ("giraffe", {"giraffe": 1, "zebra": 1}),
        ("horses", {"horse": 6}),
        ("person", {"person": 1, "dog": 1, "horse": 1}),
    ],
)
def test_what_each_photograph_shows(coco, photo, content):
    (image_id,) = (i for i, v in coco.imgs.items() if v["file_name"] == f"{photo}.jpg")
    found = (OFFICIAL[a["category_id"]] for a in coco.imgToAnns[image_id])
    assert Counter(found) == content


def test_the_boxes_themselves_score_a_perfect_ap(coco):
    truth = [{**a, "score": 0.9} for a in coco.dataset["annotations"]]
    scorer = COCOeval(coco, coco.loadRes(truth), "bbox")
    scorer.evaluate()
    scorer.accumulate()
    scorer.summarize()
    assert scorer.stats[0] == pytest.approx(1.0)
