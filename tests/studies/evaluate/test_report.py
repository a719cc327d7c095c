"""Figures, rows, break-even, texts and files of an evaluation."""

import csv
import json
import math
from pathlib import Path

import pytest
import torch
from helpers.coco import CATEGORIES, EXPECTED, FOUND, ground_truth
from helpers.evaluating import NAMES, make_scene

from spiking_yolo.convert.pipeline import load, load_statistics
from spiking_yolo.datasets.coco import CocoSet, load_coco
from spiking_yolo.datasets.detection import DetectionSet, Sample
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.io.tables import WIDTH, percent
from spiking_yolo.metrics.energy import EnergyCosts, Work
from spiking_yolo.models.load import load_ann
from spiking_yolo.studies.evaluate.break_even import break_even, crossing
from spiking_yolo.studies.evaluate.detection import DetectionTask, to_json
from spiking_yolo.studies.evaluate.engine import Engine, EngineOptions
from spiking_yolo.studies.evaluate.evaluation import Evaluation
from spiking_yolo.studies.evaluate.intervals import row_intervals
from spiking_yolo.studies.evaluate.options import EvaluationOptions
from spiking_yolo.studies.evaluate.quantised import quantised_ann
from spiking_yolo.studies.evaluate.records import run_records
from spiking_yolo.studies.evaluate.rows import CostModel, Table, table
from spiking_yolo.studies.evaluate.scorers import CocoScorer, VocScorer
from spiking_yolo.studies.evaluate.tables import class_table, interval_table, main_table


def sample(image_id, boxes, labels, **flags):
    return Sample.of(image_id, Path(f"{image_id}.jpg"), (640, 480), boxes, labels, **flags)


def test_twelve_figures_through_scorer_and_json():
    """The published figures of the mini set, from boxes in the form of a record."""
    dataset = CocoSet(
        "mini",
        tuple(c["name"] for c in CATEGORIES),
        [sample(i, [], []) for i in (1, 2, 3)],
        [],
        (1, 18, 90),
        ground_truth(),
    )
    predictions = []
    for image in (1, 2, 3):
        mine = [row for row in FOUND if row[0] == image]
        xywh = torch.tensor([row[2:6] for row in mine]).float()
        found = Detections(
            torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1),
            torch.tensor([row[6] for row in mine]),
            torch.tensor([(1, 18, 90).index(row[1]) for row in mine]),
        )
        predictions.append(json.loads(json.dumps(to_json(found))))
    scored = CocoScorer(dataset).score(predictions)
    assert list(scored.figures) == ["mAP50-95", "mAP50", "AP75", "AP_small", "AP_medium", "AP_large"] + [
        f"AR{k}" for k in ("1", "10", "100", "_small", "_medium", "_large")
    ]
    assert list(scored.figures.values()) == pytest.approx(EXPECTED, abs=1e-6)
    assert scored.per_class["toothbrush"] == pytest.approx(1.0)
    resampled = scored.resampled().score(torch.ones(1, 3).long().numpy())  # type: ignore[misc]
    assert resampled[0].tolist() == pytest.approx(EXPECTED[:2], abs=1e-6)


def test_voc_figures_of_the_facts_document():
    """Difficult object, duplicate and miss, ranked: npos 2 gives 0.7727 by 11 points and 0.75 by area."""
    a = sample("A", [(10, 10, 50, 50), (60, 60, 100, 100)], [0, 0], ignored=[0, 1])
    b = sample("B", [(20, 20, 80, 80)], [0])
    rows = [
        [((60, 60, 100, 100), 0.9), ((10, 10, 50, 50), 0.8), ((11, 11, 50, 50), 0.7)],
        [((400, 400, 450, 450), 0.6), ((20, 20, 80, 80), 0.5)],
    ]
    predictions = [
        {"xyxy": [list(box) for box, _ in row], "confidence": [p for _, p in row], "class_id": [0] * len(row)}
        for row in rows
    ]
    scored = VocScorer(DetectionSet("voc", ("dog",), [a, b], [])).score(predictions)
    assert scored.figures["mAP_07"] == pytest.approx(0.7727272727)
    assert scored.figures["mAP_area"] == pytest.approx(0.75)
    assert set(scored.figures) == {"mAP_area", "mAP_07", "mAP50", "mAP50-95"}
    recall, precision = scored.curve  # type: ignore[misc]
    assert precision[recall <= 0.5].tolist() == [1.0] * 51
    assert precision[-1] == pytest.approx(0.5)


