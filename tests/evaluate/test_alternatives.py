"""What the ANN would find if it ran in fewer frames, against boxes and frames made by hand."""

import numpy as np
import pytest
from helpers.drawing import detections, square

from spiking_yolo.decode.boxes import Detections
from spiking_yolo.evaluate.alternatives import LEARN, alternatives, carry, hold, motion, share_of


def box(left: float, confidence: float = 0.9) -> Detections:
    return detections(square(left, confidence))


def lefts(frames: list[Detections]) -> list[float]:
    return [frame.xyxy[0, 0].item() for frame in frames]


def test_boxes_are_held_until_the_next_frame_that_is_seen():
    video = [box(10.0 * n) for n in range(6)]
    seen = [False, False, True, False, False, True]
    assert lefts(hold(video, seen)) == [0, 0, 20, 20, 20, 50]
    assert share_of([seen, [True, True]]) == 4 / 8


def test_a_box_in_a_track_moves_on_where_nobody_looks():
    pytest.importorskip("trackers", reason="needs the extra track")
    video = [box(2.0 * n) for n in range(40)]
    seen = [n % 3 == 0 for n in range(40)]
    held, carried = hold(video, seen), carry(video, 3, 25)
    truth = np.array(lefts(video))
    assert np.abs(lefts(held) - truth)[20:].max() == 4
    assert np.abs(lefts(carried) - truth)[20:].max() < 0.5
    assert all(frame.track_id is None for frame in carried)


def test_a_weak_box_has_no_track_and_stays():
    pytest.importorskip("trackers", reason="needs the extra track")
    video = [box(2.0 * n, confidence=0.3) for n in range(9)]
    seen = [n % 3 == 0 for n in range(9)]
    assert lefts(carry(video, 3, 25)) == lefts(hold(video, seen))


def test_the_gate_opens_where_something_moves():
    generator = np.random.default_rng(0)
    street = generator.integers(60, 190, (200, 300, 3)).astype(np.uint8)
    frames = [street + generator.integers(0, 8, street.shape, np.uint8) for _ in range(30)]
    for n in (20, 21):
        # A car of 40 x 40 pixels, and one of 2 x 2, which is noise.
        frames[n][80:120, 100:140] = 255
    frames[25][50:52, 50:52] = 255
    opened = [n for n, moves in enumerate(motion(frames)) if moves and n >= LEARN]
    assert opened == [20, 21]


def test_every_alternative_is_named_and_charged_its_share():
    video = [box(float(n)) for n in range(12)]
    found = alternatives([video], [25.0], [[True] * 3 + [False] * 9], track=False)
    shares = {one.name: round(one.share, 3) for one in found}
    assert shares == {
        "1 in 2": 0.5,
        "1 in 3": 0.333,
        "1 in 4": 0.25,
        "1 in 6": 0.167,
        "1 in 10": 0.167,
        "where it moves": 0.25,
    }
    assert lefts(found[1].boxes[0]) == [0, 0, 0, 3, 3, 3, 6, 6, 6, 9, 9, 9]
