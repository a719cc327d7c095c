"""Whether spikes are worth it: boxes, time and energy beside the ANN's, and beside an ANN that sees
fewer frames of a video, in three lines; and the figures behind them.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from spiking_yolo.decode.boxes import Detections, same_objects
from spiking_yolo.errors import UserError, pip_install
from spiking_yolo.evaluate.alternatives import alternatives
from spiking_yolo.evaluate.baselines import EightBits
from spiking_yolo.integer.library import library
from spiking_yolo.metrics import energy
from spiking_yolo.result import Result

# Share of the ANN's boxes, or of those of a class, above which many are lost.
MANY = 0.15
# What is faster takes at most this share of the other's time: clocks differ by a few percent.
FASTER = 0.95
# Pictures beside which the ANN in 8 bits is timed.
TIMED = 10
# The boxes of each frame of a video.
Frames = Sequence[Detections]


@dataclass
class Totals:
    """What photographs or the frames of a video have cost, and their boxes.

    Attributes:
        eight_bits: Times the ANN in 8 bits; None leaves that out.
        fps: Frames per second of a video; None of photographs.
        names: Names of the classes.
        size: Height and width of the first picture, as the networks see it.
        spent: The work in each of them, and the size of the network.
        seconds: What the spiking network, the ANN, and the latter's boxes took for each, if they
            are compared.
        found: Boxes in each, if they are compared.
        expected: The ANN's.
    """

    eight_bits: EightBits | None = None
    fps: float | None = None
    names: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    spent: list[tuple[energy.Work, energy.NetworkSize]] = field(default_factory=list)
    seconds: list[tuple[float, float, float]] = field(default_factory=list)
    found: list[Detections] = field(default_factory=list)
    expected: list[Detections] = field(default_factory=list)

    def add(self, result: Result, compared: bool) -> None:
        """compared: Whether its boxes are compared with the ANN's."""
        costs, seen = result.costs, result.seen
        self.names, self.size = result.names, self.size or seen.size
        self.spent.append((costs.work(seen, result.T), costs.size(seen)))
        if compared:
            took = seen.seconds
            own, ann = took.network + took.decode, took.ann + took.ann_decode
            self.seconds.append((own, ann, took.ann_decode))
            self.found.append(result.detections)
            self.expected.append(result.ann.detections)
            if self.eight_bits and seen.size == self.size and len(self.spent) <= TIMED:
                # Without onnxruntime nothing is timed.
                with suppress(UserError):
                    self.eight_bits.time(torch.zeros(1, 3, *seen.size))

    def facts(self) -> dict[str, Any]:
        """What results.json has: of a video without its first frame."""
        later = slice(1 if self.fps and self.spent[1:] else 0, None)
        facts: dict[str, Any] = {"pictures": len(self.spent), **energies(self.spent[later])}
        per_mac = [work.operations / size.macs for work, size in self.spent]
        facts["operations_per_mac"] = {"first": per_mac[0], "later": float(np.mean(per_mac[later]))}
        if not self.seconds:
            return facts
        lost, added = difference(self.expected, self.found)
        of = Counter(k for ann in self.expected for k in ann.class_id.tolist())
        facts["boxes"] = {"ann": of.total(), "lost": lost.total(), "added": added}
        facts["lost"] = {self.names[k]: [n, of[k]] for k, n in lost.most_common()}
        # Frames differ in what they cost; photographs do in what happens beside them.
        own, ann, decode = 1e3 * (np.mean if self.fps else np.median)(self.seconds[later], axis=0)
        facts["ms"] = {"spiking": own, "ann_pytorch": ann, "ann_8_bit": math.nan}
        if self.eight_bits and self.size:
            facts["ms"]["ann_8_bit"] = 1e3 * self.eight_bits.seconds(*self.size) + decode
        instead = facts["instead"] = {"every frame": {"share": 1.0, "lost": 0, "added": 0}}
        if self.fps and self.spent[1:] and of:
            track = find_spec("trackers") is not None
            for one in alternatives([self.expected], [self.fps], track=track):
                missed, more = difference(self.expected, one.boxes[0])
                instead[one.name] = {"share": one.share, "lost": missed.total(), "added": more}
        return {"verdict": word(facts), **facts}


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


