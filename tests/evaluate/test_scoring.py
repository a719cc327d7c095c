"""Which boxes are scored; rows, intervals and costs by hand."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.evaluating import make_scene

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.data.annotations import load_coco_json
from spiking_yolo.decode.selection import Selection
from spiking_yolo.evaluate.scoring import CocoScorer, Scored, Settings
from spiking_yolo.evaluate.table import ANN, Row, changing, with_intervals
from spiking_yolo.metrics.bootstrap import AccuracyResampled, Resampling
from spiking_yolo.metrics.costs import NetworkCosts, exponentials, spike_value
from spiking_yolo.metrics.energy import Work
from spiking_yolo.models.load import load_ann
from spiking_yolo.recipe import Recipe


def test_boxes_of_other_classes_take_nobodys_place(tmp_path):
    """max_det counts boxes of classes that the dataset has."""
    weights, path = make_scene(tmp_path, 2)
    content = json.loads(path.read_text())
    content["categories"] = content["categories"][:1]
    content["annotations"] = [a for a in content["annotations"] if a["category_id"] == 10]
    path.write_text(json.dumps(content))
    dataset = load_coco_json(path, images=tmp_path / "images")
    scorer = CocoScorer(dataset, load_ann(weights).spec, Selection())
    assert scorer.selection.classes == (0,)
    assert scorer.notes == ["1 of the network's 3 classes are matched with the dataset's 1 by name"]


def row(method: str, hits: list[int], T: int | None = None, **own: object) -> Row:
    data = AccuracyResampled({"top1": np.array(hits)})
    figures = {"top1": float(np.mean(hits))}
    scored = Scored(figures, resampled=lambda n, seed: Resampling.of(data, n, seed))
    return Row.of(method, "data", scored, Settings(bootstrap=200), T=T, **own)


def test_intervals_are_paired():
    rows = [
        row(ANN, [1, 1, 1, 0]),
        row("a", [1, 1, 0, 0], 1),
        row("a", [1, 1, 1, 0], 2),
        row("b", [0, 1, 0, 0], 1),
    ]
    ann, first, second, other = with_intervals(rows)
    assert set(ann.intervals) == {"top1"} and ann.resampling is None
    assert set(first.intervals) == set(second.intervals) == {"top1", "top1_minus_ann"}
    # The same images: no draw tells them apart.
    same = second.intervals["top1_minus_ann"]
    assert (same.low, same.value, same.high) == (0, 0, 0)
    minus = other.intervals["top1_minus_first"]
    assert minus.value == -0.25 and -0.75 <= minus.low < -0.25 < minus.high == 0
    assert other.intervals["top1_minus_ann"].value == -0.5
    flat = first.flat()
    assert flat["T"] == 1 and flat["interval_95"]["top1_minus_ann"][1] == 0


def test_steps_after_nothing_changes():
    def step(T: int, top1: float, error: float) -> Row:
        costs = {"output_error": error, "sops_per_mac_spikes": 1.0}
        return Row(data="d", method="m", T=T, scored=Scored({"top1": top1}), costs=costs)

    moving = [step(1, 0.5, 0.2), step(2, 0.5, 0.1), step(4, 0.6, 0.1)]
    assert changing(moving) == moving
    still = [*moving, step(8, 0.6, 0.1), step(16, 0.6, 0.1)]
    assert changing(still) == moving


def test_what_events_carry():
    plain = get_recipe("channel-norm")
    assert spike_value(plain) == "none" and exponentials(plain) == 0
    assert spike_value(plain.with_settings({"neuron.gamma": 4})) == "power of two"
    msat = get_recipe("msat")
    # exp and ln of Eq. 15, exp of Eq. 16, the sigmoid's exp.
    assert spike_value(msat) == "any" and exponentials(msat) == 4
    assert exponentials(Recipe("m"), silu=True) == 1


def test_rate_coding_computes_analogue_layers_in_every_step():
    step = SimpleNamespace(operations={"messages": 1.0}, events={"messages": 2.0}, updates=3.0)
    own = {"macs": 5.0, "analogue_macs": 4.0, "settled": None}
    seen = SimpleNamespace(steps={3: step}, neurons=7, potential_bytes=3, **own)
    streams = NetworkCosts("spikes", "any", True, 2)
    assert streams.work(seen, 3) == Work(3, 1, 2, 3, 12, "any", 2 * 7 * 3, 3)
    assert NetworkCosts("spikes", "any", False, 2).work(seen, 3).analogue_macs == 4
    assert streams.ann_energies(seen)["fp32"] == pytest.approx(5 * 4.6 / 1e9)
