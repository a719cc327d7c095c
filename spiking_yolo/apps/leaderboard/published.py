"""Spiking detectors as others published them (published.json beside this file, or a user's own)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spiking_yolo.apps.leaderboard.fields import Fields
from spiking_yolo.errors import UserError
from spiking_yolo.io.json import fits, read_json_file

# Where a figure was read, the most reliable first.
LEVELS = ("paper", "abstract", "code", "thread", "cited")


@dataclass(frozen=True)
class Published:
    """A detector as it was published; None is what the source does not say.

    Attributes:
        name: With the size or variant.
        dataset: As `eval` names it, such as "val2017"; a picture shows the detector beside rows of
            that dataset.
        ap50: AP at an IoU of 0.5 in percent.
        ap: Mean AP over IoUs of 0.5 to 0.95 in percent.
        T: Timesteps, such as "4" or "1 x 4".
        operations: Synaptic operations per image, in 10⁹, as its authors counted them.
        weights: How they came about, such as "trained as a spiking network".
        level: Where the figures were read: one of LEVELS.
        source: The paper or thread.
        note: What else a reader should know.
    """

    name: str
    dataset: str
    ap50: float | None
    ap: float | None
    T: str | None
    operations: float | None
    weights: str
    level: str
    source: str
    note: str


def read_published(path: Path | None = None) -> list[Published]:
    """The detectors of a file, by default of those that come with the package.

    Raises:
        UserError: The file cannot be read, or a field is missing or wrong.
    """
    path = path or Path(__file__).with_suffix(".json")
    content = read_json_file(path, "a list of published detectors")
    if not fits(content, list[dict[str, Any]]) or not content:
        raise UserError(f"{path} is no list of published detectors: docs/howto/leaderboard.md")
    detectors: list[Published] = []
    for i, row in enumerate(content):
        detectors.append(_detector(Fields(path, row, f"[{i}].")))
    return detectors


def _detector(fields: Fields) -> Published:
    level = fields.text("level")
    if level not in LEVELS:
        raise fields.wrong("level", f"is none of {', '.join(LEVELS)}")
    T = fields.get("T", str | int | None)
    return Published(
        name=fields.text("name"),
        dataset=fields.text("dataset"),
        ap50=_optional(fields, "ap50", 0, 100),
        ap=_optional(fields, "ap", 0, 100),
        T=None if T is None else str(T),
        operations=_optional(fields, "operations", 1e-6, 1e6),
        weights=fields.text("weights"),
        level=level,
        source=fields.text("source"),
        note=fields.get("note", str, ""),
    )


def _optional(fields: Fields, key: str, low: float, high: float) -> float | None:
    if fields.get(key, float | None) is None:
        return None
    return fields.number(key, float, low, high)
