"""Scores of boxes in videos: against annotated people, and against another network's boxes."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

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
# Frames per block of the bootstrap.
BLOCK = 15
# Boxes, labels and ignored flags of one frame.
_Objects = tuple[object, object, object]


def person_ap(
    detections: Videos,
    truth: Sequence[Mapping[int, MotBoxes]],
    names: Sequence[str],
    n: int = 1000,
    seed: int = 0,
    block: int = BLOCK,
) -> Resampling:
    """AP and AP50 of class person over all frames of all videos, with resamplings.

    Ignored regions are COCO's crowds: a detection that lies mostly in one and matches nobody counts
    neither way.

    Args:
        detections: The first frames of each video.
        truth: Of each video, people by frame number, from 1; a frame without entry shows none.
        names: Of the network's classes.
        n: Number of resamplings.
        seed: Of the resamplings.
        block: Frames per block.

    Raises:
        UserError: The network has no class person.
    """
    if PERSON not in names:
        raise UserError(f"this network has no class '{PERSON}': people in videos need one that has")
    nobody = MotBoxes.of([])
    objects: list[_Objects] = []
    for video, frames in zip(truth, detections, strict=True):
        for number in range(1, len(frames) + 1):
            people = video.get(number, nobody)
            objects.append((people.xyxy, np.zeros(len(people)), people.ignored))
    data = _matched(objects, detections, [list(names).index(PERSON)])
    return _resampling(data, detections, n, seed, block)


def agreement(
    detections: Videos,
    reference: Videos,
    conf: float = 0.25,
    n: int = 1000,
    seed: int = 0,
    block: int = BLOCK,
) -> Resampling:
    """AP and AP50 with another network's boxes as the truth: the mean over the classes it detects.

    Args:
        detections: Of the network that is scored.
        reference: Of the other network, on the same frames of the same videos.
        conf: Boxes of the other network above this confidence are the truth.
        n: As in `person_ap`, and likewise seed and block.
    """
    data = _against(detections, reference, conf)
    return _resampling(data, detections, n, seed, block)


def _against(detections: Videos, reference: Videos, conf: float) -> CocoResampled:
    if [len(video) for video in detections] != [len(video) for video in reference]:
        raise ValueError("only detections of the same frames can agree")
    truth: list[Detections] = []
    classes: set[int] = set()
    for frame in chain(*reference):
        confident = frame.take(frame.confidence > conf)
        truth.append(confident)
        classes.update(confident.class_id.tolist())
    order = sorted(classes)
    objects: list[_Objects] = []
    for frame in truth:
        labels = np.searchsorted(order, frame.class_id.cpu().numpy())
        objects.append((frame.xyxy.cpu().numpy(), labels, False))
    return _matched(objects, detections, order or [0])


def _matched(
    objects: Sequence[_Objects], detections: Videos, classes: Sequence[int]
) -> CocoResampled:
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
    return CocoResampled.of(gt, rows)


def _resampling(
    data: CocoResampled, detections: Videos, n: int, seed: int, block: int
) -> Resampling:
    frames = tuple(len(video) for video in detections)
    return Resampling.of(data, n, seed, Blocks(frames, block))
