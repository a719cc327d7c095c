"""--agnostic-nms in every verb that shows or scores boxes: none of them overlaps a better one."""

import json

import pytest
import torch
from helpers.pages import parsed
from helpers.tiny import run_tool, write_tiny
from helpers.video import walk, write_images
from torchvision.ops import box_iou

from spiking_yolo import SpikingYOLO
from spiking_yolo.apps.video.modes import FrameRecord
from spiking_yolo.log import read_log

IOU = 0.3
BOXES = ("--conf", "0.05", "--iou", str(IOU), "--T", "2")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def photo(weights):
    return weights.parent / "photos" / "a.png"


def largest_overlap(corners) -> float:
    """Of two boxes of one image, whatever their classes."""
    boxes = torch.as_tensor(corners, dtype=torch.float32).reshape(-1, 4)
    assert len(boxes) > 1
    return box_iou(boxes, boxes).fill_diagonal_(0).max().item()


def check(overlaps: dict[bool, float]) -> None:
    # Clipped at the border of the image, boxes may overlap a little more.
    assert overlaps[True] < IOU + 0.2 < overlaps[False]


def run(tool: str, agnostic: bool, *arguments: object) -> None:
    flag = ["--agnostic-nms"] if agnostic else []
    assert run_tool(tool, *arguments, *BOXES, *flag) == 0


def test_python(weights, photo):
    detector = SpikingYOLO(weights, method="p-norm")
    options = {"conf": 0.05, "iou": IOU}
    for call in (
        lambda agnostic: detector.detect(photo, T=2, agnostic_nms=agnostic, **options),
        lambda agnostic: detector.detect_ann(photo, agnostic_nms=agnostic, **options),
        lambda agnostic: next(detector.stream([photo], agnostic_nms=agnostic, **options)),
    ):
        check({agnostic: largest_overlap(call(agnostic).xyxy) for agnostic in (True, False)})


def test_detect(weights, photo, tmp_path):
    overlaps = {}
    for agnostic in (True, False):
        out = ("--save-json", "--project", tmp_path, "--name", agnostic)
        run("detect", agnostic, photo, "--weights", weights, *out)
        (entry,) = json.loads((tmp_path / str(agnostic) / "detections.json").read_text())
        overlaps[agnostic] = largest_overlap([box["box_xyxy"] for box in entry["detections"]])
    check(overlaps)


def test_report(weights, photo, tmp_path):
    overlaps = {}
    for agnostic in (True, False):
        path = tmp_path / f"{agnostic}.html"
        run("report", agnostic, photo, "--weights", weights, "-o", path)
        (shown,) = parsed(path).data["photographs"]
        overlaps[agnostic] = largest_overlap([box[:4] for box in shown["boxes"][-1]])
    check(overlaps)


def test_eval(weights, photo, tmp_path):
    names = ("cat", "dog", "bird")
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 80, "height": 48}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 1,
                "bbox": [1, 1, 9, 9],
                "area": 81,
                "iscrowd": 0,
            }
        ],
        "categories": [{"id": i, "name": name} for i, name in enumerate(names, 1)],
    }
    (tmp_path / "data.json").write_text(json.dumps(content))
    data = ("--data", tmp_path / "data.json", "--images", photo.parent)
    overlaps = {}
    for agnostic in (True, False):
        out = ("--project", tmp_path, "--name", agnostic)
        run("eval_coco", agnostic, *data, "--weights", weights, *out)
        rows = json.loads((tmp_path / str(agnostic) / "predictions_2.json").read_text())
        corners = [[x, y, x + w, y + h] for x, y, w, h in (row["bbox"] for row in rows)]
        overlaps[agnostic] = largest_overlap(corners)
    check(overlaps)


def test_eval_video(weights, tmp_path):
    write_images(tmp_path / "clip" / "img1", walk(2))
    overlaps = {}
    for agnostic in (True, False):
        out = ("--project", tmp_path, "--name", agnostic, "--modes", "ann")
        run("eval_video", agnostic, "--data", tmp_path / "clip", "--weights", weights, *out)
        _, lines, _ = read_log(tmp_path / str(agnostic) / "frames-clip-ann.jsonl")
        overlaps[agnostic] = largest_overlap(FrameRecord.from_json(lines[0]).boxes.xyxy)
    check(overlaps)
