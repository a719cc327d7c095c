"""Scores of boxes in videos: against people that were marked, and against the boxes of another
network.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from spiking_yolo.data.detection import DetectionSet, Sample
from spiking_yolo.data.mot import MotBoxes
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.errors import UserError
from spiking_yolo.metrics.bootstrap import Blocks, CocoResampled, Resampling
from spiking_yolo.metrics.coco import to_coco

# Of each video, the boxes of each frame.
Videos = Sequence[Sequence[Detections]]
PERSON = "person"
BLOCK = 15  # frames
# boxes, labels, ignored: of one frame.
_Objects = tuple[object, object, object]


def person_ap(
    found: Videos,
    truth: Sequence[Mapping[int, MotBoxes]],
    names: Sequence[str],
    n: int = 1000,
    seed: int = 0,
    block: int = BLOCK,
) -> Resampling:
    """AP and AP50 of class person over all frames of all videos, and what they vary by.

    found: the first frames of each video. truth: of each video, people by frame number, from 1; a
    frame without entry shows none. names: of the network's classes. n, seed, block: resamplings in
    blocks of so many frames. Ignored regions are COCO's crowds: a detection that lies mostly in one
    and finds nobody counts neither way. Raises UserError for a network that knows no persons.
    """
    if PERSON not in names:
        raise UserError(f"this network has no class '{PERSON}': people in videos need one that has")
    nobody = MotBoxes.of([])
    people = [
        video.get(number, nobody)
        for video, frames in zip(truth, found, strict=True)
        for number in range(1, len(frames) + 1)
    ]
    objects: list[_Objects] = [
        (boxes.xyxy, np.zeros(len(boxes)), boxes.ignored) for boxes in people
    ]
    return _resampling(_matched(objects, found, [list(names).index(PERSON)]), found, n, seed, block)


def agreement(
    found: Videos,
    reference: Videos,
    conf: float = 0.25,
    n: int = 1000,
    seed: int = 0,
    block: int = BLOCK,
) -> Resampling:
    """AP and AP50 with the boxes of another network above `conf` as the truth: the mean over
    classes that it sees.

    found, reference: the same frames of the same videos. The rest as in `person_ap`.
    """
    return _resampling(_against(found, reference, conf), found, n, seed, block)


def agreement_by_box(found: Videos, reference: Videos, conf: float = 0.25) -> float:
    """The same AP50 with each class counting as often as the other network sees it; nan where it
    sees nothing.

    In a mean over classes one box of a class that is seen once is worth as much as all boxes of
    another.
    """
    data = _against(found, reference, conf)
    ap = data.per_class(np.ones((1, data.images), np.int64))[:, 0, 0]
    boxes = np.array([one.positives.sum() for one in data.ranked])
    return (
        float(np.average(ap[boxes > 0], weights=boxes[boxes > 0])) if boxes.any() else float("nan")
    )


def _against(found: Videos, reference: Videos, conf: float) -> CocoResampled:
    if [len(video) for video in found] != [len(video) for video in reference]:
        raise ValueError("only detections of the same frames can agree")
    sure = [frame.take(frame.confidence > conf) for video in reference for frame in video]
    classes = sorted({int(c) for frame in sure for c in frame.class_id})
    objects: list[_Objects] = [
        (frame.xyxy.cpu().numpy(), np.searchsorted(classes, frame.class_id.cpu().numpy()), False)
        for frame in sure
    ]
    return _matched(objects, found, classes or [0])


def _matched(objects: Sequence[_Objects], found: Videos, classes: Sequence[int]) -> CocoResampled:
    """objects: of all frames in a row; their labels are positions in `classes`, the network's
    classes that count.
    """
    # Size is not scored.
    samples = [Sample.of(i, Path(str(i)), (1, 1), *frame) for i, frame in enumerate(objects, 1)]
    gt = DetectionSet("video", tuple(map(str, classes)), samples, []).as_coco().annotations
    frames = [frame for video in found for frame in video]
    known = 1 + max((int(c) for frame in frames for c in frame.class_id), default=0)
    category_ids = [classes.index(c) + 1 if c in classes else -1 for c in range(known)]
    rows = [row for i, frame in enumerate(frames, 1) for row in to_coco(frame, i, category_ids)]
    return CocoResampled.of(gt, rows)


def _resampling(data: CocoResampled, found: Videos, n: int, seed: int, block: int) -> Resampling:
    return Resampling.of(data, n, seed, Blocks(tuple(len(video) for video in found), block))
