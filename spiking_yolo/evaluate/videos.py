"""Agreement with the ANN where nothing is marked, of photographs and of videos; people and their
tracks against MOTChallenge's ground truth.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

from spiking_yolo.data.datasets import DetectionSet
from spiking_yolo.data.mot import MotBoxes, VideoSequence, open_sequences, read_mot
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.decode.selection import Selection
from spiking_yolo.errors import UserError, require
from spiking_yolo.evaluate.scoring import Batches, Scored, Scorer
from spiking_yolo.metrics import video as metrics
from spiking_yolo.metrics.bootstrap import Resampling
from spiking_yolo.models.spec import Spec
from spiking_yolo.observe import Input, read_input

# Confidence of the boxes that tracks follow.
SEEN = 0.25
TOTAL = "total"


class AgreementScorer(Scorer):
    """Scores photographs without labels: agree is AP50 by box, all classes, with the ANN's boxes
    above 0.25 as the truth.
    """

    main = ("agree",)

    def __init__(self, dataset: DetectionSet, spec: Spec, selection: Selection):
        super().__init__(dataset, spec)
        self.selection = selection

    def inputs(self, batch: range) -> Iterator[Input]:
        for sample in self.dataset.samples[batch.start : batch.stop]:
            yield read_input(str(sample.path))

    def score(self, seen: Batches, predictions: Sequence[Sequence[Detections]]) -> Scored:
        found = [[one] for one in chain(*predictions)]
        ann = [[one.ann_boxes] for one in chain(*seen)]
        return agreement_score(found, ann)


def agreement_score(found: metrics.Videos, ann: metrics.Videos) -> Scored:
    """Agreement of each video, or photograph, with the ANN."""

    def resampled(n: int, seed: int) -> Resampling:
        return _only("agree", metrics.agreement(found, ann, n=n, seed=seed))

    return Scored({"agree": float(resampled(0, 0).value[0])}, resampled=resampled)


class VideoScorer(Scorer):
    """Scores what is seen in videos.

    AP50: of people, where there is ground truth. MOTA, IDF1, HOTA: of their tracks, where it has
    identities. agree: AP50 by box, all classes, with the ANN's boxes above 0.25 as the
    truth.

    Args:
        sequences: Videos.
        spec: Interface of the network.
        selection: Which boxes count.
        limit: Frames of each video that are looked at, None for all.

    Raises:
        UserError: The network has no class person where people are marked.
    """

    video = True

    def __init__(
        self,
        sequences: Sequence[VideoSequence],
        spec: Spec,
        selection: Selection,
        limit: int | None = None,
    ):
        self.name = sequences[0].name if len(sequences) == 1 else TOTAL
        self.sequences = sequences
        self.spec = spec
        self.selection = self.boxes = selection
        self.limit = limit
        self.notes: list[str] = []
        self.truths: list[Mapping[int, MotBoxes]] = []
        # The numbers of the frames of all videos in a row -> their video.
        self.videos: dict[range, VideoSequence] = {}
        start = 0
        for sequence in sequences:
            length = sequence.length or limit or 1
            frames = range(start, start + min(length, limit or length))
            self.videos[frames], start = sequence, frames.stop
        # Positions of videos with people marked, and of those in which they have identities.
        self.marked: list[int] = []
        self.tracked: list[int] = []
        for k, sequence in enumerate(sequences):
            truth: Mapping[int, MotBoxes] = {}
            if sequence.truth:
                truth = read_mot(sequence.truth)
                self.marked.append(k)
                if all((boxes.ids >= 0).all() for boxes in truth.values()):
                    self.tracked.append(k)
            self.truths.append(truth)
        if self.marked and metrics.PERSON not in spec.names:
            problem = f"this network has no class '{metrics.PERSON}', which the ground truth marks"
            raise UserError(f"{problem}: give bare clips")
        if self.tracked:
            require("trackers", "track")
        self.main = ("agree",)
        if self.tracked:
            self.main = (*metrics.FIGURES, *self.main)
        if self.marked:
            self.main = ("AP50", *self.main)

    def __len__(self) -> int:
        """Frames, as far as the files say."""
        return max(frames.stop for frames in self.videos)

    def facts(self) -> dict[str, Any]:
        videos = [(sequence.name, sequence.length) for sequence in self.sequences]
        return {"videos": videos, "limit": self.limit} | asdict(self.boxes)

    def batches(self, size: int) -> list[range]:
        return list(self.videos)

    def inputs(self, batch: range) -> Iterator[Input]:
        for number, image in enumerate(islice(self.videos[batch].frames(), self.limit)):
            yield read_input(image, frame=number)

    @cached_property
    def parts(self) -> list[tuple[slice, Scorer]]:
        parts: list[tuple[slice, Scorer]] = []
        if len(self.sequences) > 1:
            for k, sequence in enumerate(self.sequences):
                own = VideoScorer([sequence], self.spec, self.boxes, self.limit)
                parts.append((slice(k, k + 1), own))
        return [*parts, (slice(None), self)]

    def score(self, seen: Batches, predictions: Sequence[Sequence[Detections]]) -> Scored:
        names = self.spec.names
        truths = [self.truths[k] for k in self.marked]
        people = [predictions[k] for k in self.marked]
        ann = [[one.ann_boxes for one in video] for video in seen]
        agreed = agreement_score(predictions, ann)
        if not self.marked:
            return agreed

        def resampled(n: int, seed: int) -> Resampling:
            return _only("AP50", metrics.person_ap(people, truths, names, n, seed))

        figures = {"AP50": float(resampled(0, 0).value[0])}
        if self.tracked:
            figures |= self._track_scores(seen, predictions)
        return Scored({**figures, **agreed.figures}, resampled=resampled)

    def _track_scores(self, seen: Batches, predictions: metrics.Videos) -> dict[str, float]:
        """How well the boxes of people, joined to tracks, follow the people of the ground truth."""
        person = list(self.spec.names).index(metrics.PERSON)
        tracks: list[list[Detections]] = []
        truths: list[Mapping[int, MotBoxes]] = []
        for k in self.tracked:
            frames: list[Detections] = []
            for boxes in predictions[k]:
                chosen = (boxes.confidence > SEEN) & (boxes.class_id == person)
                frames.append(boxes.take(chosen))
            cuts = {n for n, one in enumerate(seen[k]) if one.cut}
            tracks.append(metrics.track_frames(frames, self.sequences[k].fps, cuts))
            truths.append(self.truths[k])
        return metrics.track_scores(tracks, truths)


def open_videos(path: Path) -> list[VideoSequence]:
    """The sequences at a path. Raises UserError if two have one name, or as `open_sequences`."""
    sequences = open_sequences(path)
    names: set[str] = set()
    if len(sequences) > 1:
        names.add(TOTAL)
    for sequence in sequences:
        if sequence.name in names:
            raise UserError(f"{path} holds two sequences called {sequence.name}: rename one")
        names.add(sequence.name)
    return sequences


def _only(name: str, of: Resampling) -> Resampling:
    """AP50 alone, under another name."""
    k = of.figures.index("AP50")
    return replace(of, figures=(name,), value=of.value[k : k + 1], scores=of.scores[:, k : k + 1])
