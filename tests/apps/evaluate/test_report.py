"""Figures, rows, break-even, texts and files of an evaluation."""

import csv
import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from helpers.coco import CATEGORIES, EXPECTED, FOUND, ground_truth
from helpers.evaluating import NAMES, make_scene

from spiking_yolo.apps.evaluate import EvaluationOptions
from spiking_yolo.apps.evaluate.costs import CostModel, exponentials, spike_value
from spiking_yolo.apps.evaluate.evaluation import Evaluation
from spiking_yolo.apps.evaluate.quantised import quantised_ann
from spiking_yolo.apps.evaluate.records import observe_images
from spiking_yolo.apps.evaluate.scoring import CocoScorer, DetectionTask, VocScorer
from spiking_yolo.apps.evaluate.tables import (
    Table,
    break_even,
    class_table,
    crossing,
    energy_table,
    interval_table,
    main_table,
    neurobench_table,
    resamplings,
    row_intervals,
    table,
)
from spiking_yolo.convert.load import load, load_statistics
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.data.coco import CocoSet, load_coco
from spiking_yolo.data.detection import DetectionSet, Sample
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.io.json import exact_json
from spiking_yolo.io.tables import WIDTH, percent
from spiking_yolo.log import json_fields, prediction_from
from spiking_yolo.metrics.energy import LOIHI, NetworkSize, Work, accounts
from spiking_yolo.models.load import load_ann
from spiking_yolo.recipe import Recipe

ACCOUNTS = accounts()


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
        content = json.loads(exact_json(found, json_fields))
        predictions.append(prediction_from(content))
    scored = CocoScorer(dataset).score(predictions)
    assert list(scored.figures) == [
        "mAP50-95",
        "mAP50",
        "AP75",
        "AP_small",
        "AP_medium",
        "AP_large",
    ] + [f"AR{k}" for k in ("1", "10", "100", "_small", "_medium", "_large")]
    assert list(scored.figures.values()) == pytest.approx(EXPECTED, abs=1e-6)
    assert scored.per_class["toothbrush"] == pytest.approx(1.0)
    resampled = scored.resampled().score(torch.ones(1, 3).long().numpy())  # type: ignore[misc]
    assert resampled[0].tolist() == pytest.approx(EXPECTED[:2], abs=1e-6)


