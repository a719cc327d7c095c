"""What a Result says of itself, and the forms in which it leaves: text, pictures, tables and other
libraries' types.
"""

import json
from typing import Any

import numpy as np
import pytest
import torch
from helpers.drawing import FIRST, falling
from PIL import Image

from spiking_yolo import Recipe, Result, UserError
from spiking_yolo.data.images import Placement
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.metrics.costs import NetworkCosts
from spiking_yolo.observe import Input, Observation, Seconds, StepObservation

NAMES = ("cat", "dog", "bird")
COSTS = NetworkCosts()
THREE = ["dog", "bird", "dog"]


def detections(count: int, tracks: bool = False) -> Detections:
    """At most three boxes; the second one is in no track."""
    return falling([1, 2, 1][:count], [7, -1, 5][:count] if tracks else None)


def result(count: int = 3, tracks: bool = False, recipe: Any = None, **changes: Any) -> Result:
    """changes: of the Observation or, by their names, of its Input."""
    image = np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8)
    placement = Placement((80, 48), (64, 38), (0, 13), (64, 64))
    given = {"image": image, "path": "a.png", "placement": placement}
    given |= {k: changes.pop(k) for k in ("image", "path", "frame") if k in changes}
    boxes = {2: detections(0), 4: detections(1), 8: detections(count, tracks)}
    steps = {
        t: StepObservation(
            t,
            prediction,
            (),
            {"a": 5_000_000.0, "b": 100_000.0},
            {"spikes": 5_100_000.0, "digits": 3_200_000.0, "messages": 2e6},
            {"spikes": 400_000.0, "digits": 300_000.0, "messages": 2e5},
            {"spikes": 0.0, "digits": 0.0, "messages": 0.0},
            {"spikes": 6e9, "digits": 4e9, "messages": 3e9},
            0.0,
            min(t, 5),
        )
        for t, prediction in boxes.items()
    }
    values: dict[str, Any] = {
        "input": Input(torch.zeros(3, 64, 64), **given),
        "T": 8,
        "size": (64, 64),
        "steps": steps,
        "seconds": Seconds(0.1, 0.3, 0.1, 0.2, 0.2),
        "ann": detections(1),
        "neurons_by_layer": {"a": 1_000_000, "b": 500_000},
        "macs": 5_000_000_000,
        "settled": 5,
    }
    return Result.of(Observation(**{**values, **changes}), NAMES, recipe or Recipe("tested"), COSTS)


def ann() -> Result:
    return Result.of_ann(result().seen, NAMES, COSTS)


def test_json_has_all_steps():
    entry = json.loads(result().to_json())
    box = {"class_id": 1, "class": "dog", "confidence": 0.75, "box_xyxy": list(FIRST)}
    keys = ["image", "width", "height", "T", "method", "detections", "spikes", "mean_rate", "sent"]
    assert list(entry) == [*keys, "pooled", "operations", "macs", "steps"]
    assert [entry[key] for key in keys[:5]] == ["a.png", 80, 48, 8, "tested"]
    assert entry["operations"] == {"spikes": 6e9, "digits": 4e9, "messages": 3e9}
    # 1.5 M neurons, which sent nothing after step 5 of 8.
    assert (entry["spikes"], entry["mean_rate"]) == (5_100_000, 0.68)
    assert len(entry["detections"]) == 3 and entry["detections"][0] == box
    steps = [(2, []), (4, [box]), (8, entry["detections"])]
    assert [(s["T"], s["detections"]) for s in entry["steps"]] == steps
    assert [s["T"] for s in result().to_dict([4])["steps"]] == [4, 8]
    with pytest.raises(UserError, match="T=5"):
        result().counts(5)
    of_frame = result(frame=3, cut=True).to_dict()
    assert (of_frame["frame"], of_frame["cut"], of_frame["fresh"]) == (3, True, True)
    assert json.loads(ann().to_json())["steps"] == []


def test_tracked_boxes_have_ids():
    r = result(tracks=True)
    assert r.boxes.id is not None and r.boxes.id.tolist() == [7, -1, 5]
    assert [box["track_id"] for box in r.entries()] == [7, None, 5]
    assert r[[2]].boxes.id.tolist() == [5]
    assert r.steps[8].track_id is not None and r.steps[4].track_id is None
    assert result().boxes.id is None


def test_a_picture_is_saved_in_the_format_of_its_name(tmp_path):
    r = result()
    r.save(tmp_path / "new" / "a.png")
    r.save(str(tmp_path / "a.JPG"))
    assert (np.asarray(Image.open(tmp_path / "new" / "a.png")) == r.plot()).all()
    assert Image.open(tmp_path / "a.JPG").format == "JPEG"
    wrong: list[tuple[Any, str]] = [
        (tmp_path / "a.txt", "let its name end in"),
        (tmp_path / "a", "let its name end in"),
        (tmp_path / "a.JPG" / "a.png", "cannot write"),
    ]
    for path, message in wrong:
        with pytest.raises(UserError, match=message):
            r.save(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.JPG", "new"]


def test_supervision_gets_boxes_and_names():
    pytest.importorskip("supervision")
    given = result(tracks=True).to_supervision()
    assert given.xyxy.shape == (3, 4) and given.class_id.tolist() == [1, 2, 1]
    assert given.tracker_id.tolist() == [7, -1, 5]
    assert given["class_name"].tolist() == THREE
    assert len(result(0).to_supervision()) == 0


def test_an_index_gives_a_result_with_these_boxes():
    whole = result()
    for index in ([0, -1], slice(0, 3, 2)):
        some = whole[index]
        assert some.entries() == whole.entries()[::2] and some.steps[8] is some.detections
        # What it cost and the other steps are those of the image.
        assert some.operations == whole.operations and len(some.steps[4]) == 1
    assert len(whole[whole.boxes.conf > 0.7]) == 1 and len(whole[[]]) == 0 and len(whole[-1]) == 1


def test_labels(tmp_path):
    one = result(3, image=np.zeros((48, 80, 3), np.uint8))
    one.save_txt(tmp_path / "labels" / "a.txt")
    lines = (tmp_path / "labels" / "a.txt").read_text().splitlines()
    assert lines[0] == "1 0.303125 0.419271 0.406250 0.671875" and len(lines) == 3
    one.save_txt(tmp_path / "a.txt", save_conf=True)
    assert (tmp_path / "a.txt").read_text().splitlines()[0] == lines[0] + " 0.750000"


def test_energy_is_that_of_the_cost_models():
    """In mJ: 4 G digits at 0.1 pJ, beside 5 G multiply-accumulates at 0.2 + 0.1 pJ."""
    shown = result()
    assert shown.energy["int8"] == pytest.approx(4 * 0.1)
    assert shown.ann_energy["int8"] == pytest.approx(5 * 0.3)
    assert ann().energy == pytest.approx(shown.ann_energy, nan_ok=True)


def test_a_notebook_says_that_nothing_was_found():
    shown = result(0)._repr_html_()
    assert shown.startswith('<img src="data:image/jpeg;base64,') and "no boxes" in shown
