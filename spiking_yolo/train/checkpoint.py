"""Where randomness comes from: functions of (seed, epoch, index), so that neither workers nor
restarts change it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from spiking_yolo.draw import FigureFormat
from spiking_yolo.errors import UserError
from spiking_yolo.io.files import atomic_write
from spiking_yolo.io.tables import write_csv


def generator(*key: int) -> np.random.Generator:
    """Independent stream of random numbers for a key of non-negative integers: (seed, epoch,
    index).
    """
    return np.random.default_rng(key)


@dataclass(kw_only=True)
class Batches:
    """Which images make the batches of an epoch. count: of all images. rank, world: this process,
    and how many.
    """

    count: int = field(init=False)
    batch: int
    seed: int = 0
    rank: int = 0
    world: int = 1

    def epoch(self, epoch: int, first: int = 0) -> list[list[int]]:
        """Indices of this rank's images of each batch, from batch `first` on.

        Every rank gets floor(count / world) images. What does not fill a batch is dropped, unless
        it is all there is.
        """
        shuffled = generator(self.seed, epoch).permutation(self.count)
        own = shuffled[self.rank : self.count // self.world * self.world : self.world].tolist()
        full = [own[i : i + self.batch] for i in range(0, len(own) - self.batch + 1, self.batch)]
        return (full or [own])[first:]

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return max(1, self.count // self.world // self.batch)


Rows = list[dict[str, float]]
# Option -> number or text: what must not change while a training goes on.
Job = Mapping[str, Any]


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


@dataclass(frozen=True)
class State:
    """What changes while training; random numbers follow from seed, epoch and step and need no
    keeping.
    """

    model: nn.Module
    ema: nn.Module
    optimizer: torch.optim.Optimizer


@dataclass(frozen=True)
class Begun:
    """The part of an epoch that is done. steps: so many batches. sums: of the loss and its terms
    over them.
    """

    steps: int = 0
    sums: dict[str, float] = field(default_factory=dict)


def save_state(
    state: State, rows: Rows, folder: Path, job: Job, epochs: int, begun: Begun | None = None
) -> None:
    """Write folder/state.pt, plain tensors and numbers only, so that reading it runs no code.

    rows: of the finished epochs. epochs: that are planned. begun: what is done of the next one. The
    appearance of a row is what finishes an epoch: whatever else the epoch writes must be there
    before.
    """
    with atomic_write(folder / "state.pt") as path:
        parts = {k: v.state_dict() for k, v in vars(state).items()}
        try:
            facts = {
                "rows": rows,
                "begun": vars(begun or Begun()),
                "job": dict(job),
                "epochs": epochs,
            }
            torch.save({**parts, **facts}, path)
        except RuntimeError as error:  # which is how torch says that the disk is full
            raise OSError("it did not fit") from error


def planned(folder: Path) -> int:
    """The epochs that an interrupted training was to have. Raises UserError when its state is
    damaged.
    """
    with _named(folder / "state.pt") as path:
        epochs = int(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["epochs"])
        if epochs < 1:
            raise ValueError(epochs)
        return epochs


def load_state(state: State, folder: Path, job: Job) -> tuple[Rows, Begun]:
    """Restore in place from folder/state.pt; returns the rows of the finished epochs, none without
    a file, and what is done of the next one.

    Raises UserError when the file is damaged, and when it was made with another job or network.
    """
    path = folder / "state.pt"
    if not path.is_file():
        return [], Begun()
    with _named(path):
        saved = torch.load(path, map_location="cpu", weights_only=True)
        rows, before = _checked(saved["rows"], "epoch", "loss"), dict(saved["job"])
        (sums,) = _checked([saved["begun"]["sums"]])
        begun = Begun(int(saved["begun"]["steps"]), sums)
    for option in sorted(before.keys() | job.keys()):
        old, new = before.get(option), job.get(option)
        if old != new:
            flag = f"--{option.replace('_', '-')}"
            raise UserError(
                f"{folder} was trained with {flag} {old}, not {new}: go on with {old}, or choose"
                " another --name"
            )
    try:
        for name, part in vars(state).items():
            part.load_state_dict(saved[name])
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} belongs to another network or optimizer: choose another --name"
        ) from error
    return rows, begun


@contextmanager
def _named(path: Path) -> Iterator[Path]:
    """For reading the file: torch.load raises whatever its damage leads to."""
    try:
        yield path
    except Exception as error:
        raise UserError(
            f"{path} is damaged or of another version: train anew, with another --name"
        ) from error


def _checked(rows: Any, *needed: str) -> Rows:
    if not all(
        isinstance(name, str) and isinstance(value, float)
        for row in rows
        for name, value in row.items()
    ):
        raise TypeError
    if not all(row.keys() >= set(needed) for row in rows):
        raise KeyError
    return list(rows)


def best_row(rows: Rows) -> dict[str, float] | None:
    """The last of those with the largest figure of BEST_BY; None where none was validated."""
    validated = [row for row in reversed(rows) if row.keys() & set(BEST_BY)]
    return max(
        validated, key=lambda row: next(row[key] for key in BEST_BY if key in row), default=None
    )


def scores(row: Mapping[str, float]) -> list[str]:
    return [f"{label} {row[key]:.1f} %" for key, label in SCORES.items() if key in row]


def epoch_line(row: Mapping[str, float], epochs: int) -> str:
    return ", ".join([f"epoch {row['epoch']:.0f}/{epochs}: loss {row['loss']:.4g}", *scores(row)])


def record(rows: Rows, folder: Path) -> None:
    """Write folder/results.csv: one line per finished epoch, empty where an epoch was not
    validated.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    write_csv(
        folder / "results.csv", [{k: f"{v:.6g}" for k, v in row.items()} for row in rows], columns
    )


def plot(rows: list[dict[str, float]], folder: Path, figures: FigureFormat = "png") -> None:
    """Draw folder/loss.png and, as soon as there is one, folder/score.png from one row per
    epoch; each also in the format `figures`.
    """
    from spiking_yolo.draw.curves import line_plot

    def series(keys: list[str]) -> dict[str, Any]:
        columns = {k: [(r["epoch"], r[k]) for r in rows if k in r] for k in keys}
        return {
            k: tuple(map(list, zip(*points, strict=True)))
            for k, points in columns.items()
            if points
        }

    terms = [k for k in rows[0] if k not in ("epoch", "lr", *SCORES)]
    terms = terms if len(terms) > 2 else ["loss"]  # which is the only term
    line_plot(folder / "loss.png", series(terms), "epoch", "loss", also=figures)
    if scores := series(list(SCORES)):
        line_plot(folder / "score.png", scores, "epoch", "validation, %", also=figures)