def energies(spent: Sequence[tuple[energy.Work, energy.NetworkSize]]) -> dict[str, Any]:
    """Millijoules of both networks in every model, and how wide potentials are.

    Loihi does not run the ANN, so its share is that of the 8-bit ANN with SRAM.

    Args:
        spent: The work and the size of the network for each photograph or frame.
    """
    width = max(work.potential_bytes for work, _ in spent)
    works = [(replace(work, potential_bytes=width), size) for work, size in spent]
    rows: dict[str, dict[str, float]] = {}
    for model in energy.EVERY_COST_MODEL:
        other = energy.SRAM if model is energy.LOIHI else model
        own = float(np.mean([model.snn(*one) for one in works]))
        ann = float(np.mean([other.ann(size) for _, size in works]))
        rows[model.key] = {"snn_mJ": own, "ann_mJ": ann, "share": own / ann}
    shares = [rows[model.key]["share"] for model in energy.COST_MODELS]
    return {"energy": rows, "energy_range": [min(shares), max(shares)], "potential_bits": 8 * width}


def rival(facts: dict[str, Any]) -> tuple[str, float]:
    """The fewest frames on which the ANN's boxes differ in no more than the spiking network's, and
    their share of all.
    """
    limit = facts["boxes"]["lost"] + facts["boxes"]["added"]
    rows = [(x["share"], x["lost"] + x["added"], name) for name, x in facts["instead"].items()]
    share, _, name = min((row for row in rows if row[1] <= limit), key=lambda row: row[:2])
    return name, share


def word(facts: dict[str, Any]) -> str:
    """Worth it where few boxes are lost and it is faster here than the 8-bit ANN, also on the
    frames that `rival` needs; else it depends on the chip, if that may take less energy.
    """
    boxes, ms, (_, share) = facts["boxes"], facts["ms"], rival(facts)
    if not boxes["ann"]:
        return "Not known"
    if boxes["lost"] > MANY * boxes["ann"]:
        return "Not worth it"
    # Not where the time of the ANN is nan.
    if ms["spiking"] <= FASTER * share * ms["ann_8_bit"]:
        return "Worth it"
    return "Depends on the chip" if facts["energy_range"][0] < share else "Not worth it"


def lines(facts: dict[str, Any], picture: str) -> Iterator[str]:
    """The verdict in words: boxes, time and energy; energy alone where nothing is compared.

    Args:
        facts: What `Totals.facts` gave.
        picture: What it is about, "photograph" or "frame".
    """
    if "verdict" in facts:
        yield f"{facts['verdict']}. Boxes: {_boxes(facts)}"
        yield f"Time: {_time(facts, picture)}"
    least, most = facts["energy_range"]
    named = facts["energy"][energy.SRAM.key]["share"]
    text = f"Energy: {least:.2g} to {most:.2g} times the ANN's, as chips differ;"
    text += f" {named:.2g} times where every access to memory is charged ({energy.SRAM.name})"
    yield text + ". Is it worth it? --ann compares boxes and time" * ("verdict" not in facts)


def _boxes(facts: dict[str, Any]) -> str:
    total, lost, added = facts["boxes"].values()
    if not total:
        return f"the ANN finds none, so nothing is known of them; {added} added"
    text = f"{total - lost} of the ANN's {total} kept, {lost} lost, {added} added"
    rows = [(f"{n} of {of} x {name}", n > MANY * of) for name, (n, of) in facts["lost"].items()]
    much = [row for row, many in rows if many]
    if much and len(rows) > 1:
        text += f" (hardest hit: {', '.join(much[:3])})"
    if lost > MANY * total:
        text += "; another --calibration (untrained, fine) keeps more, of a video --lossless too"
    return text


def _time(facts: dict[str, Any], picture: str) -> str:
    (own, ann, quick), (name, share) = map(_ms, facts["ms"].values()), rival(facts)
    text = f"{own} ms a {picture} on this computer"
    if facts["pictures"] == 1:
        text = f"{own} ms on this computer for the first {picture}, which also sets the network up"
    text += " without the compiled kernels" * (library() is None)
    if math.isnan(facts["ms"]["ann_8_bit"]):
        text += f"; the ANN takes {ann} in PyTorch, and less in 8 bits"
        return f"{text}: to time that, {pip_install('onnx')}"
    text += f"; the 8-bit ANN (onnxruntime) takes {quick}"
    if share < 1:
        seen = name.replace(" in ", " frame in ").replace(", tracked", " and boxes are tracked")
        least = _ms(share * facts["ms"]["ann_8_bit"])
        return f"{text}, or {least} if it sees {seen}, with boxes as good"
    return text + ", and loses more boxes if it sees fewer frames" * (len(facts["instead"]) > 1)


def _ms(milliseconds: float) -> str:
    """Three digits, and no power of ten."""
    return f"{milliseconds:.0f}" if milliseconds >= 100 else f"{milliseconds:.3g}"
