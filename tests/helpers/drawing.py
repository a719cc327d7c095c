"""What the tests of drawing share."""

import numpy as np
import torch
from matplotlib.figure import Figure

from spiking_yolo.decode.boxes import Detections

NAMES = ("dog", "bicycle", "a class with a very long name")
GREY = 128


def detections(*rows: tuple[float, ...]) -> Detections:
    """Rows of (x1, y1, x2, y2, confidence, class)."""
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].long())


def picture(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), GREY, np.uint8)


def changed(image: np.ndarray) -> np.ndarray:
    """bool [H, W]: pixels that are no longer grey."""
    return (image != GREY).any(2)


def saved_figures(monkeypatch) -> list[Figure]:
    """A list that collects the figures saved from now on."""
    figures: list[Figure] = []
    save = Figure.savefig

    def spy(self, *args, **kwargs):
        figures.append(self)
        return save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", spy)
    return figures
