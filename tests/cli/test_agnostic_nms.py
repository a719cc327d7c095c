"""--agnostic-nms in every verb that shows or scores boxes, against torchvision."""

import json

import pytest
from helpers.pages import parsed
from helpers.tiny import run_tool, write_tiny
from helpers.video import walk, write_images
from torchvision.ops import nms

from spiking_yolo import SpikingYOLO
from spiking_yolo.apps.video.modes import FrameRecord
from spiking_yolo.data.images import preprocess, read_image
from spiking_yolo.decode.boxes import decode
from spiking_yolo.graph import forward
from spiking_yolo.io.assets import samples_folder
from spiking_yolo.log import read_log

CONF, IOU, T = 0.05, 0.3, 2
BOXES = ("--conf", CONF, "--iou", IOU, "--T", T, "--max-det", 1000)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def photo(weights):
    return weights.parent / "photos" / "a.png"


@pytest.fixture(scope="module")
def detector(weights):
    return SpikingYOLO(weights)


@pytest.fixture(scope="module")
def public():
    """The public network, which takes the car of dog.jpg for a truck too, and that photograph."""
    return SpikingYOLO(), samples_folder() / "dog.jpg"


def confidences(detector, pixels, agnostic: bool, multi_label: bool, steps: int) -> list[float]:
    """Of the boxes that torchvision leaves, of the spiking network or, without steps, the ANN."""
    x, placement = preprocess(pixels, detector.spec)
    graph = detector.converted.graph
    heads = forward(graph, x[None])
    if steps:
        heads = detector.converted.network()(x[None], steps).snapshots[steps].outputs
    (boxes,), (scores,) = decode(heads, detector.spec)
    index, class_id = (scores > CONF).nonzero(as_tuple=True)
    if not multi_label:
        best = class_id == scores.argmax(1)[index]
        index, class_id = index[best], class_id[best]
    corners = boxes[index].clamp(-1, 2) + (0 if agnostic else 10 * class_id[:, None])
    rows = nms(corners, scores[index, class_id], IOU)
    inside = placement.to_image(boxes[index][rows])
    rows = rows[(inside[:, 2:] > inside[:, :2]).all(1)]
    return scores[index, class_id][rows].tolist()


def check(detector, pixels, found: dict[bool, list[float]], multi_label=False, steps=T) -> None:
    """found: confidences with and without the option, which it must make fewer."""
    assert 1 < len(found[True]) < len(found[False])
    for agnostic, values in found.items():
        expected = confidences(detector, pixels, agnostic, multi_label, steps)
        assert values == pytest.approx(expected, abs=1e-3)


def run(tool: str, agnostic: bool, *arguments: object) -> None:
    flag = ["--agnostic-nms"] if agnostic else []
    assert run_tool(tool, *arguments, *BOXES, *flag) == 0


def test_python(public):
    detector, photo = public
    options = {"conf": CONF, "iou": IOU, "max_det": 1000}
    pixels = read_image(photo)
    for steps, call in (
        (T, lambda flag: detector.detect(photo, T, agnostic_nms=flag, **options)),
        (0, lambda flag: detector.detect_ann(photo, agnostic_nms=flag, **options)),
        (T, lambda flag: next(detector.stream([photo], T, agnostic_nms=flag, **options))),
    ):
        found = {flag: call(flag).confidence.tolist() for flag in (True, False)}
        check(detector, pixels, found, steps=steps)


def test_detect(public, tmp_path):
    detector, photo = public
    found = {}
    for flag in (True, False):
        out = ("--save-json", "--project", tmp_path, "--name", flag)
        run("detect", flag, photo, *out)
        (entry,) = json.loads((tmp_path / str(flag) / "detections.json").read_text())
        found[flag] = [box["confidence"] for box in entry["detections"]]
    check(detector, read_image(photo), found)


def test_report(public, tmp_path):
    detector, photo = public
    found = {}
    for flag in (True, False):
        path = tmp_path / f"{flag}.html"
        run("report", flag, photo, "-o", path)
        (shown,) = parsed(path).data["photographs"]
        found[flag] = [box[4] for box in shown["boxes"][-1]]
    check(detector, read_image(photo), found)


def test_eval(detector, weights, photo, tmp_path):
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 0}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 80, "height": 48}],
        "annotations": [box],
        "categories": [{"id": i, "name": n} for i, n in enumerate(detector.names, 1)],
    }
    (tmp_path / "data.json").write_text(json.dumps(content))
    data = ("--data", tmp_path / "data.json", "--images", photo.parent)
    found = {}
    for flag in (True, False):
        out = ("--project", tmp_path, "--name", flag)
        run("eval_coco", flag, *data, "--weights", weights, *out)
        rows = json.loads((tmp_path / str(flag) / f"predictions_{T}.json").read_text())
        found[flag] = [row["score"] for row in rows]
    check(detector, read_image(photo), found, multi_label=True)


def test_eval_video(detector, weights, tmp_path):
    clip = walk(2)
    write_images(tmp_path / "clip" / "img1", clip)
    found = {}
    for flag in (True, False):
        out = ("--project", tmp_path, "--name", flag, "--modes", "ann")
        run("eval_video", flag, "--data", tmp_path / "clip", "--weights", weights, *out)
        _, lines, _ = read_log(tmp_path / str(flag) / "frames-clip-ann.jsonl")
        found[flag] = FrameRecord.from_json(lines[0]).boxes.confidence.tolist()
    check(detector, clip[0], found, multi_label=True, steps=0)
