"""Boxes of successive frames joined to tracks: ByteTrack (Zhang et al., ECCV 2022).

The association is that of the package `trackers` (Roboflow, Apache 2.0), the successor of
supervision's. A box is joined to the track whose predicted box overlaps it most, sure boxes first;
then weak ones, which continue a track but start none.
"""

from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from spiking_yolo.decode.boxes import Detections
from spiking_yolo.errors import UserError, require

# Confidence with which a box starts a track, as in the paper.
START = 0.6
# An object that is not seen for so long is lost.
LOST_SECONDS = 1.0
# The unit of the package's buffer of lost tracks.
_BUFFER_RATE = 30.0
# The id of a box that is in no track.
NO_TRACK = -1


class Tracker:
    """The tracks of one video: update(boxes) gives each frame's boxes their ids.

    Objects of different classes never share a track. Ids count from 1, by a track's second frame,
    and none is used twice. A box in no track, as in the first frame of one, has NO_TRACK.

    Args:
        fps: Frames per second of those that are looked at: a track survives LOST_SECONDS unseen.
        conf: Boxes of at least this confidence start tracks; others continue them.

    Raises:
        UserError: The extra "track" is not installed, or `conf` is outside of 0..1.

    Example:
        >>> tracker = Tracker(fps=25)
        >>> boxes = tracker.update(boxes)
        >>> boxes.track_id
    """

    def __init__(self, fps: float, conf: float = START):
        if not (isinstance(conf, int | float) and 0 <= conf <= 1):
            raise UserError(f"track_conf must be a number in 0..1, not {conf!r}")
        self._make = require("trackers", "track").ByteTrackTracker
        self._detections = require("supervision", "track").Detections
        self._settings = {
            "frame_rate": fps,
            "lost_track_buffer": round(LOST_SECONDS * _BUFFER_RATE),
            "track_activation_threshold": conf,
            "high_conf_det_threshold": conf,
        }
        self._of_class: dict[int, _ClassTracks] = {}
        self._last_id = 0

    def update(self, boxes: Detections, cut: bool = False, time: float | None = None) -> Detections:
        """The boxes of the next frame with their ids.

        Args:
            boxes: Boxes in the frame, best first.
            cut: Whether the frame shows another scene, in which no track goes on.
            time: When it was taken, in seconds; by default one period after the one before.
        """
        if cut:
            self._of_class.clear()
        ids = torch.full((len(boxes),), NO_TRACK)
        for class_id in sorted({*self._of_class, *boxes.class_id.tolist()}):
            tracks = self._of_class.get(class_id) or _ClassTracks(self._make(**self._settings))
            own = (boxes.class_id == class_id).nonzero()[:, 0]
            ids[own] = self._associated(tracks, boxes.take(own), time)
            if tracks.tracker.tracks:
                self._of_class[class_id] = tracks
            else:
                self._of_class.pop(class_id, None)
        return replace(boxes, track_id=ids)

    def predict(self, boxes: Detections, share: float) -> Detections:
        """Predict where the boxes of the last frame will be before the next: those in tracks move
        on.

        Args:
            boxes: What `update` gave for the last frame.
            share: How much of the time between two frames has passed, 0 to 1.
        """
        assert boxes.track_id is not None
        xyxy = boxes.xyxy.clone()
        for tracks in self._of_class.values():
            for track in tracks.tracker.tracks:
                if track.tracker_id in tracks.ids:
                    own = boxes.track_id == tracks.ids[track.tracker_id]
                    step = deepcopy(track).predict() - track.get_state_bbox()
                    xyxy[own] += share * torch.from_numpy(step).to(xyxy)
        return replace(boxes, xyxy=xyxy)

    def _associated(
        self, tracks: "_ClassTracks", boxes: Detections, time: float | None
    ) -> torch.Tensor:
        """The id of each box of a class, int64 [n]."""
        associated = tracks.tracker.update(
            self._detections(
                boxes.xyxy.double().numpy(),
                confidence=boxes.confidence.numpy(),
                class_id=boxes.class_id.numpy(),
                # The library returns the boxes in another order.
                data={"position": torch.arange(len(boxes)).numpy()},
            ),
            timestamp=time,
        )
        ids = torch.full((len(boxes),), NO_TRACK)
        positions = map(int, associated.data.get("position", ()))
        # New tracks are numbered by confidence.
        for position, own in sorted(zip(positions, associated.tracker_id, strict=True)):
            if own != NO_TRACK:
                ids[position] = self._number(tracks, int(own))
        alive = {track.tracker_id for track in tracks.tracker.tracks}
        tracks.ids = {own: number for own, number in tracks.ids.items() if own in alive}
        return ids

    def _number(self, tracks: "_ClassTracks", own: int) -> int:
        if own not in tracks.ids:
            self._last_id += 1
            tracks.ids[own] = self._last_id
        return tracks.ids[own]


@dataclass
class _ClassTracks:
    """The tracks of a class since the last cut. ids: the library's -> ours."""

    tracker: Any
    ids: dict[int, int] = field(default_factory=dict)
