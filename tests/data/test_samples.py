"""The sample photographs and their annotations: a valid COCO set, official ids, boxes inside the
pictures.
"""

from pathlib import Path

import pytest
from PIL import Image
from pycocotools.coco import COCO

SAMPLES = Path(__file__).parents[2] / "data" / "samples"


@pytest.fixture(scope="module")
def coco() -> COCO:
    return COCO(str(SAMPLES / "instances.json"))


def test_every_photograph_is_listed_with_its_true_size(coco):
    listed = {i["file_name"]: (i["width"], i["height"]) for i in coco.dataset["images"]}
    actual = {p.name: Image.open(p).size for p in SAMPLES.glob("*.jpg")}
    assert listed == actual
    assert len(coco.imgs) == len(actual) == 5


def test_boxes_lie_inside_their_photographs(coco):
    assert len(coco.anns) == len(coco.dataset["annotations"])
    for a in coco.anns.values():
        x, y, w, h = a["bbox"]
        image = coco.imgs[a["image_id"]]
        assert x >= 0 and y >= 0 and w > 0 and h > 0
        assert x + w <= image["width"] and y + h <= image["height"]
        assert a["area"] == w * h and a["iscrowd"] == 0
