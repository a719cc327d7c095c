"""Tables of figures: as aligned text for a terminal, and as csv files."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spiking_yolo.io.files import atomic_write
from spiking_yolo.io.json import finite

# Columns of a terminal that every printed table fits.
WIDTH = 100


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Aligned text: the first column to the left, the others to the right, two spaces
    between them.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def percent(value: float, number: str = ".1f") -> str:
    """A fraction in percent; "-" for nan, which stands for nothing to measure."""
    return "-" if math.isnan(value) else format(100 * value, number)


def write_csv(
    path: Path, rows: Sequence[Mapping[str, Any]], names: Sequence[str] | None = None
) -> None:
    """Write a csv file, whole or not at all. names: of the columns, by default the keys of the
    first row.

    A key that a row lacks, None, nan and infinity make an empty cell. Raises UserError when it
    cannot be written.
    """
    with (
        atomic_write(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, names or list(rows[0]), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(map(finite, rows))