def steps(*pairs):
    return [{"T": t, "energy": e} for t, e in pairs]


def test_crossing_by_hand():
    rows = steps((4, 3.0), (8, 5.0), (16, 9.0))
    assert crossing(rows, "energy", 1.0, 4.0) == 6
    assert crossing(rows, "energy", 1.0, 2.0) == 2
    assert crossing(rows, "energy", 1.0, 0.5) == 0
    assert crossing(rows, "energy", 1.0, 9.0) is None


def test_break_even_rate_spends_the_budget():
    """At the reported rate, with as many operations per spike, both accounts cost what the ANN costs."""
    costs = EnergyCosts(mac=5, ac=1)
    work = Work(8, 6e9, 1e8, 1e6)
    row = {"T": 8, "spikes_per_image": 2e6, "mean_rate": 0.25, "sops_per_image": 6e9}
    row |= {"energy_mJ_optimistic": work.optimistic(costs), "energy_mJ_conservative": work.conservative(costs)}
    measured = Table({"energy_mJ": 5.0}, [row], works={"8": work})
    for one in break_even(measured, costs):
        spent = Work(8, one.rate * 8 * 1e6 * 3000, 1e8, 1e6)
        cost = spent.optimistic(costs) if one.account == "optimistic" else spent.conservative(costs)
        assert cost == pytest.approx(5.0) and one.until is not None and one.until < 8
        assert "T <= " in one.text()
    (hopeless, _) = break_even(Table({"energy_mJ": 0.4}, [row], works={"8": work}), costs)
    assert hopeless.until == 0 and "never" in hopeless.text()


STEADY = {"threshold.scope": "channel", "threshold.scale": 0.14}  # boxes that last before the network has settled


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene")
    weights, _ = make_scene(folder)
    dataset, network, ann = load_coco(folder), load(weights, "coarse-to-fine", STEADY), load_ann(weights)
    rivals = {bits: quantised_ann(ann.graph, load_statistics(ann), bits) for bits in (3, 8)}
    options = EngineOptions(8, (2, 4), bits=tuple(rivals), patience=1)
    records = run_records(Engine(network, DetectionTask(network.spec, dataset), options, quantised=rivals))
    return dataset, network, records, CocoScorer(dataset)


@pytest.fixture(scope="module")
def rows(run):
    return table(run[2], run[3], CostModel.of(run[1]))


def test_rows_are_means_over_images(run, rows):
    records = run[2]
    for row in rows.steps:
        at = [r["steps"][str(row["T"])] for r in records]
        assert row["spikes_per_image"] == pytest.approx(sum(a["spikes"] for a in at) / 6)
        assert row["mean_rate"] == pytest.approx(row["spikes_per_image"] / records[0]["activations"] / row["T"])
        for counting in ("spikes", "digits", "messages"):
            total = sum(a["operations"][counting] for a in at) / 6
            assert row[f"sops_per_mac_{counting}"] == pytest.approx(total / records[0]["macs"])
        cost = row["sops_per_image"] * 0.9 + records[0]["analogue_macs"] * 4.6
        assert row["energy_mJ_optimistic"] == pytest.approx(cost / 1e9)
        cost += records[0]["neurons"] * row["T"] * 0.9
        assert row["energy_mJ_conservative"] == pytest.approx(cost / 1e9)
    assert rows.ann["energy_mJ"] == pytest.approx(records[0]["macs"] * 4.6e-9)
    assert [row["bits"] for row in rows.baseline] == [3, 8]
    assert rows.baseline[0]["mAP50"] < rows.baseline[1]["mAP50"] <= rows.ann["mAP50"] + 0.1


