"""What a training says: what it has read, how an epoch went, and what to do with its network."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import nn

from spiking_yolo.data.formats import takes
from spiking_yolo.io.assets import command
from spiking_yolo.io.names import size_name
from spiking_yolo.models.spec import Spec
from spiking_yolo.train.options import TrainOptions

# In percent.
SCORES = {
    "mAP50": "mAP50",
    "mAP50_20": "mAP50_20",
    "precision": "P",
    "recall": "R",
    "top1": "top-1",
}
# Of which a row has one if it was validated.
BEST_BY = ("mAP50", "top1")
NAMES, NOTES = 5, 5  # that are shown

Row = Mapping[str, float]


def best_row(rows: Sequence[dict[str, float]]) -> dict[str, float] | None:
    """The last of those with the largest figure of BEST_BY; None where none was validated."""
    validated = [row for row in reversed(rows) if row.keys() & set(BEST_BY)]
    return max(
        validated, key=lambda row: next(row[key] for key in BEST_BY if key in row), default=None
    )


def opening(
    contents: Mapping[str, str], spec: Spec, model: nn.Module, name: str, where: str
) -> list[str]:
    """contents: of a Task. name: of the architecture. where: the device and its precision."""
    names = ", ".join([*spec.names[:NAMES], *(["..."] if len(spec.names) > NAMES else [])])
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    return [
        *(f"{split}: {text}" for split, text in contents.items()),
        f"{len(spec.names)} classes: {names}",
        (
            f"{name}: {millions:.2f} M parameters, input {size_name((spec.height, spec.width))}, on"
            f" {where}"
        ),
    ]


def noted(notes: Sequence[str]) -> list[str]:
    """The notes of a dataset, the first few."""
    more = [f"and {len(notes) - NOTES} more of this kind"] if len(notes) > NOTES else []
    return [f"note: {line}" for line in (*notes[:NOTES], *more)]


def scores(row: Row) -> list[str]:
    return [f"{label} {row[key]:.1f} %" for key, label in SCORES.items() if key in row]


def epoch_line(row: Row, epochs: int) -> str:
    return ", ".join([f"epoch {row['epoch']:.0f}/{epochs}: loss {row['loss']:.4g}", *scores(row)])


def outcome(weights: Path, last: Row, best: Row | None) -> str:
    """Which epoch the network is of, and why."""
    if best is None or weights.stem == "last":
        why = "no epoch was validated" if best is None else "there is no best.safetensors any more"
        return f"{weights} is of the last epoch, {last['epoch']:.0f}: {why}"
    return (
        f"{weights} is of epoch {best['epoch']:.0f}, the best by validation:"
        f" {', '.join(scores(best))}"
    )


def next_commands(options: TrainOptions, weights: Path, example: str, calibrated: bool) -> str:
    """What usually comes next: scoring the network, and using it. example: an image to detect in.

    calibrated: whether that can be done at once; otherwise calibration comes first.
    """
    network, data = ["--weights", str(weights)], ["--data", str(options.data)]
    split = (
        ["--split", options.val_split] if options.val_split and options.val_split != "val" else []
    )
    if options.task == "detect":
        split += ["--year", options.year] if takes(options.data, "year") else []
        images = ["--images", str(Path(example).parent), "--limit", "128"]
        first, then = ("eval", [*network, *data, *split]), ("detect", [example, *network])
    else:
        images = data
        first = ("classify", [*network, *data, *split])
        then = ("convert", [*network, "--output", str(weights.with_name("spiking.safetensors"))])
    calls = [*([] if calibrated else [("calibrate", [*network, *images])]), first, then]
    return "\n".join(f"next: {command(verb)} {shlex.join(words)}" for verb, words in calls)
