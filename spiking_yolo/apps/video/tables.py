"""Records of frames -> the rows of a table: scores, operations and energy of one mode on one or
several sequences.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from spiking_yolo.apps.video.modes import Bench, FrameRecord
from spiking_yolo.data.mot import MotBoxes
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.io.tables import columns, percent
from spiking_yolo.metrics.bootstrap import Resampling
from spiking_yolo.metrics.energy import CHIPS, PJ_PER_MJ, Account, NetworkSize, Work, charged
from spiking_yolo.metrics.tracking import FIGURES, track_scores
from spiking_yolo.metrics.video import agreement, agreement_by_box, person_ap
from spiking_yolo.snn.counting import Counts

Row = dict[str, Any]
Modes = Mapping[str, list[FrameRecord]]


@dataclass(frozen=True, eq=False)
class Measured:
    """A sequence as every mode saw it. truth: people by frame of the records, from 1; None where
    nobody marked any. tracks: of each mode, the tracks of people in each frame; None where truth
    has no identities, or nothing here tracks.
    """

    name: str
    truth: Mapping[int, MotBoxes] | None
    modes: Modes
    tracks: Mapping[str, list[Detections]] | None = None


def rows(bench: Bench, measured: Sequence[Measured]) -> list[Row]:
    """One row per mode, over all frames of the sequences; AP50 over those that have a ground truth.

    cuts: the frames of one sequence, of several with the name of theirs.
    """
    scored = [one for one in measured if one.truth is not None]
    ap = {mode: _ap(bench, scored, mode) for mode in measured[0].modes} if scored else {}
    tracks = _tracks(measured)
    return [_row(bench, measured, mode, ap) | tracks.get(mode, {}) for mode in measured[0].modes]


def _tracks(measured: Sequence[Measured]) -> dict[str, Row]:
    """How well the tracks of each mode follow people, and by how much less than the ANN's."""
    truth: list[Mapping[int, MotBoxes]] = []
    tracks: list[Mapping[str, list[Detections]]] = []
    for one in measured:
        if one.truth is not None and one.tracks is not None:
            truth.append(one.truth)
            tracks.append(one.tracks)
    if not tracks:
        return {}
    rows: dict[str, Row] = {}
    for mode in measured[0].modes:
        rows[mode] = {**track_scores([of_modes[mode] for of_modes in tracks], truth)}
    if "ann" in rows:
        for row in rows.values():
            for figure in FIGURES:
                row[f"{figure}_minus_ann"] = row[figure] - rows["ann"][figure]
    return rows


def _ap(bench: Bench, scored: Sequence[Measured], mode: str) -> Resampling:
    truth = [one.truth or {} for one in scored]
    names, n = bench.converted.spec.names, bench.options.bootstrap
    return person_ap(_boxes(scored, mode), truth, names, n)


def _row(
    bench: Bench, measured: Sequence[Measured], mode: str, ap: Mapping[str, Resampling]
) -> Row:
    sequences = [one.modes[mode] for one in measured]
    first = [records[0] for records in sequences]
    later = [record for records in sequences for record in records[1:]]
    row: Row = {"mode": mode, "frames": sum(map(len, sequences))}
    remark = bench.converted.recipe.remark
    if remark and mode in ("reset", "stream"):
        row["remark"] = remark
    if mode in ap:
        row |= _figure("AP50", ap[mode], "AP50")
        if "ann" in ap:
            row |= _figure("AP50_minus_ann", ap[mode] - ap["ann"], "AP50")
    if "ann" in measured[0].modes:
        boxes, reference = _boxes(measured, mode), _boxes(measured, "ann")
        row |= _figure("agreement", agreement(boxes, reference, n=bench.options.bootstrap), "AP50")
        row["agreement_by_box"] = agreement_by_box(boxes, reference)
    row["output_error"] = _output_error(measured, mode)
    row["first"] = costs(bench, first)
    row["later"] = costs(bench, later)
    row["energy_mJ"] = energies(bench, mode, later)
    row["first_energy_mJ"] = energies(bench, mode, first)
    row["seconds_per_frame"] = float(np.mean([record.seconds for record in later or first]))
    row["cuts"] = []
    for one in measured:
        for record in one.modes[mode]:
            if record.cut and len(measured) == 1:
                row["cuts"].append(record.frame)
            elif record.cut:
                row["cuts"].append((one.name, record.frame))
    return row


