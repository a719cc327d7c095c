"""Accuracy, matching of classes, preprocessing and calibration of classifiers, each beside a
computation of its own.
"""

import numpy as np
import pytest
import torch
from helpers.classifying import NAMES, SPEC

from spiking_yolo.apps.evaluate.scoring import ClassScorer, classification_classes
from spiking_yolo.data.datasets import LabelledSet
from spiking_yolo.data.images import Picture
from spiking_yolo.decode.boxes import TopClasses, top_classes
from spiking_yolo.errors import UserError
from spiking_yolo.metrics.bootstrap import AccuracyResampled, correct, draws
from spiking_yolo.models.spec import Spec, numbered


def test_correct_by_hand():
    best, labels = np.array([[1, 2, 0], [0, 1, 2], [0, 1, 2], [2, 1, -1]]), np.array([2, 1, 2, 0])
    assert [correct(best, labels, k).tolist() for k in (1, 2, 5)] == [
        [False, False, False, False],
        [True, True, False, False],
        [True, True, True, False],
    ]


def test_resampled_accuracy_is_that_of_the_images_drawn():
    rng = np.random.default_rng(0)
    hits = {"top1": rng.random(9) < 0.5, "top5": rng.random(9) < 0.8}
    weights = draws(9, 20, 1)
    expected = [[np.repeat(hit, w).mean() for hit in hits.values()] for w in weights]
    resampled = AccuracyResampled(hits)
    assert resampled.images == 9 and np.allclose(resampled.score(weights), expected)


def labelled(classes, labels) -> LabelledSet:
    greys = [np.full((16, 16, 3), 10 * i, np.uint8) for i in range(len(labels))]
    pictures = [Picture(f"{i}.png", grey) for i, grey in enumerate(greys)]
    return LabelledSet("data", tuple(classes), pictures, np.array(labels))


def test_scorer_by_hand():
    ids = torch.tensor([[2, 0, 1], [1, 0, 2], [-1, 0, 2], [0, -1, 1]])
    best = [TopClasses(of_image, torch.zeros(3)) for of_image in ids]
    spec = Spec("classify", tuple("abcd"), 8, 8)
    scored = ClassScorer(labelled("abcd", [2, 0, 0, 2]), spec).score([], [best])
    assert scored.figures == {"top1": 0.25, "top5": 0.75}
    assert scored.per_class == {"a": 0.0, "c": 0.5} and scored.objects == {"a": 2, "c": 2}


def test_predictions_are_classes_of_the_dataset():
    data = labelled(("fox", "ant", "bee"), [0, 1])
    task = ClassScorer(data, SPEC)
    # ant, bee, cow, dog, elk, fox, gnu.
    logits = torch.tensor([[0.0, 1, 5, 2, 0, 4, 0], [9.0, 0, 0, 0, 0, 0, 0]])
    best = top_classes(logits)
    first, second = (row["class_id"] for row in task.rows([best]))
    assert first == [-1, 0, -1, 2, 1]
    assert second == [1, 2, -1, -1, -1]


def test_classes_are_matched_by_name_or_by_number():
    data = labelled(("b", "a"), [0])
    assert classification_classes(data, ("a", "b", "c")) == (1, 0, -1)
    assert classification_classes(data, numbered(2)) == (0, 1)
    for names in (("a", "c"), numbered(3)):
        with pytest.raises(UserError, match=r"no class 'b'.*--names"):
            classification_classes(data, names)
    with pytest.raises(UserError, match="no images"):
        ClassScorer(labelled(NAMES, []), SPEC)
