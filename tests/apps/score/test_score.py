"""Boxes from a file: pycocotools' twelve figures for a known set, VOC's rule by hand, and files
that are wrong.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from spiking_yolo.apps.score import Score, ScoreOptions, score
from spiking_yolo.cli.main import call
from spiking_yolo.errors import UserError

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
STATS = [
    0.698047,
    0.889439,
    0.768977,
    0.7,
    0.3,
    0.8,
    0.561111,
    0.827778,
    0.827778,
    0.966667,
    0.3,
    0.8,
]


def rows(found: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    return [{"image_id": i, "category_id": c, "bbox": box, "score": s} for i, c, box, s in found]


def truth(objects: list[tuple[Any, ...]]) -> dict[str, Any]:
    names = {1: "person", 18: "dog", 90: "toothbrush"}
    return {
        "images": [
            {"id": i, "width": 640, "height": 480, "file_name": f"photo{i}.jpg"} for i in (1, 2, 3)
        ],
        "categories": [{"id": c, "name": name} for c, name in names.items()],
        "annotations": [
            {
                "id": k,
                "image_id": i,
                "category_id": c,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": crowd,
            }
            for k, (i, c, box, crowd) in enumerate(objects, 1)
        ],
    }


def scored(folder: Path, found: Any, objects: Any = TRUTH, **options: Any) -> Score:
    (folder / "dt.json").write_text(found if isinstance(found, str) else json.dumps(found))
    (folder / "gt.json").write_text(json.dumps(truth(objects)))
    return score(ScoreOptions(predictions=folder / "dt.json", data=folder / "gt.json", **options))


def test_the_figures_of_coco(tmp_path: Path):
    found = scored(tmp_path, rows(FOUND), bootstrap=50)
    assert list(found.figures.values()) == pytest.approx(STATS, abs=1e-6)
    assert found.per_class == pytest.approx(
        {"person": 0.915842, "dog": 0.752475, "toothbrush": 1.0}, abs=1e-6
    )
    assert (found.images, found.boxes) == (3, 12) and found.objects == {
        "person": 3,
        "dog": 2,
        "toothbrush": 1,
    }
    interval = found.intervals["mAP50"]
    assert (
        interval.value == found.figures["mAP50"] and interval.low < interval.value < interval.high
    )
    lines = [line.split() for line in found.text(per_class=True).splitlines()]
    assert ["mAP50-95", "69.8"] in [line[:2] for line in lines] and ["dog", "2", "75.2"] in lines


def test_images_and_classes_by_name(tmp_path: Path):
    names = {1: "person", 18: "dog", 90: "toothbrush"}
    by_name = [
        row | {"image_id": f"photo{row['image_id']}", "category_id": names[row["category_id"]]}
        for row in rows(FOUND)
    ]
    assert scored(tmp_path, by_name).figures == scored(tmp_path, rows(FOUND)).figures


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
    found = scored(tmp_path, rows(boxes), dogs, metric="voc")
    assert found.figures["mAP_area"] == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert found.figures["mAP_07"] == pytest.approx((6 + 5 * 2 / 3) / 11)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ("{", "not readable json"),
        ("[" * 100_000, "not readable json"),
        ("{}", "no list of boxes"),
        ([3], "row 0 needs bbox, category_id"),
        ([rows(FOUND)[0] | {"image_id": 9}], "image 9, which is not in the data"),
        ([rows(FOUND)[0] | {"image_id": True}], "image True"),
        ([rows(FOUND)[0] | {"category_id": [1]}], r"category \[1\]"),
        ([rows(FOUND)[0] | {"bbox": [1, 2, -3, 4]}], "needs a bbox"),
        ([rows(FOUND)[0] | {"bbox": [1, 2, 3]}], "needs a bbox"),
        (
            '[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": NaN}]',
            "NaN is no number",
        ),
        (
            '[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 1e999}]',
            "needs a number as its score",
        ),
        ([rows(FOUND)[0] | {"bbox": [1, 2, 3, True]}], "needs a bbox"),
        ([rows(FOUND)[0] | {"score": "high"}], "needs a number as its score"),
    ],
)
def test_files_that_are_wrong(tmp_path: Path, found: Any, said: str):
    with pytest.raises(UserError, match=said):
        scored(tmp_path, found)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    scored(tmp_path, rows(FOUND))
    paths = ["--predictions", str(tmp_path / "dt.json"), "--data", str(tmp_path / "gt.json")]
    assert call(["score", *paths, "-o", str(tmp_path / "out.json")]) == 0
    assert "12 boxes, 3 images, 0 of them without a box" in capsys.readouterr().out
    assert json.loads((tmp_path / "out.json").read_text())["figures"]["mAP50"] == pytest.approx(
        0.889439, abs=1e-6
    )
    assert (
        call(["score", *paths, "-o", "out.txt"]) == 2
        and "must end in .json" in capsys.readouterr().err
    )
    assert call(["score", "--predictions", "none.json", *paths[2:]]) == 2
    assert "none.json does not exist" in capsys.readouterr().err
