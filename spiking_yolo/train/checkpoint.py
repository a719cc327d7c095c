"""The state of a training and its record on disk, and the order of images, which follows from the
seed and the epoch, so that neither workers nor restarts change it.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
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
    """Independent stream of random numbers for a key such as (seed, epoch, index)."""
    return np.random.default_rng(key)


@dataclass(kw_only=True)
class Batches:
    """Which images make the batches of an epoch.

    Attributes:
        count: Number of images.
        batch: Images per step and process.
        seed: Of the order.
        rank: This process.
        world: Number of processes.
    """

    count: int = field(init=False)
    batch: int
    seed: int = 0
    rank: int = 0
    world: int = 1

    def epoch(self, epoch: int, first: int = 0) -> list[list[int]]:
        """Indices of this rank's images of each batch, from batch `first` on.

        Every rank gets floor(count / world) images. An incomplete last batch is dropped, unless it
        is the only one.
        """
        shuffled = generator(self.seed, epoch).permutation(self.count)
        own = shuffled[self.rank : self.count // self.world * self.world : self.world].tolist()
        if len(own) < self.batch:
            return [own][first:]
        ends = range(self.batch, len(own) + 1, self.batch)
        return [own[end - self.batch : end] for end in ends][first:]

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return max(1, self.count // self.world // self.batch)


Rows = list[dict[str, float]]
# Option -> number or text, for those that must not change when a training is resumed.
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
    """What changes while training. Random numbers follow from seed, epoch and step."""

    model: nn.Module
    ema: nn.Module
    optimizer: torch.optim.Optimizer


@dataclass(frozen=True)
class Begun:
    """The finished part of an epoch.

    Attributes:
        steps: Number of batches.
        sums: Sums over them, of the loss and its terms.
    """

    steps: int = 0
    sums: dict[str, float] = field(default_factory=dict)


def save_state(
    state: State, rows: Rows, folder: Path, job: Job, epochs: int, begun: Begun | None = None
) -> None:
    """Write folder/state.pt, plain tensors and numbers only, so that reading it runs no code.

    Its row finishes an epoch: whatever else the epoch writes must be written before.

    Args:
        state: To save.
        rows: Figures of the finished epochs.
        folder: Of the training.
        job: Options that must not change.
        epochs: Number of planned epochs.
        begun: The finished part of the next epoch.
    """
    content: dict[str, Any] = {name: part.state_dict() for name, part in vars(state).items()}
    content |= {"rows": rows, "begun": vars(begun or Begun()), "job": dict(job), "epochs": epochs}
    with atomic_write(folder / "state.pt") as path:
        try:
            torch.save(content, path)
        except RuntimeError as error:
            # That is what torch raises when the disk is full.
            raise OSError("it did not fit") from error


def planned(folder: Path) -> int:
    """Number of epochs of an interrupted training.

    Raises:
        UserError: Its state is damaged.
    """
    with _named(folder / "state.pt") as path:
        epochs = int(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["epochs"])
        if epochs < 1:
            raise ValueError(epochs)
        return epochs


def load_state(state: State, folder: Path, job: Job) -> tuple[Rows, Begun]:
    """Restore a state in place from folder/state.pt, if there is one.

    Returns:
        Rows of the finished epochs, and the finished part of the next one.

    Raises:
        UserError: The file is damaged, or of another job or network.
    """
    path = folder / "state.pt"
    if not path.is_file():
        return [], Begun()
    with _named(path):
        saved = torch.load(path, map_location="cpu", weights_only=True)
        rows = list(saved["rows"])
        for row in rows:
            _check_row(row)
            if not row.keys() >= {"epoch", "loss"}:
                raise KeyError
        before = dict(saved["job"])
        begun = Begun(int(saved["begun"]["steps"]), dict(saved["begun"]["sums"]))
        _check_row(begun.sums)
    for option in sorted(before.keys() | job.keys()):
        old = before.get(option)
        new = job.get(option)
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
    """Name the file in the error of a damaged one, for which torch.load may raise anything."""
    try:
        yield path
    except Exception as error:
        raise UserError(
            f"{path} is damaged or of another version: train anew, with another --name"
        ) from error


def _check_row(row: Mapping[Any, Any]) -> None:
    for name, value in row.items():
        if not isinstance(name, str) or not isinstance(value, float):
            raise TypeError


def best_row(rows: Rows) -> dict[str, float] | None:
    """The last row with the largest figure of BEST_BY; None where no epoch was validated."""
    best = None
    largest = -math.inf
    for row in rows:
        for key in BEST_BY:
            if key in row and row[key] >= largest:
                best = row
                largest = row[key]
    return best


def scores(row: Mapping[str, float]) -> list[str]:
    return [f"{label} {row[key]:.1f} %" for key, label in SCORES.items() if key in row]


def epoch_line(row: Mapping[str, float], epochs: int) -> str:
    return ", ".join([f"epoch {row['epoch']:.0f}/{epochs}: loss {row['loss']:.4g}", *scores(row)])


def record(rows: Rows, folder: Path) -> None:
    """Write folder/results.csv: one line per epoch, with empty cells where it was not validated."""
    columns: dict[str, None] = {}
    table: list[dict[str, str]] = []
    for row in rows:
        columns.update(dict.fromkeys(row))
        table.append({name: f"{value:.6g}" for name, value in row.items()})
    write_csv(folder / "results.csv", table, list(columns))


def plot(rows: Rows, folder: Path, figures: FigureFormat = "png") -> None:
    """Draw folder/loss.png and, once an epoch was validated, folder/score.png.

    Args:
        rows: Figures, one row per epoch.
        folder: Of the training.
        figures: A format in which each is drawn as well.
    """
    from spiking_yolo.draw.figure import line_plot

    def series(names: Iterable[str]) -> dict[str, tuple[list[float], list[float]]]:
        lines: dict[str, tuple[list[float], list[float]]] = {}
        for name in names:
            for row in rows:
                if name in row:
                    epochs, values = lines.setdefault(name, ([], []))
                    epochs.append(row["epoch"])
                    values.append(row[name])
        return lines

    terms = [name for name in rows[0] if name not in ("epoch", "lr", *SCORES)]
    if len(terms) <= 2:
        # The loss has one term, itself.
        terms = ["loss"]
    line_plot(folder / "loss.png", series(terms), "epoch", "loss", also=figures)
    if curves := series(SCORES):
        line_plot(folder / "score.png", curves, "epoch", "validation, %", also=figures)
