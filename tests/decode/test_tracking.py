"""Tracks of boxes: which objects keep their ids, and when."""

import sys

import pytest
from helpers.drawing import detections, square

from spiking_yolo.decode.boxes import Detections
from spiking_yolo.decode.tracking import NO_TRACK, Tracker
from spiking_yolo.errors import UserError

CAT, DOG = 0, 1


def boxes(*rows: tuple[float, float, int]) -> Detections:
    """Squares of 20 pixels, best first: (left, confidence, class)."""
    return detections(*[square(*row) for row in rows])


def ids(tracked: Detections) -> list[int]:
    assert tracked.track_id is not None
    return tracked.track_id.tolist()


def test_a_missing_extra_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(UserError, match=r"this needs trackers .*pip install '.*\[track\]'"):
        Tracker(25)


class TestTracker:
    @pytest.fixture(autouse=True)
    def library(self):
        pytest.importorskip("trackers", reason="needs the extra track")

    def test_objects_keep_their_ids_while_they_move(self):
        tracker = Tracker(25)
        seen = [
            ids(tracker.update(boxes((4.0 * t, 0.9, CAT), (300 - 4.0 * t, 0.8, CAT))))
            for t in range(30)
        ]
        assert seen == [[NO_TRACK, NO_TRACK]] + [[1, 2]] * 29

    def test_boxes_stay_best_first_however_the_library_orders_them(self):
        tracker = Tracker(25)
        frames = [(0, 0.7, CAT), (100, 0.9, DOG), (200, 0.8, CAT)]
        for _ in range(3):
            ordered = sorted(frames, key=lambda row: -row[1])
            tracked = tracker.update(boxes(*ordered))
            assert tracked.confidence.tolist() == pytest.approx([0.9, 0.8, 0.7])
            assert tracked.xyxy[:, 0].tolist() == [100, 200, 0]
            assert tracked.class_id.tolist() == [DOG, CAT, CAT]
        # Numbered class by class, in each the surest first.
        assert ids(tracked) == [3, 1, 2]

    def test_weak_boxes_continue_a_track_and_start_none(self):
        tracker = Tracker(25, conf=0.5)
        strong, weak = boxes((0, 0.9, CAT)), boxes((0, 0.3, CAT))
        assert [ids(tracker.update(weak)) for _ in range(3)] == [[NO_TRACK]] * 3
        seen = [ids(tracker.update(one)) for one in (strong, strong, weak, weak, strong)]
        assert seen == [[NO_TRACK], [1], [1], [1], [1]]

    def test_classes_share_no_track(self):
        tracker = Tracker(25)
        for _ in range(3):
            tracker.update(boxes((0, 0.9, CAT)))
        # At the place of the cat, which is gone.
        assert ids(tracker.update(boxes((0, 0.9, DOG)))) == [NO_TRACK]
        assert ids(tracker.update(boxes((0, 0.9, DOG), (0, 0.8, CAT)))) == [2, 1]

    def test_no_track_goes_on_beyond_a_cut_and_no_id_comes_again(self):
        tracker = Tracker(25)
        one = boxes((0, 0.9, CAT))
        assert [ids(tracker.update(one)) for _ in range(2)] == [[NO_TRACK], [1]]
        assert ids(tracker.update(one, cut=True)) == [NO_TRACK]
        assert ids(tracker.update(one)) == [2]

    @pytest.mark.parametrize("fps", [5, 30])
    def test_a_track_survives_a_second(self, fps):
        for missing, expected in ((fps - 1, 1), (fps + 2, 2)):
            tracker = Tracker(fps)
            one, none = boxes((0, 0.9, CAT)), boxes()
            for _ in range(3):
                tracker.update(one)
            for _ in range(missing):
                assert len(tracker.update(none)) == 0
            tracker.update(one)
            assert ids(tracker.update(one)) == [expected]

    def test_nothing_of_a_lost_track_is_kept(self):
        tracker = Tracker(2)
        for n in range(50):
            tracker.update(boxes((100 * n, 0.9, CAT)))
            tracker.update(boxes((100 * n, 0.9, CAT)))
        (tracks,) = tracker._of_class.values()
        assert len(tracks.ids) < 5
        for _ in range(5):
            tracker.update(boxes())
        assert not tracker._of_class