def _output_error(measured: Sequence[Measured], mode: str) -> dict[str, Any]:
    """Of all frames, of first and of last ones, and where it is worst."""
    errors = [[record.error for record in one.modes[mode]] for one in measured]
    worst = max((r.error, one.name, r.frame) for one in measured for r in one.modes[mode])
    return {
        "mean": float(np.mean(np.concatenate(errors))),
        "first": float(np.mean([of_sequence[0] for of_sequence in errors])),
        "last": float(np.mean([of_sequence[-1] for of_sequence in errors])),
        "worst": worst[0],
        "worst_sequence": worst[1],
        "worst_frame": worst[2],
    }


def _boxes(measured: Sequence[Measured], mode: str) -> list[list[Detections]]:
    return [[record.boxes for record in one.modes[mode]] for one in measured]


def _figure(name: str, of: Resampling, figure: str) -> Row:
    """Its value, and its 95 % interval where there are resamplings."""
    if not len(of.scores):
        return {name: float(of.value[of.figures.index(figure)])}
    interval = of.intervals()[figure]
    return {name: interval.value, f"{name}_95": [interval.low, interval.high]}


def costs(bench: Bench, records: Sequence[FrameRecord]) -> Row:
    """Means over frames. spikes, digits, messages: operations in this counting per MAC of the ANN;
    sops: in that of the method. analogue: MACs of layers that read the image, per MAC of the ANN.
    sent: events of neurons, by counting. updates: of neurons. None without a frame.
    """
    macs = bench.size.macs
    per_mac: dict[str, float | None] = {}
    sent: dict[str, float | None] = {}
    for counting in Counts._fields:
        per_mac[counting] = _mean([r.operations[counting] for r in records], macs)
        sent[counting] = _mean([r.sent[counting] for r in records])
    return {
        **per_mac,
        "sops": per_mac[bench.model.counting],
        "analogue": _mean([r.analogue_macs for r in records], macs),
        "sent": sent,
        "updates": _mean([r.updates for r in records]),
    }


def energies(bench: Bench, mode: str, records: Sequence[FrameRecord]) -> dict[str, float | None]:
    """mJ per frame in every account; of the ANN in float in the first and of 8 bits in the
    others.
    """
    if mode == "ann":
        return {account.key: account.ann(bench.size) for account in bench.options.accounts}
    work = mean_work(bench, mode, records)
    return {
        account.key: work and account.snn(work, bench.size) for account in bench.options.accounts
    }


def mean_work(bench: Bench, mode: str, records: Sequence[FrameRecord]) -> Work | None:
    """Per frame. None without a frame."""
    if not records:
        return None
    value = bench.value(mode)
    charge = charged(value)
    steps = 1 if mode == "delta" else bench.options.T
    return replace(bench.model, value=value).work(
        steps,
        bench.size,
        operations=float(np.mean([r.operations[charge] for r in records])),
        events=float(np.mean([r.events[charge] for r in records])),
        updates=float(np.mean([r.updates for r in records])),
        analogue_macs=float(np.mean([r.analogue_macs for r in records])),
    )


def _mean(values: Sequence[float], unit: float = 1.0) -> float | None:
    return float(np.mean(values)) / unit if values else None


NOTE = """\
AP50 of person against the ground truth, and agreement with the ANN's boxes above 25 %, in percent;
by box: with each class counting as often as the ANN sees it, else each as much as another.
error: of the outputs, relative to the ANN's, mean over the frames. Operations are per
multiply-accumulate of the ANN; analogue: of the layer that reads the image.
s: of the network alone, per later frame."""
TRACK_NOTE = """\
How boxes of people above 25 %, tracked by ByteTrack, follow the people of the ground truth: MOTA,
IDF1 and HOTA in percent; switches: of identity."""
ENERGY_NOTE = """\
fp32: 32-bit float and its ANN, as most papers print it; the others: 8-bit weights and an 8-bit ANN.
8 bit: 32-bit sums, no memory. SRAM: every access is paid, with 16- or 32-bit potentials.
reuse: each byte moves once per pass. Loihi: energies per event fitted to that chip (SANA-FE, 12 %),
a lower bound; no ANN runs on it. All others at 45 nm; of later frames."""
_LONGEST = 17  # characters of a name


