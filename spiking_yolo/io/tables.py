"""Tables of figures: as aligned text for a terminal, and as csv files."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spiking_yolo.io.files import atomic_write
from spiking_yolo.io.json import finite

# Characters of a terminal's line, which every printed table fits.
WIDTH = 100


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Aligned text with two spaces between columns: the first flush left, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines: list[str] = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        for cell, width in zip(row[1:], widths[1:], strict=True):
            cells.append(cell.rjust(width))
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def percent(value: float, number: str = ".1f") -> str:
    """A fraction in percent; "-" for nan, where there is nothing to measure."""
    return "-" if math.isnan(value) else format(100 * value, number)


def write_csv(
    path: Path, rows: Sequence[Mapping[str, Any]], names: Sequence[str] | None = None
) -> None:
    """Write a csv file, whole or not at all.

    Args:
        path: Of the file.
        rows: Cells by column; missing ones, None, nan and infinity are empty.
        names: Of the columns, by default the keys of the first row.

    Raises:
        UserError: The file cannot be written.
    """
    with (
        atomic_write(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, names or list(rows[0]), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(map(finite, rows))
