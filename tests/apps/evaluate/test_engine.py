"""The engine: one pass against many, batches, the ANN against an evaluation of its own,
early exit.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.evaluating import NAMES, make_scene
from helpers.networks import images, spiking
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn
from torchvision.ops import batched_nms

from spiking_yolo.apps.evaluate import EvaluationOptions
from spiking_yolo.apps.evaluate.costs import CostModel
from spiking_yolo.apps.evaluate.records import ImageRecord, observe_images, usual_batch
from spiking_yolo.apps.evaluate.run import evaluate
from spiking_yolo.apps.evaluate.scoring import DetectionTask, detection_classes
from spiking_yolo.convert.load import load
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.data.coco import VOC_NAMES, load_coco
from spiking_yolo.data.detection import DetectionSet, Sample
from spiking_yolo.data.images import preprocess, read_image
from spiking_yolo.data.yolo import load_data_yaml
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.decode.selection import Selection
from spiking_yolo.errors import UserError
from spiking_yolo.io.json import exact_json
from spiking_yolo.log import RecordLog, json_fields, prediction_from, read_records
from spiking_yolo.models.darknet_weights import load_darknet
from spiking_yolo.models.spec import Spec


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene")
    weights, _ = make_scene(folder)
    return weights, load_coco(folder)


@pytest.fixture(scope="module")
def converted(scene):
    return load(scene[0], "dcgs")


def as_json(record) -> dict:
    return json.loads(exact_json(record, json_fields))


def records(converted, dataset, **settings):
    options = EvaluationOptions(**{"steps": (settings["T"],), "batch": 1, **settings})
    return observe_images(converted, DetectionTask(converted.spec, dataset), options)


def test_one_run_gives_what_three_give(converted, scene):
    together = evaluate(converted, scene[1], EvaluationOptions(T=16, steps=(4, 8))).table
    assert [row["T"] for row in together.steps] == [4, 8, 16]
    assert (
        together.steps[0]["mAP50"] != together.steps[2]["mAP50"]
        and together.steps[2]["mAP50"] > 0.1
    )
    for row in together.steps:
        alone = evaluate(
            converted, scene[1], EvaluationOptions(T=row["T"], steps=(row["T"],))
        ).table
        assert alone.steps == [row] and alone.ann == together.ann


def test_settled_network_is_read_after_its_last_change(scene):
    """A step beyond the last simulated one shows the settled state, not an earlier step."""
    network = load(scene[0], "differential")
    both, alone = records(network, scene[1], T=200, steps=(2,)), records(network, scene[1], T=200)
    for a, b in zip(both, alone, strict=True):
        assert as_json(a.steps[200]) == as_json(b.steps[200])
    assert any(as_json(r.steps[2].prediction) != as_json(r.steps[200].prediction) for r in both)


def test_batch_changes_nothing_but_rounding(converted, scene):
    one, four = (records(converted, scene[1], T=6, batch=n) for n in (1, 4))
    assert [r.index for r in four] == list(range(6))
    for a, b in zip(one, four, strict=True):
        assert a.steps[6].spikes == pytest.approx(b.steps[6].spikes, rel=1e-4)
        assert a.steps[6].operations == pytest.approx(b.steps[6].operations, rel=1e-4)
        for x, y in ((a.ann, b.ann), (a.steps[6].prediction, b.steps[6].prediction)):
            assert x.confidence.tolist() == pytest.approx(y.confidence.tolist(), abs=1e-4)


def test_ann_row_equals_an_evaluation_of_its_own(converted, scene):
    """The module itself, decoded here by the formula, suppressed by torchvision, scored by
    pycocotools.
    """
    weights, dataset = scene
    net, spec, _ = load_darknet(weights)
    rows = []
    for sample in dataset.samples:
        x, _ = preprocess(read_image(sample.path), spec)
        with torch.no_grad():
            (head,) = net(x[None])
        found, longest = [], max(sample.width, sample.height)
        width, height = sample.width * 32 // longest, sample.height * 32 // longest
        for a, (aw, ah) in enumerate(((8, 8), (16, 12))):
            for r in range(16):
                for c in range(16):
                    v = head[0, a * 8 : a * 8 + 8, r, c].double().numpy()
                    s = 1 / (1 + np.exp(-v))
                    cx, cy, w, h = (
                        2 * (c + s[0]),
                        2 * (r + s[1]),
                        aw * np.exp(v[2]),
                        ah * np.exp(v[3]),
                    )
                    corners = np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]).clip(
                        -32, 64
                    )
                    found += [
                        (*corners, s[4] * p, k) for k, p in enumerate(s[5:]) if s[4] * p > 0.001
                    ]
        table = torch.tensor(np.array(found))
        keep = batched_nms(table[:, :4], table[:, 4], table[:, 5].long(), 0.45)[:100]
        left, top = (32 - width) // 2, (32 - height) // 2
        for x1, y1, x2, y2, score, k in table[keep].tolist():
            x1, x2 = (np.clip((v - left) * sample.width / width, 0, sample.width) for v in (x1, x2))
            y1, y2 = (
                np.clip((v - top) * sample.height / height, 0, sample.height) for v in (y1, y2)
            )
            row = {
                "image_id": sample.image_id,
                "category_id": 10 * (int(k) + 1),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
            }
            rows.append({**row, "score": score})
    truth = COCO(str(weights.parent / "instances.json"))
    own = COCOeval(truth, truth.loadRes(rows), "bbox")
    own.evaluate(), own.accumulate(), own.summarize()
    table = evaluate(converted, dataset, EvaluationOptions(T=1)).table
    assert table.ann["mAP50"] > 0.3
    assert [table.ann["mAP50-95"], table.ann["mAP50"], table.ann["AR100"]] == pytest.approx(
        [own.stats[0], own.stats[1], own.stats[8]], abs=1e-6
    )


def test_early_exit_row_is_made_of_the_steps_at_which_images_stop(scene):
    network = load(scene[0], "differential")
    exits = records(network, scene[1], T=12, early_exit=2)
    stops = [r.exit.t for r in exits]
    assert min(stops) < 12
    for t in set(stops):
        for r, at in zip(exits, records(network, scene[1], T=12, steps=(t,)), strict=True):
            if r.exit.t == t:
                assert as_json(r.exit) == as_json(at.steps[t])


def test_a_record_comes_back_from_a_log(converted, scene, tmp_path):
    network = load(scene[0], "differential")
    (first, *_) = records(network, scene[1], T=4, early_exit=2)
    log = RecordLog(tmp_path / "log.jsonl", {"T": 4})
    log.append([first])
    log.close()
    (back,) = read_records(tmp_path / "log.jsonl", {"T": 4}, ImageRecord)
    assert as_json(back) == as_json(first)
    assert torch.equal(back.ann.xyxy, first.ann.xyxy) and len(first.ann) > 0
    assert back.exit.t == first.exit.t and list(back.steps) == [4]


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=8))
def test_float32_survives_json(values):
    boxes = torch.tensor([[v, v, v, v] for v in values], dtype=torch.float32).reshape(-1, 4)
    found = Detections(boxes, boxes[:, 0], torch.arange(len(boxes)))
    back = prediction_from(as_json(found))
    assert torch.equal(back.xyxy, found.xyxy) and torch.equal(back.confidence, found.confidence)
    assert torch.equal(back.class_id, found.class_id)


def test_coco_network_on_voc():
    """person is COCO's first class and VOC's fifteenth; sofa is spelt couch there."""
    coco = ("person", "toothbrush", "couch", *[n for n in VOC_NAMES if n not in ("person", "sofa")])
    voc = DetectionSet("voc", VOC_NAMES, [], [])
    mapped = detection_classes(voc, coco)
    assert mapped[:3] == (14, -1, 17) and sorted(mapped) == list(range(-1, 20))
    with pytest.raises(UserError, match="'sofa'"):
        detection_classes(voc, [name for name in coco if name != "couch"])


def test_classes_that_the_dataset_lacks_take_nobodys_place(converted, scene):
    """Limited to 3 boxes, the best 3 of the dataset's classes remain, whatever the others score."""
    sample = scene[1].samples[0]
    bare = Sample.of(1, sample.path, (sample.width, sample.height), [], [])
    few = DetectionSet("one class", (NAMES[2],), [bare], [])
    task = DetectionTask(converted.spec, few, Selection(conf=0.001, max_det=3))
    everything = DetectionTask(converted.spec, scene[1], Selection(conf=0.001, max_det=10_000))
    (own,) = observe_images(converted, task, EvaluationOptions(T=1))
    every = observe_images(converted, everything, EvaluationOptions(T=1))[0].ann
    best = every.confidence[every.class_id == 2][:3]
    torch.testing.assert_close(own.ann.confidence, best)
    assert own.ann.class_id.tolist() == [0, 0, 0]


