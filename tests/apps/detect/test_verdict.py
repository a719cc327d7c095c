"""The verdict on boxes, times and work that were made by hand."""

from collections.abc import Sequence

import pytest
from helpers.drawing import detections, square

from spiking_yolo.apps.detect import verdict
from spiking_yolo.apps.detect.verdict import Totals, beside, energy_sentence
from spiking_yolo.decode.boxes import Detections, same_objects
from spiking_yolo.metrics.energy import NetworkSize, Work


def box(left: float) -> Detections:
    return detections(square(left))


NOTHING = box(0).take(slice(0))
STILL = [box(0.0)] * 12
# Half of a box's width in a frame: what is held is another object in the next one.
FAST = [box(10.0 * n) for n in range(12)]


@pytest.fixture(autouse=True)
def no_tracker(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(verdict, "find_spec", lambda _: None)


@pytest.mark.parametrize(
    ("ann", "own", "share", "said"),
    [
        # Boxes that stand still can be held for the whole clip, in two frames of twelve.
        (STILL, STILL, 0.5, "better without spikes: the ANN on 1 frame in 6 with boxes held would "
         "take 0.17 of its time, add 0 boxes and miss 0"),
        # Of boxes that move, three frames in four are wrong; a half would be in more time.
        (FAST, FAST, 0.3, "without spikes: the ANN on 1 frame in 4 with boxes held would take 0.25 "
         "of its time, add 9 boxes and miss 9"),
        # Spikes that find nothing are beaten by whatever is as fast.
        (FAST, [NOTHING] * 12, 0.6, "better without spikes: the ANN on 1 frame in 2 with boxes held "
         "would take 0.5 of its time, add 6 boxes and miss 6"),
        (STILL, [NOTHING] * 12, 0.6, "better without spikes: the ANN on 1 frame in 6 with boxes "
         "held would take 0.17 of its time, add 0 boxes and miss 0"),
        # Nothing is as fast.
        (FAST, FAST, 0.01, "without spikes: the ANN on 1 frame in 6 with boxes held would take 0.17 "
         "of its time, add 10 boxes and miss 10"),
        # Spikes that are slower than the ANN.
        (FAST, FAST, 1.2, "better without spikes: the ANN itself takes no more time"),
    ],
)  # fmt: skip
def test_the_best_alternative(
    ann: Sequence[Detections], own: Sequence[Detections], share: float, said: str
):
    assert beside(ann, own, share, 25.0) == said


def test_boxes_of_a_class_that_overlap_by_half_are_one_object():
    rows = (10, 10, 1, 1), (10, 5, 1, 1), (10, 4.9, 1, 1), (10, 10, 1, 2)
    boxes = detections(*[(0, 0, *row) for row in rows])
    assert same_objects(boxes, boxes)[0].tolist() == [True, True, False, False]


def test_a_tracker_carries_boxes_on(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("trackers", reason="needs the extra track")
    monkeypatch.undo()
    slow = [box(1.0 * n) for n in range(60)]
    said = beside(slow, [NOTHING] * 60, 0.15, 25.0)
    assert said.startswith("better without spikes: the ANN on 1 frame in 10 with a tracker would")


def totals(frames: Sequence[Detections], *spent: tuple[Work, NetworkSize]) -> Totals:
    """A video whose network takes 5 ms for a later frame, and whose ANN takes 10."""
    seconds = [(0.1, 0.5)] + [(0.005, 0.01)] * (len(frames) - 1)
    return Totals(("dog",), list(spent), seconds, list(frames), list(STILL), len(frames))


def test_the_lines_of_a_video():
    """Time first, of later frames; then the best alternative; then the models."""
    size = NetworkSize(1e9)
    first, later = Work(1, 5e9), Work(1, 1e8, potential_bytes=3)
    found = [NOTHING, *STILL[1:]]
    time, other, energies = totals(found, (first, size), *[(later, size)] * 11).of_video(25.0)
    assert time == (
        "a later frame takes 0.5 of the ANN's time here (5 of 10 ms, in PyTorch); boxes: spikes add 0, miss 1"
        " of the ANN's 12 (8 %: 1 of 12 x dog)"
    )
    assert other.startswith("better without spikes: the ANN on 1 frame in 6 with boxes held")
    two, _, _ = totals([NOTHING, NOTHING, *STILL[2:]], *[(later, size)] * 12).of_video(25.0)
    assert "(17 %: 2 of 12 x dog); another --calibration" in two
    assert energies == energy_sentence("a later frame", [(later, size)])
    uncompared = Totals(("dog",), [(first, size)], boxes=3)
    assert uncompared.of_video(25.0) == [energy_sentence("the only frame", [(first, size)])]


def test_the_models_by_hand():
    """pJ of 1 G MACs beside 0.1 G operations, with the widest potentials: 24 bits."""
    size, work = NetworkSize(1e9), Work(1, 1e8, potential_bytes=2)
    said = energy_sentence("a photograph", [(work, size), (Work(1, 1e8, potential_bytes=3), size)])
    # 0.09 of 4.6 mJ; 0.8825 of 0.3, of 2.8; Loihi: 2.4 of 2.8.
    assert said == (
        "a photograph takes less energy than the ANN in 5 of 6 cost models: from 0.02 of it"
        " (float32 arithmetic) to 2.94 times as much (the ANN's values fetched once, every access of"
        " events), 0.32 of it with 8 bits and every access to 8 KB of SRAM and potentials of 24 bits; Loihi's"
        " coefficients give 0.857 times that ANN's"
    )


def test_photographs_are_all_counted():
    size = NetworkSize(1e9)
    said = Totals((), [(Work(1, 0), size), (Work(1, 2e8), size)]).of_photographs()
    mean = energy_sentence("a photograph", [(Work(1, 1e8), size)])
    assert said == f"{mean}; it finds no box: compare with --ann"
