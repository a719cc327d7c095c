"""`eval` as a person calls it: photographs, classes, several methods, interruptions, mistakes."""

import csv
import json
import os
from pathlib import Path
from shutil import copytree, ignore_patterns

import numpy as np
import pytest
import torch
from helpers import classifying
from helpers.evaluating import make_scene, results
from helpers.tiny import run_tool
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from spiking_yolo import SpikingYOLO
from spiking_yolo.convert.load import load
from spiking_yolo.data.annotations import load_coco_json
from spiking_yolo.data.datasets import DetectionSet, Sample
from spiking_yolo.errors import UserError
from spiking_yolo.evaluate.run import scorer_of
from spiking_yolo.evaluate.scoring import Settings
from spiking_yolo.models.spec import Spec
from spiking_yolo.observe import Observer

QUICK = ("--T", 4, "--steps", "2,4")


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> tuple[Path, Path]:
    """Weights, and instances.json beside the photographs."""
    folder = tmp_path_factory.mktemp("scene")
    return make_scene(folder)


@pytest.fixture(scope="module")
def done(scene, tmp_path_factory) -> Path:
    """The folder of a run with two methods and everything."""
    weights, data = scene
    project = tmp_path_factory.mktemp("runs")
    call = ("--weights", weights, "--data", data, "--method", "p-norm,dcgs", "--baseline")
    call += ("--figures", "svg")
    assert run_tool("eval_coco", *call, *QUICK, "--bootstrap", 30, "--project", project) == 0
    return project / "exp"


def test_files_of_a_run(done):
    names = {path.relative_to(done).as_posix() for path in done.rglob("*") if path.is_file()}
    for name in ("results.json", "predictions_ann.json", "predictions_2.json"):
        assert names >= {f"p-norm/{name}", f"dcgs/{name}"}
    assert names >= {"results.csv", "accuracy-T.svg", "accuracy-operations.svg"}
    with open(done / "results.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["T"]) for row in rows] == [
        ("ANN", ""), ("ANN 8 bit", ""), ("p-norm", "2"), ("p-norm", "4"), ("dcgs", "2"), ("dcgs", "4"),
    ]  # fmt: skip
    content = results(done / "dcgs")
    # Potentials of the simulator are float32.
    assert content["potential_bits"] == 32
    assert content["method"] == "dcgs" and [row["T"] for row in content["steps"]] == [2, 4]
    for row, flat in zip(rows[4:], content["steps"], strict=True):
        assert float(row["mAP50"]) == flat["mAP50"]
        assert [float(row["mAP50_minus_first_low"]), float(row["mAP50_minus_first_high"])] == flat[
            "interval_95"
        ]["mAP50_minus_first"]
    assert content["baseline"][0]["mAP50"] == float(rows[1]["mAP50"])


def test_predictions_score_as_the_table_says(scene, done):
    """By pycocotools, from the files."""
    content = results(done / "dcgs")
    truth = COCO(str(scene[1]))
    for name, row in (("ann", content["ann"]), ("4", content["steps"][-1])):
        found = truth.loadRes(str(done / "dcgs" / f"predictions_{name}.json"))
        run = COCOeval(truth, found, "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
        assert [row["mAP50-95"], row["mAP50"]] == pytest.approx(run.stats[:2].tolist())


def test_rows_are_means_over_images(scene, done):
    detector = SpikingYOLO(scene[0], "dcgs")
    row = results(done / "dcgs")["steps"][-1]
    paths = [sample.path for sample in load_coco_json(scene[1]).samples]
    seen = list(detector.observer().observe(paths, 4, want=("ann",)))
    macs = seen[0].macs
    for counting in ("spikes", "digits", "messages"):
        mean = np.mean([one.last.operations[counting] for one in seen]) / macs
        assert row[f"sops_per_mac_{counting}"] == pytest.approx(mean)
    assert row["spikes_per_image"] == pytest.approx(np.mean([o.last.total_spikes for o in seen]))
    assert row["output_error"] == pytest.approx(np.mean([one.last.error for one in seen]), rel=1e-4)
    assert row["mean_rate"] == pytest.approx(np.mean([one.mean_rate(4) for one in seen]))


def test_an_interrupted_run_has_the_same_figures(scene, done, tmp_path, capsys):
    """Half of the log, with a line that a kill has torn."""
    weights, data = scene
    call = ("--weights", weights, "--data", data, "--method", "dcgs", "--project", tmp_path)
    folder = tmp_path / "exp"
    folder.mkdir()
    lines = (done / "records-dcgs.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "records-dcgs.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:40])
    assert run_tool("eval_coco", *call, "--T", 8, "--resume", folder) == 2
    assert "was made with steps=[2, 4]" in capsys.readouterr().err
    # As a full disk does: the figures are there before what takes more space.
    (folder / "predictions_2.json").mkdir()
    assert run_tool("eval_coco", *call, *QUICK, "--resume", folder) == 2
    assert results(folder)["steps"] and (folder / "results.csv").exists()
    (folder / "predictions_2.json").rmdir()
    assert run_tool("eval_coco", *call, *QUICK, "--resume", folder) == 0
    assert json.loads((folder / "predictions_2.json").read_text())
    again, first = results(folder)["steps"], results(done / "dcgs")["steps"]
    for row, other in zip(again, first, strict=True):
        names = row.keys() - {"seconds"}
        assert [row[name] for name in names] == [other[name] for name in names]
    assert run_tool("eval_coco", *call, *QUICK, "--resume", tmp_path) == 2
    assert "leave --resume out" in capsys.readouterr().err


