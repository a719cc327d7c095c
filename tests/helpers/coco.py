"""A COCO set of three images whose twelve figures are known."""

from typing import Any

# image, category, x, y, width, height, crowd
OBJECTS: list[tuple[Any, ...]] = [
    (1, 1, 10, 10, 100, 200, 0),
    (1, 1, 200, 50, 40, 40, 0),
    (1, 1, 300, 300, 300, 150, 1),
    (2, 1, 50, 50, 20, 20, 0),
    (2, 18, 100, 100, 200, 200, 0),
    (3, 18, 0, 0, 31, 31, 0),
    (3, 90, 400, 200, 60, 10, 0),
]
# image, category, x, y, width, height, score
FOUND = [
    (1, 1, 12, 8, 100, 200, 0.95),
    (1, 1, 205, 55, 40, 40, 0.8),
    (1, 1, 320, 320, 50, 50, 0.7),
    (1, 1, 500, 10, 60, 60, 0.6),
    (2, 1, 52, 52, 20, 20, 0.9),
    (2, 1, 50, 50, 20, 20, 0.85),
    (2, 18, 110, 110, 200, 200, 0.75),
    (2, 18, 90, 90, 260, 200, 0.74),
    (3, 18, 0, 0, 31, 31, 0.3),
    (3, 18, 100, 300, 20, 20, 0.55),
    (3, 90, 402, 200, 60, 10, 0.5),
    (3, 1, 10, 10, 10, 10, 0.2),
]
NAMES = {1: "person", 18: "dog", 90: "toothbrush"}
CATEGORIES = [{"id": i, "name": name} for i, name in NAMES.items()]
EXPECTED = [0.698047, 0.889439, 0.768977, 0.7, 0.3, 0.8]
EXPECTED += [0.561111, 0.827778, 0.827778, 0.966667, 0.3, 0.8]


def ground_truth(objects: list[tuple[Any, ...]] = OBJECTS) -> dict[str, Any]:
    images = [{"id": i, "width": 640, "height": 480, "file_name": f"{i}.jpg"} for i in (1, 2, 3)]
    annotations = []
    for n, (i, c, x, y, w, h, crowd) in enumerate(objects, 1):
        box = {"bbox": [x, y, w, h], "area": w * h, "iscrowd": crowd}
        annotations.append({"id": n, "image_id": i, "category_id": c, **box})
    return {"info": {}, "images": images, "categories": CATEGORIES, "annotations": annotations}
