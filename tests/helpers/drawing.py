"""Boxes that tests make by hand, and what the tests of drawing share."""

import numpy as np
import torch
from matplotlib.figure import Figure

from spiking_yolo.decode.boxes import Detections

NAMES = ("dog", "bicycle", "a class with a very long name")
GREY = 128
FIRST = (8.0, 4.0, 40.5, 36.25)


def detections(*rows: tuple[float, ...]) -> Detections:
    """Rows of (x1, y1, x2, y2, confidence, class)."""
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].long())


def square(left: float, confidence: float = 0.9, class_id: int = 0) -> tuple[float, ...]:
    """A row of 20 x 20 pixels at the upper edge."""
    return left, 0, left + 20, 20, confidence, class_id


def falling(classes: list[int], ids: list[int] | None = None) -> Detections:
    """Boxes of falling confidence, the first at FIRST and the others beside it."""
    n = torch.arange(len(classes))
    track_id = None if ids is None else torch.tensor(ids)
    boxes = torch.tensor(FIRST) + n[:, None]
    return Detections(boxes, 0.75 - n / 16, torch.tensor(classes).long(), track_id)


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
