"""The verdict on boxes, times and work that were made by hand."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
from helpers.drawing import detections, square

from spiking_yolo.apps.detect import verdict
from spiking_yolo.apps.detect.verdict import Totals, energies, lines, rival
from spiking_yolo.decode.boxes import Detections, same_objects
from spiking_yolo.evaluate.baselines import EightBits
from spiking_yolo.metrics.energy import NetworkSize, Work


def box(left: float) -> Detections:
    return detections(square(left))


NOTHING = box(0).take(slice(0))
STILL = [box(0.0)] * 12
# Half of a box's width in a frame: what is held is another object in the next one.
FAST = [box(10.0 * n) for n in range(12)]
# 0.1 G operations beside 1 G multiply-accumulates: less energy in five of six models.
SIZE, WORK = NetworkSize(1e9), Work(1, 1e8, potential_bytes=3)


class Timed(EightBits):
    """An ANN in 8 bits that takes so many seconds."""

    def __init__(self, spent: float):
        self.spent = spent

    def seconds(self, height: int, width: int) -> float:
        return self.spent


@pytest.fixture(autouse=True)
def no_tracker(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(verdict, "find_spec", lambda _: None)
    monkeypatch.setattr(verdict, "library", lambda: "built")


def facts(
    ann: Sequence[Detections],
    own: Sequence[Detections],
    ms: float = 5.0,
    ann_ms: float = math.nan,
    work: Work = WORK,
) -> dict[str, Any]:
    """A video whose network takes so long for a later frame, and whose ANN takes 10 ms in PyTorch,
    boxes 1 ms of them.
    """
    later = [(ms / 1e3, 0.01, 0.001)] * (len(ann) - 1)
    spent = [(Work(1, 5e9), SIZE)] + [(work, SIZE)] * (len(ann) - 1)
    timed, seconds = Timed(ann_ms / 1e3), [(0.1, 0.5, 0.4), *later]
    return Totals(timed, 25.0, ("dog",), (1, 1), spent, seconds, list(own), list(ann)).facts()


@pytest.mark.parametrize(
    ("ann", "own", "name", "share"),
    [
        # Boxes that stand still can be held for the whole clip, in two frames of twelve.
        (STILL, STILL, "1 in 6", 2 / 12),
        # Of boxes that move, every one is wrong that is held.
        (FAST, FAST, "every frame", 1),
        # Spikes that find nothing are beaten by whatever is faster.
        (FAST, [NOTHING] * 12, "1 in 2", 1 / 2),
        (STILL, [NOTHING] * 12, "1 in 6", 2 / 12),
    ],
)
def test_the_fewest_frames_that_are_as_good(
    ann: Sequence[Detections], own: Sequence[Detections], name: str, share: float
):
    assert rival(facts(ann, own)) == (name, pytest.approx(share))


@pytest.mark.parametrize(
    ("ann", "own", "ms", "ann_ms", "operations", "word"),
    [
        # Faster than the ANN in 8 bits with its boxes: 5 for 9 + 1 ms.
        (FAST, FAST, 5, 9, 1e8, "Worth it"),
        # As fast, within what a clock tells; but less energy in some models.
        (FAST, FAST, 9.8, 9, 1e8, "Depends on the chip"),
        # Two frames of twelve would do: 1.7 ms, and a sixth of the energy, which is less than 0.3
        # of float32 arithmetic.
        (STILL, STILL, 5, 9, 1.5e9, "Not worth it"),
        (STILL, STILL, 1.5, 9, 1.5e9, "Worth it"),
        # A sixth of the ANN's energy is more than 0.02 of it.
        (STILL, STILL, 5, 9, 1e8, "Depends on the chip"),
        # More energy in every model, and no time to compare.
        (FAST, FAST, 5, math.nan, 9e9, "Not worth it"),
        (FAST, FAST, 5, math.nan, 1e8, "Depends on the chip"),
        # Of twelve boxes one may be lost, not two.
        (FAST, [NOTHING, *FAST[1:]], 5, 99, 1e8, "Worth it"),
        (FAST, [NOTHING, NOTHING, *FAST[2:]], 5, 99, 1e8, "Not worth it"),
        ([NOTHING] * 12, FAST, 5, 9, 1e8, "Not known"),
    ],
)  # fmt: skip
def test_the_rule(
    ann: Sequence[Detections],
    own: Sequence[Detections],
    ms: float,
    ann_ms: float,
    operations: float,
    word: str,
):
    work = Work(1, operations, potential_bytes=3)
    assert facts(ann, own, ms, ann_ms, work)["verdict"] == word


def test_boxes_of_a_class_that_overlap_by_half_are_one_object():
    rows = (10, 10, 1, 1), (10, 5, 1, 1), (10, 4.9, 1, 1), (10, 10, 1, 2)
    boxes = detections(*[(0, 0, *row) for row in rows])
    assert same_objects(boxes, boxes)[0].tolist() == [True, True, False, False]


def test_a_tracker_carries_boxes_on(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("trackers", reason="needs the extra track")
    monkeypatch.undo()
    slow = [box(1.0 * n) for n in range(60)]
    assert rival(facts(slow, [NOTHING] * 60)) == ("1 in 10, tracked", pytest.approx(0.1))


def test_the_lines_of_a_video(monkeypatch: pytest.MonkeyPatch):
    boxes, time, energy = lines(facts(FAST, [NOTHING, *FAST[1:]], 5, 9), "frame")
    assert boxes == "Worth it. Boxes: 11 of the ANN's 12 kept, 1 lost, 0 added"
    assert time == (
        "Time: 5 ms a frame on this computer; the 8-bit ANN (onnxruntime) takes 10, and loses more"
        " boxes if it sees fewer frames"
    )
    # 0.09 of 4.6 pJ; 0.8825 of 0.3, of 2.8; the ANN fetches nothing twice: 0.3.
    assert energy == (
        "Energy: 0.02 to 2.9 times the ANN's, as chips differ; 0.32 times where every access to"
        " memory is charged (SRAM 8 KB)"
    )
    _, time, _ = lines(facts(STILL, STILL, 5, 9), "frame")
    assert time.endswith("takes 10, or 1.67 if it sees 1 frame in 6, with boxes as good")
    _, time, _ = lines(facts(FAST, FAST, 5, 9) | {"pictures": 1}, "photograph")
    assert time.startswith(
        "Time: 5 ms on this computer for the first photograph, which also sets the network up; the"
    )
    tracked = {"1 in 6, tracked": {"share": 1 / 6, "lost": 0, "added": 0}}
    _, time, _ = lines(facts(STILL, STILL, 5, 1199) | {"instead": tracked}, "frame")
    assert "takes 1200, or 200 if it sees 1 frame in 6 and boxes are tracked, with" in time
    monkeypatch.setattr(verdict, "library", lambda: None)
    boxes, time, _ = lines(facts(FAST, [NOTHING, NOTHING, *FAST[2:]]), "frame")
    assert "10 of the ANN's 12 kept, 2 lost, 0 added; another --calibration" in boxes
    assert time.startswith(
        "Time: 5 ms a frame on this computer without the compiled kernels; the ANN takes 10 in"
        " PyTorch, and less in 8 bits: to time that, pip install"
    )


def test_classes_of_which_many_are_lost_are_named():
    """Of ten cats two, of two dogs both."""
    ann = [detections((0, 0, 10, 10, 0.9, 1))] * 10 + [detections((0, 0, 10, 10, 0.9, 0))] * 2
    own = [NOTHING] * 2 + list(ann[2:10]) + [NOTHING] * 2
    spent, seconds = [(WORK, SIZE)] * 12, [(0.1, 0.5, 0.4)] * 12
    found = Totals(None, None, ("dog", "cat"), (1, 1), spent, seconds, own, list(ann)).facts()
    assert found["lost"] == {"cat": [2, 10], "dog": [2, 2]}
    boxes, *_ = lines(found, "photograph")
    assert "4 lost, 0 added (hardest hit: 2 of 10 x cat, 2 of 2 x dog)" in boxes


def test_energies_by_hand():
    """The mean of two photographs, with the widest potentials; Loihi beside the ANN with SRAM."""
    found = energies(
        [(Work(1, 0, potential_bytes=2), SIZE), (Work(1, 2e8, potential_bytes=3), SIZE)]
    )
    assert found["potential_bits"] == 24
    rows = found["energy"]
    assert list(rows["fp32"].values()) == pytest.approx([0.09, 4.6, 0.09 / 4.6])
    assert rows["sram"]["ann_mJ"] == rows["loihi"]["ann_mJ"] == pytest.approx(2.8)
    assert rows["loihi"]["snn_mJ"] == pytest.approx(2.4)
    assert found["energy_range"] == [rows["fp32"]["share"], rows["dataflow"]["share"]]


def test_without_the_ann_there_is_its_energy_alone():
    found = Totals(spent=[(WORK, SIZE)]).facts()
    (line,) = lines(found, "photograph")
    assert line.startswith("Energy: ") and line.endswith("--ann compares boxes and time")
    assert found["operations_per_mac"]["later"] == pytest.approx(0.1) and "boxes" not in found
