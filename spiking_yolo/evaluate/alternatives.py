"""What else saves work on a video without spikes: the ANN in fewer frames, whose boxes are held or
carried on, or only in frames where something moves.

All of them need the ANN's boxes of every frame, from which they take those that they would have.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import chain, islice

import cv2
import numpy as np

from spiking_yolo.decode.boxes import Detections
from spiking_yolo.decode.tracking import Tracker
from spiking_yolo.evaluate.scoring import Batches, Settings
from spiking_yolo.evaluate.table import ANN_8_BIT, Row, predictions_of
from spiking_yolo.evaluate.videos import VideoScorer
from spiking_yolo.metrics.costs import CostsByShape

# How many frames the ANN sees one of.
INTERVALS = (2, 3, 4, 6, 10)
# The motion detector of a network video recorder, Frigate, with its defaults of 2026, without what
# it does about contrast and lightning: pictures of this height, the share of a frame in the
# background, and what differs from it by more than THRESHOLD grey levels on at least AREA connected
# pixels has moved.
HEIGHT, SHARE, THRESHOLD, AREA = 100, 0.01, 30, 10
# A background is learnt from so many frames, in which the ANN runs anyway.
LEARN = 10


@dataclass(frozen=True, eq=False)
class Alternative:
    """What the ANN sees of some videos, and the boxes that follow.

    Attributes:
        name: Which frames the ANN sees, such as "1 in 2, tracked".
        boxes: The boxes of each frame of each video.
        share: Share of the frames in which the ANN runs.
    """

    name: str
    boxes: list[list[Detections]]
    share: float


def alternatives(
    boxes: Sequence[Sequence[Detections]],
    rates: Sequence[float],
    moves: Sequence[Sequence[bool]] | None = None,
    track: bool = True,
) -> list[Alternative]:
    """The ANN in every k-th frame, with boxes held and carried on, and where something moves.

    Args:
        boxes: The ANN's boxes of each frame of each video.
        rates: Frames per second of each video.
        moves: Whether something moves in each frame of each video, see `motion`; None leaves the
            motion gate out.
        track: Whether boxes are also carried on by the tracker, which is an extra.
    """
    found: list[Alternative] = []
    for k in INTERVALS:
        seen = [[n % k == 0 for n in range(len(video))] for video in boxes]
        found.append(Alternative(f"1 in {k}", list(map(hold, boxes, seen)), share_of(seen)))
        if track:
            carried = [carry(video, k, rate) for video, rate in zip(boxes, rates, strict=True)]
            found.append(Alternative(f"1 in {k}, tracked", carried, share_of(seen)))
    if moves is not None:
        held = list(map(hold, boxes, moves))
        found.append(Alternative("where it moves", held, share_of(moves)))
    return found


def share_of(seen: Sequence[Sequence[bool]]) -> float:
    """The share of the frames of all videos in which the ANN runs."""
    return sum(map(sum, seen)) / sum(map(len, seen))


def hold(boxes: Sequence[Detections], seen: Sequence[bool]) -> list[Detections]:
    """The boxes of the last frame that was seen; the first frame always is.

    Args:
        boxes: The ANN's boxes of each frame of a video.
        seen: Whether the ANN runs in each frame.
    """
    held: list[Detections] = []
    for own, runs in zip(boxes, seen, strict=True):
        held.append(own if runs or not held else held[-1])
    return held


def carry(boxes: Sequence[Detections], k: int, rate: float) -> list[Detections]:
    """The boxes of every k-th frame, which move on in the frames between with their tracks.

    Args:
        boxes: The ANN's boxes of each frame of a video.
        k: The ANN sees one frame in k.
        rate: Frames per second.
    """
    tracker, carried = Tracker(rate / k), list[Detections]()
    for first in range(0, len(boxes), k):
        found = tracker.update(boxes[first])
        for n in range(min(k, len(boxes) - first)):
            carried.append(replace(tracker.predict(found, n / k), track_id=None))
    return carried


def motion(frames: Iterable[np.ndarray]) -> list[bool]:
    """Whether something moves in each frame of a video: it differs from the running mean.

    Args:
        frames: RGB, uint8 [H, W, 3].
    """
    background: np.ndarray | None = None
    moves: list[bool] = []
    for frame in frames:
        height, width = frame.shape[:2]
        size = max(1, round(width * HEIGHT / height)), HEIGHT
        small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        if background is None:
            background = grey.astype(np.float32)
        changed = cv2.absdiff(grey, cv2.convertScaleAbs(background)) > THRESHOLD
        _, _, regions, _ = cv2.connectedComponentsWithStats(changed.astype(np.uint8))
        areas = regions[1:, cv2.CC_STAT_AREA]
        moves.append(len(moves) < LEARN or bool((areas >= AREA).any()))
        cv2.accumulateWeighted(grey, background, SHARE)
    return moves


def alternative_rows(
    seen: Batches,
    scorer: VideoScorer,
    every: Row,
    settings: Settings,
    seconds: Callable[[int, int], float],
) -> list[Row]:
    """Rows of the 8-bit ANN in every frame and in fewer, each charged its share of the frames; the
    tracker and the motion gate are not charged.

    Args:
        seen: What was observed in each frame of each video.
        scorer: Scores their boxes.
        every: The row of the 8-bit ANN in every frame, with its energy per frame.
        settings: The bootstrap.
        seconds: What the 8-bit ANN takes for a frame of a height and width.
    """
    boxes = predictions_of(seen, "8 bit")
    rates, moves = list[float](), list[list[bool]]()
    for sequence, video in zip(scorer.sequences, boxes, strict=True):
        rates.append(sequence.fps)
        moves.append(motion(islice(sequence.frames(), len(video))))
    spent = [seconds(*one.size) for one in chain(*seen)]
    every = replace(every, costs={**every.costs, "ms": 1e3 * float(np.mean(spent))})
    rows = [every]
    for one in alternatives(boxes, rates, moves, track=find_spec("trackers") is not None):
        costs = {key: one.share * value for key, value in every.costs.items()}
        scored = scorer.score(seen, one.boxes)
        rows.append(Row.of(f"{ANN_8_BIT}, {one.name}", scorer.name, scored, settings, costs=costs))
    return rows


def without_spikes(stream: Row, seen: Batches, model: CostsByShape) -> Row:
    """A row of what the changes of a stream cost without spikes, whose boxes are the same.

    Args:
        stream: The row of the stream.
        seen: What was observed in each frame of each video.
        model: What the network costs.
    """
    assert stream.T is not None
    frames: list[dict[str, float]] = []
    for video in seen:
        for one in video[1:] or video:
            frames.append(model(one).without_spikes(one, stream.T))
    costs: dict[str, float] = {}
    for key in frames[0]:
        costs[f"energy_mJ_{key}"] = float(np.mean([frame[key] for frame in frames]))
    return replace(stream, method=f"{stream.method}, differences", T=None, costs=costs)
