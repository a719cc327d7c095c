"""Boxes that any detector found, as a file in COCO's results format."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spiking_yolo.datasets.coco_json import is_box, is_number
from spiking_yolo.errors import UserError
from spiking_yolo.io.typed_json import read_json_file

HINT = "call it as the data do, by its id in an annotation .json (eval writes instances.json) or by its name"
Row = dict[str, Any]  # image_id, category_id, bbox [x, y, width, height] in pixels, score


def read_predictions(path: Path, image_ids: Mapping[Any, Any], category_ids: Mapping[Any, Any]) -> list[Row]:
    """The rows of a results file.

    image_ids, category_ids: those that are known; the rows get what these stand for. Raises UserError, naming the file
    and the first row that is wrong.
    """
    rows = read_json_file(path, "the boxes that were found, a list in COCO's results format")
    if not isinstance(rows, list):
        raise UserError(f"{path} is no list of boxes: pass a file in COCO's results format")
    return [_row(path, n, row, image_ids, category_ids) for n, row in enumerate(rows)]


def _row(path: Path, n: int, row: Any, images: Mapping[Any, Any], categories: Mapping[Any, Any]) -> Row:
    wanted = {"image_id", "category_id", "bbox", "score"}
    if not isinstance(row, dict) or not wanted <= row.keys():
        raise UserError(f"{path}: row {n} needs {', '.join(sorted(wanted))}; correct it")
    image, category = _known(row["image_id"], images), _known(row["category_id"], categories)
    if image is None:
        raise UserError(f"{path}: row {n} is of image {row['image_id']!r}, which is not in the data: {HINT}")
    if category is None:
        raise UserError(f"{path}: row {n} is of category {row['category_id']!r}, which is not in the data: {HINT}")
    box = row["bbox"]
    if not is_box(box):
        raise UserError(f"{path}: row {n} needs a bbox x, y, width, height in pixels, not {str(box)[:60]}")
    if not is_number(row["score"]):
        raise UserError(f"{path}: row {n} needs a number as its score, not {str(row['score'])[:60]}")
    return {"image_id": image, "category_id": category, "bbox": [float(v) for v in box], "score": float(row["score"])}


def _known(key: Any, known: Mapping[Any, Any]) -> Any:
    return known.get(key) if isinstance(key, int | str) and not isinstance(key, bool) else None
