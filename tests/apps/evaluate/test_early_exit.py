"""When an image stops: sequences and boxes by hand."""

import operator

import pytest
import torch

from spiking_yolo.apps.evaluate.scoring import exit_step, same_detections
from spiking_yolo.decode.boxes import Detections


@pytest.mark.parametrize(
    ("sequence", "patience", "expected"),
    [
        ("aaaaa", 1, 2),
        ("aaaaa", 3, 4),
        ("abbb", 2, 4),
        ("abab", 1, 4),  # never: the last step
        ("aabbbbb", 2, 5),
        ("a", 1, 1),
        ("aa", 5, 2),
    ],
)
def test_exit_step(sequence, patience, expected):
    assert exit_step(sequence, operator.eq, patience) == expected


def test_slow_drift_is_a_change():
    assert exit_step(range(10), lambda a, b: abs(a - b) <= 1, 2) == 10


def boxes(*rows):
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].long())


A, B = (0, 0, 100, 100, 0.9, 1), (50, 50, 90, 90, 0.5, 2)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ((A, B), True),
        ((B, A), True),
        (((0, 0, 100, 95, 0.9, 1), B), True),  # IoU 0.95
        (((0, 0, 100, 90, 0.9, 1), B), False),  # IoU 0.90 is not above 0.9
        (((0, 0, 100, 100, 0.885, 1), B), True),
        (((0, 0, 100, 100, 0.87, 1), B), False),
        (((0, 0, 100, 100, 0.9, 2), B), False),
        ((A,), False),
        ((A, A), False),
    ],
)
def test_same_detections(other, same):
    assert same_detections(boxes(A, B), boxes(*other)) is same
    assert same_detections(boxes(*other), boxes(A, B)) is same


def test_nothing_found_is_not_yet_an_answer():
    assert not same_detections(boxes(), boxes())
