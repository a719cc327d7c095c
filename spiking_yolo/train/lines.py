"""What a training says while it runs: what it has read, and how an epoch went."""

from collections.abc import Mapping, Sequence

from torch import nn

from spiking_yolo.io.names import size_name
from spiking_yolo.models.spec import Spec

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