def test_voc_figures_of_the_facts_document():
    """Difficult object, duplicate and miss, ranked: npos 2 gives 0.7727 by 11 points and 0.75 by
    area.
    """
    a = sample("A", [(10, 10, 50, 50), (60, 60, 100, 100)], [0, 0], ignored=[0, 1])
    b = sample("B", [(20, 20, 80, 80)], [0])
    rows = [
        [((60, 60, 100, 100), 0.9), ((10, 10, 50, 50), 0.8), ((11, 11, 50, 50), 0.7)],
        [((400, 400, 450, 450), 0.6), ((20, 20, 80, 80), 0.5)],
    ]
    predictions = [
        Detections(
            torch.tensor([box for box, _ in row]).float(),
            torch.tensor([p for _, p in row]),
            torch.zeros(len(row), dtype=torch.int64),
        )
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


def test_break_even_in_every_account():
    """T = 8 costs more than the ANN and T = 4 less, in the account without memory; with memory it
    is never less.
    """
    _, _, sram16, *_ = ACCOUNTS
    size = NetworkSize(macs=1e9, neurons=1e6)
    works = {"4": Work(4, 3e9, analogue_macs=1e8), "8": Work(8, 6e9, analogue_macs=1e8)}
    rows = [
        {"T": int(t), **{a.energy: a.snn(work, size) for a in ACCOUNTS}}
        for t, work in works.items()
    ]
    worth = {one.account: one for one in break_even(Table({}, rows, size, works=works), ACCOUNTS)}
    assert list(worth) == [account.key for account in ACCOUNTS]
    one = worth["fp32"]
    assert one.ann == pytest.approx(4.6) and one.T == 8 and one.measured == 6
    assert one.operations == pytest.approx((4.6 - 0.46) / 0.9)
    assert (
        one.until == pytest.approx(4 + 4 * (4.6 - 3.16) / (5.86 - 3.16)) and one.text() == "T <= 6"
    )
    # The first step takes more than the ANN already.
    assert dataclasses.replace(one, until=0.6).text() == "never"
    assert dataclasses.replace(one, until=1.0).text() == "T <= 1"
    # T = 8 takes more than the ANN even without operations, and shorter runs take less.
    assert dataclasses.replace(one, operations=-0.7).text() == "T <= 6"
    assert (
        worth["sram16"].until == pytest.approx(4 * (2.8 - 0.28) / 18.9) and sram16.ann(size) == 2.8
    )
    with_chip = (*ACCOUNTS, LOIHI)
    assert break_even(Table({}, rows, size, works=works), with_chip) == list(worth.values())
    hopeless = dataclasses.replace(works["8"], analogue_macs=2e9)
    (never, *_) = break_even(Table({}, rows, size, works={"8": hopeless}), ACCOUNTS)
    assert never.until == 0 and never.operations < 0 and never.text() == "never"
    (always, *_) = break_even(Table({}, rows[:1], size, works=works), ACCOUNTS)
    assert always.until is None and always.text() == "all"


def test_what_events_carry_and_what_a_network_moves(run):
    plain = get_recipe("channel-norm")
    assert spike_value(plain) == "none" and exponentials(plain) == 0
    assert spike_value(plain.with_settings({"neuron.gamma": 4})) == "power of two"
    msat = Recipe("m").with_settings({"neuron.kind": "msat"})
    assert (
        spike_value(msat) == "any" and exponentials(msat) == 4
    )  # exp and ln of Eq. 15, exp of Eq. 16, the sigmoid's exp
    assert exponentials(msat.with_settings({"msat.dtt": False, "msat.mu": True})) == 3
    assert exponentials(msat.with_settings({"msat.variant": "algorithm1"})) == 0
    staged = msat.with_settings({"msat.stages": 2})
    assert spike_value(staged) == "power of two" and exponentials(staged) == 4
    # DTT in stages is a comparison per stage.
    assert exponentials(staged.with_settings({"msat.det": False})) == 0
    model = CostModel.of(run[1])
    weights = 27 * 8 + 72 * 12 + 12 * 8 + (8 + 8) * 16  # of CFG
    reads, writes = 3 * 1024 + 8 * 256 + 12 * 64 + 16 * 256, 8 * 1024 + 12 * 64 + 8 * 64 + 16 * 256
    assert (model.weights, model.inputs, model.outputs, model.streams) == (
        weights,
        reads,
        writes,
        False,
    )
    size, silu = model.size(5, 7), CostModel("spikes", "any", True, 2)
    assert silu.work(3, size, 1, 2, 3, 4) == Work(3, 1, 2, 3, 12, "any", 2 * 7 * 3)


# Boxes that last before the network has settled.
STEADY = {"threshold.scope": "channel", "threshold.scale": 0.14}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene")
    weights, _ = make_scene(folder)
    dataset, network, ann = (
        load_coco(folder),
        load(weights, "dcgs", STEADY),
        load_ann(weights),
    )
    rivals = {bits: quantised_ann(ann.graph, load_statistics(ann), bits) for bits in (3, 8)}
    options = EvaluationOptions(T=8, steps=(2, 4), early_exit=1, batch=1)
    records = observe_images(network, DetectionTask(network.spec, dataset), options, rivals)
    return dataset, network, records, CocoScorer(dataset)


@pytest.fixture(scope="module")
def rows(run):
    return table(run[2], run[3], CostModel.of(run[1]))


def test_rows_are_means_over_images(run, rows):
    records = run[2]
    for row in rows.steps:
        at = [r.steps[row["T"]] for r in records]
        assert row["spikes_per_image"] == pytest.approx(sum(a.spikes for a in at) / 6)
        assert row["mean_rate"] == pytest.approx(sum(a.mean_rate for a in at) / 6)
        for counting in ("spikes", "digits", "messages"):
            total = sum(a.operations[counting] for a in at) / 6
            assert row[f"sops_per_mac_{counting}"] == pytest.approx(total / records[0].macs)
        cost = row["effective_ACs"] * 0.93 + records[0].analogue_macs * 4.6
        cost += row["membrane_updates"] * 0.9
        assert row["energy_mJ_fp32"] == pytest.approx(cost / 1e9)
        assert row["effective_ACs"] / records[0].macs == pytest.approx(row["sops_per_mac_digits"])
        assert row["sops_per_mac_spikes"] == pytest.approx(row["sops_per_image"] / records[0].macs)
        sent = sum(a.sent["messages"] for a in at) / 6 / row["T"]
        assert row["activation_sparsity"] == pytest.approx(1 - sent / records[0].neurons)
        assert row["membrane_updates"] == pytest.approx(sum(a.updates for a in at) / 6)
        assert row["effective_MACs"] == records[0].analogue_macs
    assert rows.ann["energy_mJ_fp32"] == pytest.approx(records[0].macs * 4.6e-9)
    assert [row["bits"] for row in rows.baseline] == [3, 8]
    assert rows.baseline[0]["mAP50"] < rows.baseline[1]["mAP50"] <= rows.ann["mAP50"] + 0.1


def test_early_exit_row(run, rows):
    stops = [r.exit.t for r in run[2]]
    assert rows.exit["mean_T"] == pytest.approx(sum(stops) / 6) and rows.exit["mean_T"] < 8
    saved = 1 - (
        sum(r.exit.operations["spikes"] for r in run[2])
        / sum(r.steps[8].operations["spikes"] for r in run[2])
    )
    assert rows.exit["operations_saved"] == pytest.approx(saved) and saved > 0
    assert rows.exit["mAP50_kept"] == pytest.approx(rows.exit["mAP50"] / rows.steps[-1]["mAP50"])


def with_energy(rows: Table) -> Table:
    """The rows with the energies of a chip, which has none for the ANN."""
    steps = []
    for row in rows.steps:
        work = rows.works[str(row["T"])]
        steps.append({**row, LOIHI.energy: LOIHI.snn(work, rows.size)})
    exit_row = {**(rows.exit or {}), LOIHI.energy: 1.0}
    ann = {**rows.ann, LOIHI.energy: LOIHI.ann(rows.size)}
    return dataclasses.replace(rows, ann=ann, steps=steps, exit=exit_row)


def test_texts_fit_the_terminal(rows):
    intervals = row_intervals(resamplings(rows, 20, 0))
    texts = [main_table(rows, ("mAP50", "mAP50-95")), class_table(rows)]
    texts += [interval_table(intervals, "mAP50"), neurobench_table(rows)]
    chip = energy_table(with_energy(rows), (*ACCOUNTS, LOIHI), break_even(rows, ACCOUNTS))
    assert chip.splitlines()[1].split()[-1] == "-"
    texts.append(chip)
    texts.append(energy_table(rows, ACCOUNTS, break_even(rows, ACCOUNTS)))
    assert [line.split("  ")[0] for line in texts[-1].splitlines()[1:6]] == [
        "ANN",
        "T=2",
        "T=4",
        "T=8",
        "early exit",
    ]
    assert [f"{rows.ann[a.energy]:.3g}" for a in ACCOUNTS] == texts[-1].splitlines()[1].split()[1:]
    for lines in (t.splitlines() for t in texts):
        assert max(map(len, lines)) <= WIDTH
    main = texts[0].splitlines()
    assert [line.split("  ")[0] for line in main[2:7]] == [
        "ANN",
        "ANN 3 bit",
        "ANN 8 bit",
        "T=2",
        "T=4",
    ]
    assert f"{100 * rows.steps[0]['mAP50']:.1f}" in main[5]
    assert percent(math.nan) == "-"


def test_a_table_of_classes_names_the_timesteps_that_do_not_fit(rows):
    assert "not shown" not in class_table(rows)
    last = rows.steps[-1]
    scored = {**rows.scored, **{str(t): rows.scored["8"] for t in range(9, 15)}}
    long = dataclasses.replace(
        rows, steps=[*rows.steps, *({**last, "T": t} for t in range(9, 15))], scored=scored
    )
    assert class_table(long).splitlines()[-1] == "not shown: T = 2"


def test_intervals_hold_the_figures(rows):
    intervals = row_intervals(resamplings(rows, 50, 0))
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
    assert set(content) >= {
        "weights_sha256",
        "method",
        "recipe",
        "versions",
        "ann",
        "steps",
        "baseline",
        "early_exit",
    }
    assert content["ann"]["AP_large"] is None and json.dumps(content, allow_nan=False)
    assert content["steps"][1]["T"] == 4 and len(content["steps"][1]["interval_95"]["mAP50"]) == 2
    with open(tmp_path / "results.csv") as file:
        lines = list(csv.DictReader(file))
    assert [line["row"] for line in lines] == [
        "ann",
        "ann 3 bit",
        "ann 8 bit",
        "T=2",
        "T=4",
        "T=8",
        "early exit",
    ]
    assert float(lines[3]["mAP50"]) == rows.steps[0]["mAP50"] and lines[0]["AP_large"] == ""
    saved = json.loads((tmp_path / "predictions_4.json").read_text())
    assert {row["category_id"] for row in saved} <= {10, 20, 30}
    assert len(saved) == sum(len(r.steps[4].prediction) for r in records)
    assert {row["image_id"] for row in saved} == {s.image_id for s in dataset.samples}
    assert {p.stem for p in tmp_path.glob("*.png")} == {
        "mAP-T",
        "mAP-operations",
        "precision-recall",
        "class-change",
        "energy-operations",
    }


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
