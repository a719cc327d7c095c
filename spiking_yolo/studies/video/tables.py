"""What an evaluation on videos prints: tables that fit 100 columns."""

from collections.abc import Mapping, Sequence
from typing import Any

from spiking_yolo.io.tables import columns, percent
from spiking_yolo.metrics.energy import CHIPS, PJ_PER_MJ, Account
from spiking_yolo.metrics.work import Size, Work
from spiking_yolo.studies.video.rows import Row

NOTE = """\
AP50 of person against the ground truth, and agreement with the ANN's boxes above 25 %, in percent;
by box: with each class counting as often as the ANN sees it, else each as much as another.
error: of the outputs, relative to the ANN's, mean over the frames. Operations are per
multiply-accumulate of the ANN; analogue: of the layer that reads the image.
s: of the network alone, per later frame."""
ENERGY_NOTE = """\
fp32: 32-bit float and its ANN, as most papers print it; the others: 8-bit weights and an 8-bit ANN.
8 bit: 32-bit sums, no memory. SRAM: every access is paid, with 16- or 32-bit potentials.
reuse: each byte moves once per pass. All at 45 nm; of later frames."""
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


def cost_table(named: Mapping[str, Sequence[Row]]) -> str:
    """One line per sequence and mode: operations, seconds, and where a cut was seen."""
    table = [["", "first frame", "later: spikes", "digits", "messages", "analogue", "s", "cuts"]]
    for name, rows in named.items():
        for row in rows:
            first, later = row["first"], row["later"]
            cells = [_number(first["sops"]), *(_number(later[key]) for key in ("spikes", "digits", "messages"))]
            cells += [_number(later["analogue"]), f"{row['seconds_per_frame']:.3g}", str(len(row["cuts"]))]
            table.append([_label(name, row["mode"]), *cells])
    return columns(table)


def account_table(
    named: Mapping[str, Sequence[Row]], accounts: Sequence[Account], size: Size, work: Work | None
) -> str:
    """mJ of each row in every account, beside the ANN's; where the last row's stream takes less.

    work: of the stream in all, for the operations at which both would take the same.
    """
    table = [["mJ per later frame", *(account.name for account in accounts)]]
    table.append(["ANN", *(f"{account.ann(size):.3g}" for account in accounts)])
    for name, rows in named.items():
        for row in rows:
            if row["mode"] != "ann":
                energy = row["energy_mJ"]
                table.append([_label(name, row["mode"]), *(_number(energy[account.key]) for account in accounts)])
    if work is not None:
        energies = [(account.snn(work, size), account.ann(size)) for account in accounts]
        table.append(["stream of the ANN", *(percent(snn / ann, ".3g") + " %" for snn, ann in energies)])
        table.append(["stream takes less", *("yes" if snn < ann else "no" for snn, ann in energies)])
        table.append(["even at operations/MAC", *(f"{a.break_even(work, size):.3g}" for a in accounts)])
        low, high = (f"{work.operations * CHIPS[chip] / PJ_PER_MJ:.3g}" for chip in ("TrueNorth", "Loihi"))
        return f"{columns(table)}\nby published energies of an event: {low} mJ (TrueNorth) to {high} mJ (Loihi)"
    return columns(table)


def _label(name: str, mode: str) -> str:
    short = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..."
    return f"{short} {mode}"


def _percent(value: float | None, number: str = ".1f") -> str:
    return "" if value is None else percent(value, number)


def _interval(ends: Any) -> str:
    return f"{percent(ends[0])}..{percent(ends[1])}" if ends else ""


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