def test_image_of_another_size_than_annotated(converted, scene):
    sample = scene[1].samples[0]
    wrong = DetectionSet("wrong", NAMES, [Sample.of(1, sample.path, (7, 9), [], [])], [])
    with pytest.raises(UserError, match=f"{sample.path.name} has .* says 7x9"):
        records(converted, wrong, T=1)
    with pytest.raises(UserError, match="no images"):
        DetectionTask(converted.spec, DetectionSet("empty", NAMES, [], []))


def test_data_yaml_gives_the_figures_of_the_same_coco(converted, scene, tmp_path):
    """The same photographs and boxes as a data.yaml; sizes are all small, so areas do not
    matter.
    """
    dataset = scene[1]
    (tmp_path / "labels").mkdir()
    (tmp_path / "images").symlink_to(dataset.samples[0].path.parent)
    for s in dataset.samples:
        centres = (s.boxes[:, :2] + s.boxes[:, 2:]) / 2 / (s.width, s.height)
        sides = (s.boxes[:, 2:] - s.boxes[:, :2]) / (s.width, s.height)
        lines = [
            f"{k // 10 - 1} {' '.join(map(repr, map(float, (*c, *w))))}"
            for k, c, w in zip(s.labels, centres, sides, strict=True)
        ]
        (tmp_path / "labels" / f"{s.path.stem}.txt").write_text("\n".join(lines))
    (tmp_path / "data.yaml").write_text(f"val: images\nnames: {list(NAMES)}\n")
    sets = (dataset, load_data_yaml(tmp_path / "data.yaml"))
    a, b = (evaluate(converted, one, EvaluationOptions(T=4)).table for one in sets)
    assert a.ann["mAP50"] == pytest.approx(b.ann["mAP50"]) and a.steps[0]["mAP50"] == pytest.approx(
        b.steps[0]["mAP50"]
    )


def test_rate_coding_streams_only_what_is_not_cached(converted):
    assert not CostModel.of(converted).streams
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)
    ).double()
    for method, streams in (("dcgs", True), ("differential", False)):
        assert CostModel.of(spiking(model, images(1), get_recipe(method))).streams == streams


def test_small_networks_take_several_images_at_once():
    detector = Spec("detect", ("a",), 320, 320)
    sizes = {(320, 320): 4, (288, 352): 4, (320, 352): 1, (416, 416): 1}
    assert {
        size: usual_batch(replace(detector, height=size[0], width=size[1])) for size in sizes
    } == sizes
    assert usual_batch(replace(detector, task="classify", height=32, width=32)) == 25
