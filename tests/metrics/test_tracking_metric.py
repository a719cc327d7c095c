"""MOTA, IDF1 and HOTA of tracks, against values worked out by hand."""

import pytest
import torch

from spiking_yolo.data.mot import MotBoxes
from spiking_yolo.decode.boxes import Detections

pytest.importorskip("trackers", reason="needs the extra track")

from spiking_yolo.metrics.video import track_frames, track_scores

# Corners of two people who stand apart, and of somebody else.
ANNE, BERT, CARL = [0, 0, 10, 20], [100, 0, 110, 20], [200, 0, 210, 20]


def seen(*boxes: tuple[list[float], int]) -> Detections:
    """Tracked boxes of one frame: corners and id."""
    xyxy = torch.tensor([corners for corners, _ in boxes], dtype=torch.float32).reshape(-1, 4)
    ids = torch.tensor([one for _, one in boxes], dtype=torch.int64)
    return Detections(xyxy, torch.full((len(boxes),), 0.9), torch.zeros_like(ids), ids)


def people(*corners: list[float], ignored: object = False) -> MotBoxes:
    return MotBoxes.of(corners, ids=[1, 2, 3][: len(corners)], ignored=ignored)


def test_a_miss_a_false_box_and_a_switch_by_hand():
    truth = {n: people(ANNE, BERT) for n in (1, 2, 3, 4)}
    others = ((BERT, 2), (CARL, 9), (BERT, 2), (BERT, 3))
    frames = [seen((ANNE, 1), other) for other in others]
    scores = track_scores([frames], [truth])
    # Of eight boxes one is missed; one is false, and one has another identity than before.
    assert scores["MOTA"] == pytest.approx(1 - 3 / 8) and scores["id_switches"] == 1
    # Identities 1 and 2 hold for six boxes; the other two boxes and two people are unmatched.
    assert scores["IDF1"] == pytest.approx(2 * 6 / (8 + 8))
    # Anne: association 4 / 4. Bert: as 2, in 2 of his 4 frames, as 3 in 1 of 4. Boxes: 7 of 9.
    association = (4 * 1 + 2 * 2 / 4 + 1 * 1 / 4) / 7
    assert scores["HOTA"] == pytest.approx((7 / 9 * association) ** 0.5)
    assert (scores["tracks"], scores["people"]) == (4, 2)


def test_a_box_that_stands_for_an_ignored_person_counts_neither_way():
    truth = {n: people(ANNE, BERT, ignored=[False, True]) for n in (1, 2)}
    scores = track_scores([[seen((ANNE, 1), (BERT, 2))] * 2], [truth])
    assert (scores["MOTA"], scores["tracks"], scores["people"]) == (1.0, 1, 1)
    worse = track_scores([[seen((ANNE, 1), (CARL, 2))] * 2], [truth])
    assert worse["MOTA"] == 0.0


def test_several_videos_are_added_up_and_share_no_identity():
    truth = {n: people(ANNE) for n in (1, 2)}
    videos = [[seen((ANNE, 1))] * 2, [seen((ANNE, 1)), seen()]]
    scores = track_scores(videos, [truth, truth])
    assert scores["MOTA"] == pytest.approx(3 / 4) and scores["IDF1"] == pytest.approx(6 / 7)
    assert (scores["tracks"], scores["people"]) == (2, 2)


def test_boxes_in_a_track_are_kept_and_tracks_end_at_a_cut():
    def frame(confidence: float) -> Detections:
        return Detections(
            torch.tensor([ANNE], dtype=torch.float32), torch.tensor([confidence]), torch.tensor([0])
        )

    frames = [frame(c) for c in (0.9, 0.9, 0.3, 0.3, 0.9, 0.9, 0.9)]
    tracked = track_frames(frames, fps=25, cuts={5})
    ids = [of_frame.track_id.tolist() for of_frame in tracked]
    assert ids == [[], [1], [1], [1], [1], [], [2]]
