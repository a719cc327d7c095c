"""Scores of boxes and tracks in videos: against annotated people, and another network's boxes.

MOTA (Bernardin and Stiefelhagen 2008) counts misses, false boxes and changes of identity; IDF1
(Ristani et al. 2016) how long each person keeps one identity; HOTA (Luiten et al. 2021) is the
geometric mean of how well people are detected and how well their boxes are associated.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.ops import box_iou

from spiking_yolo.data.datasets import DetectionSet, Sample
from spiking_yolo.data.mot import MotBoxes
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.decode.tracking import NO_TRACK, Tracker
from spiking_yolo.errors import require
from spiking_yolo.metrics.bootstrap import Blocks, CocoResampled, Resampling
from spiking_yolo.metrics.precision import to_coco

# The boxes of each frame, by video.
Videos = Sequence[Sequence[Detections]]
PERSON = "person"
FIGURES = ("MOTA", "IDF1", "HOTA")
# A box stands for a person that it overlaps by this much.
OVERLAP = 0.5
# Boxes of the other network above this confidence are the truth.
CONFIDENT = 0.25
# Ids of the people, ids of the boxes, and their overlap [people, boxes], a list over frames each.
Compared = tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]
# Boxes, labels and ignored flags of one frame.
Marks = tuple[object, object, object]


def person_ap(
    detections: Videos,
    truth: Sequence[Mapping[int, MotBoxes]],
    names: Sequence[str],
    n: int = 1000,
    seed: int = 0,
) -> Resampling:
    """AP and AP50 of class person over all frames of all videos, with resamplings.

    Ignored regions are COCO's crowds: a detection that lies mostly in one and matches nobody counts
    neither way.

    Args:
        detections: The first frames of each video.
        truth: People in each video by frame number, from 1; a frame without entry shows none.
        names: Names of the network's classes.
        n: Number of resamplings.
        seed: Seed of the resamplings.
    """
    nobody = MotBoxes.of([])
    objects: list[Marks] = []
    for video, frames in zip(truth, detections, strict=True):
        for number in range(1, len(frames) + 1):
            people = video.get(number, nobody)
            objects.append((people.xyxy, np.zeros(len(people)), people.ignored))
    data = _matched(objects, detections, [list(names).index(PERSON)])
    return Resampling.of(data, n, seed, Blocks(tuple(map(len, detections))))


def agreement(detections: Videos, reference: Videos, n: int = 1000, seed: int = 0) -> Resampling:
    """AP and AP50 by box with another network's boxes as the truth: all classes in one ranking, in
    which a rare class counts no more than its boxes.

    Args:
        detections: Detections of the network that is scored.
        reference: Detections of the other network in the same frames.
        n, seed: See `person_ap`.
    """
    if list(map(len, detections)) != list(map(len, reference)):
        raise ValueError("only detections of the same frames can agree")
    objects: list[Marks] = []
    for frame in chain(*reference):
        truth = _one_class(frame.take(frame.confidence > CONFIDENT))
        objects.append((truth.xyxy.numpy(), truth.class_id.numpy(), False))
    data = _matched(objects, [list(map(_one_class, frames)) for frames in detections], [0])
    lengths = tuple(map(len, detections))
    # Photographs are drawn one by one: of a single frame a block is always all.
    return Resampling.of(data, n, seed, Blocks(lengths) if max(lengths) > 1 else None)


def _one_class(boxes: Detections) -> Detections:
    """The boxes as of class 0, moved so that those of one class cannot overlap another's."""
    shift = 1e6 * boxes.class_id[:, None].double()
    return replace(boxes, xyxy=boxes.xyxy + shift, class_id=torch.zeros_like(boxes.class_id))


def _matched(objects: Sequence[Marks], detections: Videos, classes: Sequence[int]) -> CocoResampled:
    """Match all frames. The labels of `objects` are positions in `classes`, the network's classes
    that count.
    """
    # The size of the image is not scored.
    samples = [Sample.of(i, Path(str(i)), (1, 1), *frame) for i, frame in enumerate(objects, 1)]
    gt = DetectionSet("video", tuple(map(str, classes)), samples, []).as_coco().annotations
    category_ids = [-1] * (1 + max(classes))
    for category, c in enumerate(classes, 1):
        category_ids[c] = category
    rows: list[dict[str, Any]] = []
    for i, frame in enumerate(chain(*detections), 1):
        scored = frame.take(frame.class_id < len(category_ids))
        rows += to_coco(scored, i, category_ids)
    return CocoResampled(gt, rows)


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

    A box that stands for an ignored person counts neither way; TrackEval leaves out those of some
    classes alone, and counts others as wrong.

    Args:
        tracked: Boxes with their ids in each frame of each video.
        truth: People in each video by frame number, from 1; a frame without entry shows none.

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
    sequences: list[Compared] = []
    counts = {"tracks": 0, "people": 0}
    for frames, annotated in zip(tracked, truth, strict=True):
        people, tracks, overlaps = _compared(frames, annotated)
        sequences.append((people, tracks, overlaps))
        counts["tracks"] += len(set(np.concatenate([[], *tracks])))
        counts["people"] += len(set(np.concatenate([[], *people])))
    scores: dict[str, Any] = {}
    for compute, aggregate in measures:
        scores |= aggregate([compute(*sequence) for sequence in sequences])
    figures: dict[str, float] = {name: scores[name] for name in FIGURES}
    return {**figures, "id_switches": scores["IDSW"], **counts}


def _compared(frames: Sequence[Detections], truth: Mapping[int, MotBoxes]) -> Compared:
    """For each frame: ids of its people, ids of its boxes, and their overlap [people, boxes]."""
    people: list[np.ndarray] = []
    tracks: list[np.ndarray] = []
    overlaps: list[np.ndarray] = []
    nobody = MotBoxes.of([])
    optimize: Any = require("scipy.optimize", "track")
    for number, boxes in enumerate(frames, 1):
        assert boxes.track_id is not None
        of_frame = truth.get(number, nobody)
        overlap = box_iou(torch.from_numpy(of_frame.xyxy), boxes.xyxy.double()).numpy()
        # Boxes that stand for an ignored person do not count.
        close = np.where(overlap >= OVERLAP, overlap, 0)
        persons, matches = optimize.linear_sum_assignment(close, maximize=True)
        ignored = (overlap[persons, matches] >= OVERLAP) & of_frame.ignored[persons]
        counted = np.ones(overlap.shape[1], bool)
        counted[matches[ignored]] = False
        people.append(of_frame.ids[~of_frame.ignored])
        tracks.append(boxes.track_id.numpy()[counted])
        overlaps.append(overlap[~of_frame.ignored][:, counted])
    return people, tracks, overlaps
