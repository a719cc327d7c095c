"""Boxes that any detector found, as a file in COCO's results format."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spiking_yolo.errors import UserError

HINT = "call it as the data do, by its id in an annotation .json (eval writes instances.json) or by its name"
Row = dict[str, Any]  # image_id, category_id, bbox [x, y, width, height] in pixels, score


def read_predictions(path: Path, image_ids: Mapping[Any, Any], category_ids: Mapping[Any, Any]) -> list[Row]:
    """The rows of a results file.

    image_ids, category_ids: those that are known; the rows get what these stand for. Raises UserError, naming the file
    and the first row that is wrong.
    """
    try:
        rows = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} is missing: pass the boxes that were found, a list in COCO's results format") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # not JSON, or not UTF-8
        raise UserError(f"{path} is not readable json ({str(error)[:80]}): write it again") from None
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
    if not (isinstance(box, list) and len(box) == 4 and all(map(_is_number, box)) and min(box[2:]) >= 0):
        raise UserError(f"{path}: row {n} needs a bbox x, y, width, height in pixels, not {str(box)[:60]}")
    if not _is_number(row["score"]):
        raise UserError(f"{path}: row {n} needs a number as its score, not {str(row['score'])[:60]}")
    return {"image_id": image, "category_id": category, "bbox": [float(v) for v in box], "score": float(row["score"])}


def _known(key: Any, known: Mapping[Any, Any]) -> Any:
    return known.get(key) if isinstance(key, int | str) and not isinstance(key, bool) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12 and math.isfinite(value)