@pytest.fixture(scope="module")
def classes(tmp_path_factory) -> tuple[Path, Path]:
    return classifying.write_all(tmp_path_factory.mktemp("classes"))


def test_classes(classes, tmp_path):
    """Against a forward pass of its own."""
    weights, data = classes
    call = ("--weights", weights, "--data", data, "--method", "p-norm", *QUICK)
    assert run_tool("eval_classify", *call, "--project", tmp_path) == 0
    folder = tmp_path / "exp"
    content, rows = results(folder), json.loads((folder / "predictions_ann.json").read_text())
    network = load(weights, "p-norm")
    observer = Observer(network.network(), network.graph, network.spec)
    for row in rows:
        seen = observer.observe_ann(data / "test" / row["image"])
        assert seen.ann is not None and row["class_id"] == seen.ann.class_id.tolist()
    top1 = np.mean([row["class_id"][0] == row["label"] for row in rows])
    top5 = np.mean([row["label"] in row["class_id"] for row in rows])
    assert [content["ann"]["top1"], content["ann"]["top5"]] == [top1, top5]
    found = json.loads((folder / "predictions_4.json").read_text())
    top1 = np.mean([row["class_id"][0] == row["label"] for row in found])
    assert content["steps"][-1]["top1"] == top1


def test_mistakes_are_one_line(scene, classes, tmp_path, capsys):
    for words, said in [
        (("--data", "{photos}", "--weights", "{classifier}"), "classifier"),
        (("--data", "{images}", "--weights", "{detector}"), "detection dataset"),
        (("--data", "{photos}", "--weights", "{detector}", "--year", 2012), "year"),
        (("--data", "{photos}", "--weights", "{detector}", "--split", "odd"), "no splits"),
        (("--data", "gone", "--weights", "{detector}"), "does not exist"),
    ]:
        places = {"photos": scene[1], "detector": scene[0], "classifier": classes[0]}
        places["images"] = classes[1]
        typed = [str(word).format(**places) for word in words]
        assert run_tool("eval", *typed, "--T", 1, "--project", tmp_path) == 2
        message = capsys.readouterr().err
        assert said in message and message.count("\n") == 1


def test_records_need_no_outputs(scene):
    """What a log has of an image is what a table needs."""
    from spiking_yolo.log import json_fields
    from spiking_yolo.observe import Observation

    detector = SpikingYOLO(scene[0], "dcgs")
    sample = load_coco_json(scene[1]).samples[0]
    observe = detector.observer().observe
    (seen,) = observe([sample.path], 4, [2], want=("boxes", "ann", "layers"))
    read = Observation.from_json(json.loads(json.dumps(seen.record(), default=json_fields)))
    assert read.steps[2].error == seen.steps[2].error > 0 and read.ann_outputs == ()
    assert read.steps[2].events == seen.steps[2].events
    assert read.last.operations_by_layer == seen.last.operations_by_layer
    assert torch.equal(read.last.boxes.xyxy, seen.last.boxes.xyxy)
    assert torch.equal(read.ann_boxes.confidence, seen.ann_boxes.confidence)
    assert read.neurons == seen.neurons and read.mean_rate(4) == seen.mean_rate(4)


def test_photographs_without_labels_are_compared_with_the_ann(scene, tmp_path, capsys):
    call = ("--weights", scene[0], "--T", 1, "--project", tmp_path)
    bare = copytree(scene[1].parent, tmp_path / "bare", ignore=ignore_patterns("*.json"))
    # A clip in a folder of its own, as the samples have one.
    (bare / "clips").mkdir()
    (bare / "clips" / "a.mp4").touch()
    next(bare.glob("*.png")).rename(bare / os.fsdecode(b"\xff.png"))
    assert run_tool("eval", "--data", bare, *call) == 0
    assert "has no labels" in capsys.readouterr().out
    content = results(tmp_path / "exp")
    assert content["ann"]["agree"] == 1 and 0 < content["steps"][0]["agree"] <= 1
    assert run_tool("eval", "--data", scene[1].parent, *call) == 0
    assert "mAP50" in results(tmp_path / "exp2")["ann"]


def test_a_draw_without_objects_is_refused():
    spec, empty = Spec("detect", ("a",), 32, 32), ([], [])
    samples = [Sample.of(k, Path(str(k)), (9, 9), *empty) for k in range(50)]
    samples[0] = Sample.of(0, Path("0"), (9, 9), [[0, 0, 5, 5]], [0])
    with pytest.raises(UserError, match="--limit draws"):
        scorer_of(DetectionSet("x", ("a",), samples, []), spec, Settings(limit=1))
