"""The curves of a training."""

from pathlib import Path
from typing import Any

from spiking_yolo.train.lines import SCORES


def plot(rows: list[dict[str, float]], folder: Path) -> None:
    """Draw folder/loss.png and, as soon as there is one, folder/score.png from one row per epoch."""
    from spiking_yolo.draw.curves import line_plot

    def series(keys: list[str]) -> dict[str, Any]:
        columns = {k: [(r["epoch"], r[k]) for r in rows if k in r] for k in keys}
        return {k: tuple(map(list, zip(*points, strict=True))) for k, points in columns.items() if points}

    terms = [k for k in rows[0] if k not in ("epoch", "lr", *SCORES)]
    terms = terms if len(terms) > 2 else ["loss"]  # which is the only term
    line_plot(folder / "loss.png", series(terms), "epoch", "loss")
    if scores := series(list(SCORES)):
        line_plot(folder / "score.png", scores, "epoch", "validation, %")
