"""Whether spikes are worth it: their time, boxes and energy beside the ANN's, and beside an ANN
that sees fewer frames of a video, in a few sentences.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec

import numpy as np

from spiking_yolo.decode.boxes import Detections, same_objects
from spiking_yolo.evaluate.alternatives import Alternative, alternatives
from spiking_yolo.metrics import energy
from spiking_yolo.result import Result

# Share of the ANN's boxes above which a network that misses them is not calibrated for the use.
MANY = 0.15
# The boxes of each frame of a video.
Frames = Sequence[Detections]


@dataclass
class Totals:
    """What photographs or the frames of a video have cost, and their boxes.

    Attributes:
        names: Names of the classes.
        spent: The work in each of them, and the size of the network.
        seconds: What the spiking network and the ANN took for each, if they are compared.
        found: Boxes in each, if they are compared.
        expected: The ANN's.
        boxes: How many boxes were found.
    """

    names: tuple[str, ...] = ()
    spent: list[tuple[energy.Work, energy.NetworkSize]] = field(default_factory=list)
    seconds: list[tuple[float, float]] = field(default_factory=list)
    found: list[Detections] = field(default_factory=list)
    expected: list[Detections] = field(default_factory=list)
    boxes: int = 0

    def add(self, result: Result, compared: bool) -> None:
        """compared: Whether its boxes are compared with the ANN's."""
        costs, seen = result.costs, result.seen
        self.names = result.names
        self.spent.append((costs.work(seen, result.T), costs.size(seen)))
        self.boxes += len(result)
        if compared:
            took = seen.seconds
            self.seconds.append((took.network + took.decode, took.ann + took.ann_decode))
            self.found.append(result.detections)
            self.expected.append(result.ann.detections)

    def of_photographs(self) -> str:
        """Energy and boxes of a photograph."""
        spent = energy_sentence("a photograph", self.spent)
        return f"{spent}; {self._of_boxes()}".removesuffix("; ")

    def of_video(self, fps: float) -> list[str]:
        """Time, boxes and energy of a video without its first frame: a few lines.

        fps: Frames per second.
        """
        what = "a later frame" if self.spent[1:] else "the only frame"
        spent = energy_sentence(what, self.spent[1:] or self.spent)
        if not self.seconds:
            return [f"{spent}; {self._of_boxes()}".removesuffix("; ")]
        own, ann = np.mean(self.seconds[1:] or self.seconds, axis=0)
        share, milliseconds = own / ann, f"({1e3 * own:.3g} of {1e3 * ann:.3g} ms, in PyTorch)"
        times = "of" if share < 1 else "times"
        lines = [f"{what} takes {share:.2g} {times} the ANN's time here {milliseconds}"]
        lines[0] += f"; {self._of_boxes()}"
        if self.spent[1:] and any(map(len, self.expected)):
            lines.append(beside(self.expected, self.found, share, fps))
        return [*lines, spent]

    def _of_boxes(self) -> str:
        """Which boxes spikes miss and add; nothing where that is not known."""
        if not self.seconds:
            return "" if self.boxes else "it finds no box: compare with --ann"
        expected = Counter(k for ann in self.expected for k in ann.class_id.tolist())
        if not expected:
            return "the ANN finds no box, so nothing is known of the boxes"
        missed, added = difference(self.expected, self.found)
        n, total = missed.total(), expected.total()
        text = f"boxes: spikes add {added}, miss {n} of the ANN's {total}"
        if missed:
            rows = [f"{n} of {expected[k]} x {self.names[k]}" for k, n in missed.most_common()]
            text += f" ({100 * n / total:.0f} %: {', '.join(rows)})"
        if n > MANY * total:
            text += (
                "; another --calibration (untrained, fine) keeps more, of a video --lossless too"
            )
        return text


def difference(expected: Frames, found: Frames) -> tuple[Counter[int], int]:
    """The classes of the ANN's boxes that are missed, and how many boxes the ANN does not have.

    Args:
        expected: The ANN's boxes of each frame.
        found: Other boxes.
    """
    missed, added = Counter[int](), 0
    for ann, own in zip(expected, found, strict=True):
        same = same_objects(ann, own)
        missed.update(ann.class_id[~same.any(1)].tolist())
        added += int((~same.any(0)).sum())
    return missed, added


def beside(expected: Frames, found: Frames, share: float, fps: float) -> str:
    """The best of what else saves work on a video, in a sentence.

    That is the fastest which differs in no more boxes than the spiking network and takes no more
    time; where there is none, the one that differs in the fewest boxes in the time of the spiking
    network, or in the least time.

    Args:
        expected: The ANN's boxes of each frame.
        found: Boxes of the spiking network.
        share: What the spiking network takes of the ANN's time.
        fps: Frames per second.
    """
    every = [Alternative("", "the ANN on every frame", [list(expected)], 1.0)]
    every += alternatives([expected], [fps], track=find_spec("trackers") is not None)
    limit = max(share, min(one.share for one in every))
    # How many boxes differ, time, and the sentence of what takes no more time.
    as_fast: list[tuple[int, float, str]] = []
    for one in every:
        if one.share <= limit:
            missed, added = difference(expected, one.boxes[0])
            text = "without spikes: the ANN itself takes no more time"
            if one.share < 1:
                text = f"without spikes: {one.words} would take {one.share:.2g} of its time,"
                text += f" add {added} boxes and miss {missed.total()}"
            as_fast.append((missed.total() + added, one.share, text))
    missed, added = difference(expected, found)
    better = [one for one in as_fast if one[0] <= missed.total() + added and one[1] <= share]
    if better:
        _, _, text = min(better, key=lambda one: (one[1], one[0]))
        return f"better {text}"
    return min(as_fast, key=lambda one: one[:2])[2]


def energy_sentence(what: str, spent: Sequence[tuple[energy.Work, energy.NetworkSize]]) -> str:
    """Less energy than the ANN or not, by models and what they charge, in a sentence.

    Args:
        what: What the work is of.
        spent: The work and the size of the network for each photograph or frame.
    """
    width = max(work.potential_bytes for work, _ in spent)
    works = [(replace(work, potential_bytes=width), size) for work, size in spent]
    own, ann = dict[str, float](), dict[str, float]()
    for model in energy.EVERY_COST_MODEL:
        own[model.key] = float(np.mean([model.snn(*one) for one in works]))
        ann[model.key] = float(np.mean([model.ann(size) for _, size in works]))
    shares = {model.key: own[model.key] / ann[model.key] for model in energy.COST_MODELS}
    least, most = min(shares, key=shares.__getitem__), max(shares, key=shares.__getitem__)
    less, sram = sum(share < 1 for share in shares.values()), energy.SRAM
    text = f"{what} takes less energy than the ANN in {less} of {len(shares)} cost models: from"
    text += f" {times(shares[least])} ({energy.BY_KEY[least].meaning}) to {times(shares[most])}"
    text += f" ({energy.BY_KEY[most].meaning}), {times(shares[sram.key])} with {sram.meaning} and"
    text += f" potentials of {8 * width} bits; Loihi's coefficients give"
    return f"{text} {own[energy.LOIHI.key] / ann[sram.key]:.3g} times that ANN's"


def times(share: float) -> str:
    """A share of the ANN's energy in words: "0.22 of it", "14 times as much"."""
    return f"{share:.2g} of it" if share < 1 else f"{share:.3g} times as much"