def test_early_exit_row(run, rows):
    stops = [r["exit"]["t"] for r in run[2]]
    assert rows.exit["mean_T"] == pytest.approx(sum(stops) / 6) and rows.exit["mean_T"] < 8
    saved = 1 - (
        sum(r["exit"]["operations"]["spikes"] for r in run[2])
        / sum(r["steps"]["8"]["operations"]["spikes"] for r in run[2])
    )
    assert rows.exit["operations_saved"] == pytest.approx(saved) and saved > 0
    assert rows.exit["mAP50_kept"] == pytest.approx(rows.exit["mAP50"] / rows.steps[-1]["mAP50"])


def test_texts_fit_the_terminal(rows):
    intervals = row_intervals(rows, 20, 0)
    texts = [main_table(rows, ("mAP50", "mAP50-95")), class_table(rows)]
    texts.append(interval_table(intervals, "mAP50"))
    for lines in (t.splitlines() for t in texts):
        assert max(map(len, lines)) <= WIDTH
    main = texts[0].splitlines()
    assert [line.split("  ")[0] for line in main[1:6]] == ["ANN", "ANN 3 bit", "ANN 8 bit", "T=2", "T=4"]
    assert f"{100 * rows.steps[0]['mAP50']:.1f}" in main[4]
    assert percent(math.nan) == "-"


def test_intervals_hold_the_figures(rows):
    intervals = row_intervals(rows, 50, 0)
    assert set(intervals) == set(rows.scored) == {"ann", "2", "4", "8", "3 bit", "8 bit", "exit"}
    one = intervals["2"]
    assert one["mAP50"].value == pytest.approx(rows.steps[0]["mAP50"])
    assert one["mAP50_minus_ann"].value == pytest.approx(rows.steps[0]["mAP50"] - rows.ann["mAP50"])
    assert one["mAP50"].low <= one["mAP50"].high
    assert "mAP50_minus_ann" not in intervals["ann"]


def test_files(run, rows, tmp_path):
    dataset, network, records, scorer = run
    evaluation = Evaluation.of(records, network, dataset, scorer, EvaluationOptions(bootstrap=9))
    evaluation.save(tmp_path)
    content = evaluation.results()
    assert json.loads((tmp_path / "results.json").read_text()) == content
    assert list(content)[:2] == ["dataset", "images"] and list(content)[-1] == "seconds_per_image"
    assert set(content) >= {"weights_sha256", "method", "recipe", "versions", "ann", "steps", "baseline", "early_exit"}
    assert content["ann"]["AP_large"] is None and json.dumps(content, allow_nan=False)
    assert content["steps"][1]["T"] == 4 and len(content["steps"][1]["interval_95"]["mAP50"]) == 2
    with open(tmp_path / "results.csv") as file:
        lines = list(csv.DictReader(file))
    assert [line["row"] for line in lines] == ["ann", "ann 3 bit", "ann 8 bit", "T=2", "T=4", "T=8", "early exit"]
    assert float(lines[3]["mAP50"]) == rows.steps[0]["mAP50"] and lines[0]["AP_large"] == ""
    saved = json.loads((tmp_path / "predictions_4.json").read_text())
    assert {row["category_id"] for row in saved} <= {10, 20, 30}
    assert len(saved) == sum(len(r["steps"]["4"]["found"]["confidence"]) for r in records)
    assert {row["image_id"] for row in saved} == {s.image_id for s in dataset.samples}
    assert {p.stem for p in tmp_path.glob("*.png")} == {"mAP-T", "mAP-operations", "precision-recall", "class-loss"}


def test_nothing_to_measure_draws_nothing(run, tmp_path):
    """Photographs without objects: all figures are nan, and nothing breaks."""
    _, network, records, _ = run
    bare = DetectionSet("bare", NAMES, [sample(i, [], []) for i in range(6)], [])
    for scorer in (CocoScorer(bare), VocScorer(bare)):
        empty = Evaluation.of(records, network, bare, scorer, EvaluationOptions(bootstrap=5))
        assert math.isnan(empty.table.ann["mAP50"])
        empty.save(tmp_path)
        assert not list(tmp_path.glob("mAP*.png")) and " - " in empty.text(per_class=True)
        assert empty.worth and empty.results()["ann"]["mAP50"] is None
        assert json.dumps(empty.results(), allow_nan=False)