def score_table(named: Mapping[str, Sequence[Row]]) -> str:
    """One line per sequence and mode: how good the boxes and the outputs are."""
    table = [["", "AP50", "95 %", "- ANN", "95 %", "agree", "by box", "error", "last", "worst"]]
    for name, rows in named.items():
        for row in rows:
            minus = "AP50_minus_ann" if row["mode"] != "ann" else ""
            cells = [_percent(row.get("AP50")), _interval(row.get("AP50_95"))]
            cells += [_percent(row.get(minus), "+.1f"), _interval(row.get(f"{minus}_95"))]
            cells += [_percent(row.get("agreement")), _percent(row.get("agreement_by_box"))]
            errors = [f"{row['output_error'][key]:.3f}" for key in ("mean", "last", "worst")]
            table.append([_label(name, row["mode"]), *cells, *errors])
    return columns(table)


def track_table(named: Mapping[str, Sequence[Row]]) -> str:
    """One line per sequence and mode: how well people are followed. Empty without ground truth."""
    header = [""]
    for figure in FIGURES:
        header += [figure, "- ANN"]
    table = [[*header, "switches", "tracks", "people"]]
    for name, rows in named.items():
        for row in rows:
            if FIGURES[0] not in row:
                continue
            cells = [_label(name, row["mode"])]
            for figure in FIGURES:
                minus = "" if row["mode"] == "ann" else f"{figure}_minus_ann"
                cells += [_percent(row[figure]), _percent(row.get(minus), "+.1f")]
            cells += [str(row[key]) for key in ("id_switches", "tracks", "people")]
            table.append(cells)
    return columns(table) if len(table) > 1 else ""


def cost_table(named: Mapping[str, Sequence[Row]]) -> str:
    """One line per sequence and mode: operations, seconds, and where a cut was seen."""
    table = [["", "first frame", "later: spikes", "digits", "messages", "analogue", "s", "cuts"]]
    for name, rows in named.items():
        for row in rows:
            first, later = row["first"], row["later"]
            costs_ = [first["sops"], *(later[counting] for counting in Counts._fields)]
            cells = [_number(cost) for cost in (*costs_, later["analogue"])]
            cells += [f"{row['seconds_per_frame']:.3g}", str(len(row["cuts"]))]
            table.append([_label(name, row["mode"]), *cells])
    return columns(table)


def account_table(
    named: Mapping[str, Sequence[Row]],
    accounts: Sequence[Account],
    size: NetworkSize,
    work: Work | None,
) -> str:
    """mJ of each row in every account, beside the ANN's; where the last row's stream takes less.

    work: of the stream in all, for the operations at which both would take the same.
    """
    table = [["mJ per later frame", *(account.name for account in accounts)]]
    table.append(["ANN", *(_number(account.ann(size)) for account in accounts)])
    for name, rows in named.items():
        for row in rows:
            if row["mode"] != "ann":
                energy = row["energy_mJ"]
                cells = [_number(energy[account.key]) for account in accounts]
                table.append([_label(name, row["mode"]), *cells])
    if work is None:
        return columns(table)
    share, less, even = ["stream of the ANN"], ["stream takes less"], ["even at operations/MAC"]
    for account in accounts:
        snn, ann = account.snn(work, size), account.ann(size)
        if math.isnan(ann):
            for row in (share, less, even):
                row.append("-")
            continue
        share.append(percent(snn / ann, ".3g") + " %")
        less.append("yes" if snn < ann else "no")
        even.append(f"{account.break_even(work, size):.3g}")
    low, high = (work.operations * CHIPS[chip] / PJ_PER_MJ for chip in ("TrueNorth", "Loihi"))
    chips = f"{low:.3g} mJ (TrueNorth) to {high:.3g} mJ (Loihi)"
    text = columns([*table, share, less, even])
    return f"{text}\nby published energies of an event: {chips}"


def _label(name: str, mode: str) -> str:
    short = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..."
    return f"{short} {mode}"


def _percent(value: float | None, number: str = ".1f") -> str:
    return "" if value is None else percent(value, number)


def _interval(ends: Any) -> str:
    return f"{percent(ends[0])}..{percent(ends[1])}" if ends else ""


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3g}"
