"""Augmentation against what can be seen in the images: shifts by brute force, mosaics by colour."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from spiking_yolo.data.datasets import LabelledSet
from spiking_yolo.data.images import Picture
from spiking_yolo.train import augment
from spiking_yolo.train.augment import SHIFT, ClassifierAugmentation, DetectorAugmentation
from spiking_yolo.train.tasks import ClassifyTask

COLOURS = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (200, 200, 40)]


def plain(colour: tuple[int, int, int], label: int) -> dict[str, object]:
    """A photograph of one colour, with a box around its middle."""
    image = np.full((60, 80, 3), colour, np.uint8)
    return {"image": image, "bboxes": np.array([[20.0, 15, 60, 45]]), "labels": np.array([label])}


def test_a_shift_is_a_crop_of_the_reflected_image():
    """Every result is one of the 9 x 9 x 2 possible ones, and many of them come."""
    image = np.random.default_rng(0).integers(0, 256, (9, 12, 3)).astype(np.uint8)
    border = np.pad(image, ((SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="reflect")
    possible = {}
    for top in range(2 * SHIFT + 1):
        for left in range(2 * SHIFT + 1):
            crop = border[top : top + 9, left : left + 12]
            possible[crop.tobytes()] = (top, left, False)
            possible[np.ascontiguousarray(crop[:, ::-1]).tobytes()] = (top, left, True)
    shift = ClassifierAugmentation(9, 12)
    seen = []
    for k in range(200):
        seen.append(possible[shift(image, np.random.default_rng(k)).tobytes()])
    assert len(set(seen)) > 100 and 70 < sum(mirrored for *_, mirrored in seen) < 130
    assert {top for top, *_ in seen} == {left for _, left, _ in seen} == set(range(9))
    # Transforms that drew from a source of their own each would go together.
    low = [mirrored for top, _, mirrored in seen if top < SHIFT]
    assert 0.25 < np.mean(low) < 0.75


def test_a_mosaic_has_the_boxes_of_its_four_photographs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(augment, "MOSAIC", 1.0)
    items = [plain(colour, k) for k, colour in enumerate(COLOURS)]
    make = DetectorAugmentation(64, 96)
    for k in range(20):
        mosaic = make(items[0], lambda: items[1:], np.random.default_rng(k))
        assert mosaic["image"].shape == (64, 96, 3)
        assert sorted(int(label) for label in mosaic["labels"]) == [0, 1, 2, 3]
        quarters = set()
        for box, label in zip(mosaic["bboxes"], mosaic["labels"], strict=True):
            left, top, right, bottom = box
            quarters.add((top > 31, left > 47))
            assert right - left <= 48 and bottom - top <= 32
            middle = mosaic["image"][int((top + bottom) / 2), int((left + right) / 2)].astype(int)
            bright, colour = np.array(COLOURS[int(label)]) > 100, middle
            assert colour[bright].min() > colour[~bright].max()
        assert len(quarters) == 4


def test_half_of_the_crops_keep_every_box(monkeypatch: pytest.MonkeyPatch):
    """The others are as large as they are wherever boxes are, and may lose those at the sides."""
    monkeypatch.setattr(augment, "MOSAIC", 0.0)
    item = plain(COLOURS[0], 0)
    item |= {"bboxes": [[1.0, 1, 12, 12], [66, 46, 79, 59]], "labels": [0, 1]}
    make = DetectorAugmentation(64, 64)
    kept = [len(make(item, list, np.random.default_rng(k))["labels"]) for k in range(100)]
    assert 50 <= kept.count(2) < 90


def test_items_follow_from_seed_and_epoch_and_not_from_workers():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 16, 16, 3)).astype(np.uint8)
    pictures = [Picture(str(k), image) for k, image in enumerate(images)]
    data = LabelledSet("drawn", ("a", "b"), pictures, np.arange(6) % 2)

    def batch(workers: int, **options: int) -> torch.Tensor:
        return next(iter(DataLoader(ClassifyTask(data, data, **options), 6, num_workers=workers)))[
            0
        ]

    first = batch(0)
    assert torch.equal(first, batch(0)) and torch.equal(first, batch(2))
    assert not torch.equal(first, batch(0, epoch=1)) and not torch.equal(first, batch(0, seed=1))
