"""The state of a training on disk: enough to go on after a kill as if nothing had happened."""

import csv
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import atomic_write

Rows = list[dict[str, float]]


@dataclass(frozen=True)
class State:
    """What changes while training; random numbers follow from the seed and the epoch and need no keeping."""

    model: nn.Module
    ema: nn.Module
    optimizer: torch.optim.Optimizer


def save_state(state: State, rows: Rows, folder: Path) -> None:
    """Write folder/state.pt, plain tensors and numbers only, so that reading it runs no code."""
    with atomic_write(folder / "state.pt") as path:
        torch.save({**{k: v.state_dict() for k, v in vars(state).items()}, "rows": rows}, path)


def load_state(state: State, folder: Path) -> Rows:
    """Restore in place from folder/state.pt; returns the rows of the finished epochs, none without a file."""
    path = folder / "state.pt"
    if not path.is_file():
        return []
    saved = torch.load(path, map_location="cpu", weights_only=True)
    try:
        for name, part in vars(state).items():
            part.load_state_dict(saved[name])
    except (RuntimeError, ValueError, KeyError) as e:
        raise UserError(f"{path} belongs to another network or optimizer: choose another --name") from e
    return saved["rows"]


def record(rows: Rows, folder: Path) -> None:
    """Write folder/results.csv: one line per finished epoch, empty where an epoch was not validated."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with atomic_write(folder / "results.csv") as path, open(path, "w", newline="") as f:
        writer = csv.DictWriter(f, columns)
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in rows)
