"""Scores of tracks against annotated people: MOTA, IDF1 and HOTA, by the package `trackers`.

MOTA (Bernardin and Stiefelhagen 2008) counts misses, false boxes and changes of identity; IDF1
(Ristani et al. 2016) how long each person keeps one identity; HOTA (Luiten et al. 2021) is the
geometric mean of how well people are detected and how well their boxes are associated.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from torch import from_numpy
from torchvision.ops import box_iou

from spiking_yolo.data.mot import MotBoxes
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.decode.tracking import NO_TRACK, Tracker
from spiking_yolo.errors import require

FIGURES = ("MOTA", "IDF1", "HOTA")
# Overlap of a box and the person that it stands for.
OVERLAP = 0.5


def track_frames(
    frames: Sequence[Detections], fps: float, cuts: Collection[int] = ()
) -> list[Detections]:
    """The boxes of each frame of a video that lie in a track, with their ids.

    Args:
        frames: The boxes of each frame, best first.
        fps: Frames per second.
        cuts: Positions of frames that show another scene.
    """
    tracker = Tracker(fps)
    tracked: list[Detections] = []
    for position, boxes in enumerate(frames):
        followed = tracker.update(boxes, cut=position in cuts)
        assert followed.track_id is not None
        tracked.append(followed.take(followed.track_id != NO_TRACK))
    return tracked


def track_scores(
    tracked: Sequence[Sequence[Detections]], truth: Sequence[Mapping[int, MotBoxes]]
) -> dict[str, float]:
    """MOTA, IDF1 and HOTA over all frames of all videos, as fractions, and the changes of identity.

    As in TrackEval, a box that stands for an ignored person counts neither way.

    Args:
        tracked: Of each video, the boxes of each frame with their ids.
        truth: Of each video, people by frame number, from 1; a frame without entry shows none.

    Returns:
        The FIGURES; "id_switches"; "tracks" and "people": how many there are.

    Raises:
        UserError: The extra "track" is not installed.

    Example:
        >>> track_scores([track_frames(boxes, fps=25)], [read_mot("gt.txt")])["IDF1"]
    """
    library: Any = require("trackers.eval", "track")
    measures: tuple[tuple[Callable[..., Any], Callable[..., Any]], ...] = (
        (library.compute_clear_metrics, library.aggregate_clear_metrics),
        (library.compute_identity_metrics, library.aggregate_identity_metrics),
        (library.compute_hota_metrics, library.aggregate_hota_metrics),
    )
    sequences = [_compared(*video) for video in zip(tracked, truth, strict=True)]
    scores: dict[str, Any] = {}
    for compute, aggregate in measures:
        scores |= aggregate([compute(*sequence) for sequence in sequences])
    figures: dict[str, float] = {name: scores[name] for name in FIGURES}
    figures["id_switches"] = scores["IDSW"]
    figures["tracks"] = sum(_count(tracks) for _, tracks, _ in sequences)
    figures["people"] = sum(_count(people) for people, _, _ in sequences)
    return figures


def _compared(
    frames: Sequence[Detections], truth: Mapping[int, MotBoxes]
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Of each frame: ids of its people, ids of its boxes, and their overlap [people, boxes]."""
    people: list[np.ndarray] = []
    tracks: list[np.ndarray] = []
    overlaps: list[np.ndarray] = []
    nobody = MotBoxes.of([])
    for number, boxes in enumerate(frames, 1):
        assert boxes.track_id is not None
        of_frame = truth.get(number, nobody)
        overlap = box_iou(from_numpy(of_frame.xyxy), boxes.xyxy.double()).numpy()
        counted = ~_of_ignored(overlap, of_frame.ignored)
        people.append(of_frame.ids[~of_frame.ignored])
        tracks.append(boxes.track_id.numpy()[counted])
        overlaps.append(overlap[~of_frame.ignored][:, counted])
    return people, tracks, overlaps


def _of_ignored(overlap: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """Which boxes stand for an ignored person, [boxes]."""
    optimize: Any = require("scipy.optimize", "track")
    close = np.where(overlap >= OVERLAP, overlap, 0)
    persons, boxes = optimize.linear_sum_assignment(close, maximize=True)
    matched = overlap[persons, boxes] >= OVERLAP
    stand_for_ignored = np.zeros(overlap.shape[1], bool)
    stand_for_ignored[boxes[matched & ignored[persons]]] = True
    return stand_for_ignored


def _count(ids: Sequence[np.ndarray]) -> int:
    return len({int(one) for of_frame in ids for one in of_frame})
