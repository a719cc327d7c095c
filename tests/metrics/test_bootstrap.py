"""Bootstrap by image weights against the slow way, copying the images that were drawn more than once;
accuracy and classes of classifiers.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.classifying import NAMES, SPEC

from spiking_yolo.data.datasets import DetectionSet, LabelledSet, Sample
from spiking_yolo.data.images import Picture
from spiking_yolo.decode.boxes import Detections, TopClasses, top_classes
from spiking_yolo.errors import UserError
from spiking_yolo.evaluate.scoring import ClassScorer, classification_classes
from spiking_yolo.metrics.bootstrap import (
    AccuracyResampled,
    Blocks,
    CocoResampled,
    Resampling,
    VocResampled,
    correct,
    draws,
)
from spiking_yolo.metrics.precision import coco_score, to_coco, voc_map
from spiking_yolo.models.spec import Spec, numbered

IMAGES = 12


def scene(noise: float, seed: int = 3) -> tuple[DetectionSet, list[Detections]]:
    """Photos with up to five objects of three classes and noisy, partly wrong detections; scores
    are distinct.
    """
    rng = np.random.default_rng(seed)
    samples, found = [], []
    for i in range(IMAGES):
        n = rng.integers(0, 6)
        corner, side = rng.integers(0, 300, (n, 2)), rng.integers(20, 150, (n, 2))
        boxes = np.hstack([corner, corner + side]).astype(float)
        labels, flags = rng.integers(0, 3, n), rng.random(n) < 0.2
        samples.append(Sample.of(i, Path(f"{i}.jpg"), (500, 500), boxes, labels, ignored=flags))
        guess = np.vstack(
            [np.repeat(boxes, 2, 0), rng.uniform(0, 200, (2, 4)) + np.array([0, 0, 200, 200])]
        )
        guess = guess + rng.normal(0, noise, guess.shape)
        classes = np.concatenate([np.repeat(labels, 2), rng.integers(0, 3, 2)])
        scores = torch.tensor(rng.random(len(guess)), dtype=torch.float64)
        found.append(Detections(torch.tensor(guess), scores, torch.tensor(classes)))
    return DetectionSet("scene", ("a", "b", "c"), samples, []), found


def copies(weights: np.ndarray) -> list[int]:
    return np.repeat(np.arange(IMAGES), weights).tolist()


def coco_rows(found: list[Detections]) -> list[dict[str, Any]]:
    return [row for i, d in enumerate(found, 1) for row in to_coco(d, i, (1, 2, 3))]


def test_draws_are_seeded_and_whole() -> None:
    weights = draws(IMAGES, 50, 7)
    assert weights.shape == (50, IMAGES) and (weights.sum(1) == IMAGES).all()
    assert (weights >= 0).all()
    assert (weights == draws(IMAGES, 50, 7)).all() and not (weights == draws(IMAGES, 50, 8)).all()


def test_blocks_are_of_consecutive_frames() -> None:
    """At most a quarter of a video, round its end, and the last one cut."""
    weights = Blocks((40, 3), 15).draws(6, 5)
    rng, expected = np.random.default_rng(5), np.zeros((6, 43), int)
    for first, frames, length in ((0, 40, 10), (40, 3, 1)):
        for row, starts in enumerate(rng.integers(0, frames, (6, -(-frames // length)))):
            drawn = [start + k for start in starts for k in range(length)]
            for k in drawn[:frames]:
                expected[row, first + k % frames] += 1
    assert (weights == expected).all()


def test_voc_weights_equal_copied_images() -> None:
    data, found = scene(noise=12)
    weights = draws(IMAGES, 25, 1)
    fast = VocResampled(voc_map(found, data).ranked).score(weights)
    for row, w in zip(fast, weights, strict=True):
        chosen = copies(w)
        drawn = replace(data, samples=[data.samples[i] for i in chosen])
        slow = voc_map([found[i] for i in chosen], drawn)
        np.testing.assert_allclose(row, [slow.mAP_area, slow.mAP_07], atol=1e-12)
    assert fast.std(0).min() > 0.01


def test_coco_weights_equal_copied_images() -> None:
    data, found = scene(noise=12)
    weights = draws(IMAGES, 25, 1)
    fast = CocoResampled(data.as_coco().annotations, coco_rows(found)).score(weights)
    for row, w in zip(fast, weights, strict=True):
        chosen = copies(w)
        gt = replace(data, samples=[data.samples[i] for i in chosen]).as_coco().annotations
        slow = coco_score(gt, coco_rows([found[i] for i in chosen])).stats
        np.testing.assert_allclose(row, [slow["AP"], slow["AP50"]], atol=1e-12)
    assert fast.std(0).min() > 0.01


def test_ties_and_crowded_images_are_those_of_pycocotools() -> None:
    """Hundreds of equal scores, and more detections in an image than the 100 that count."""
    data, found = scene(noise=12)
    rng = np.random.default_rng(0)
    rows = []
    for row in coco_rows(found):
        for score in (rng.integers(1, 4, 60) / 4).tolist():
            box = (np.array(row["bbox"]) + rng.normal(0, 9, 4) * [1, 1, 0, 0]).tolist()
            rows.append({**row, "bbox": box, "score": score})
    expected = coco_score(data.as_coco().annotations, rows).stats
    ours = CocoResampled(data.as_coco().annotations, rows).score(np.ones((1, IMAGES), int))[0]
    np.testing.assert_allclose(ours, [expected["AP"], expected["AP50"]], rtol=1e-12)


def test_parts_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    data, found = scene(noise=12)
    voc = VocResampled(voc_map(found, data).ranked)
    coco = CocoResampled(data.as_coco().annotations, coco_rows(found))
    whole = [Resampling.of(data, 30).intervals() for data in (voc, coco)]
    monkeypatch.setattr("spiking_yolo.metrics.bootstrap._AT_ONCE", 1)
    assert [Resampling.of(data, 30).intervals() for data in (voc, coco)] == whole


def test_the_interval_is_that_of_the_resampled_scores() -> None:
    data, found = scene(noise=12)
    voc = VocResampled(voc_map(found, data).ranked)
    got = Resampling.of(voc, 200, seed=5).intervals()["mAP_area"]
    scores = np.sort(voc.score(draws(IMAGES, 200, 5))[:, 0])
    assert scores[4] <= got.low <= scores[5] and scores[194] <= got.high <= scores[195]
    assert got.value == voc_map(found, data).mAP_area


def test_paired_difference_uses_the_same_draws() -> None:
    data, good = scene(noise=3)
    _, bad = scene(noise=25)
    a, b = (VocResampled(voc_map(found, data).ranked) for found in (good, bad))
    first, second = (Resampling.of(one, 200, seed=2) for one in (a, b))
    assert all(i.value == i.low == i.high == 0 for i in (first - first).intervals().values())
    got, weights = (first - second).intervals()["mAP_area"], draws(IMAGES, 200, 2)
    gaps = np.sort(a.score(weights)[:, 0] - b.score(weights)[:, 0])
    assert gaps[4] <= got.low <= gaps[5] and gaps[194] <= got.high <= gaps[195]
    assert got.value == pytest.approx(voc_map(good, data).mAP_area - voc_map(bad, data).mAP_area)
    assert 0 < got.low < got.value


def test_unlike_measurements_are_not_paired() -> None:
    data, found = scene(noise=12)
    voc = Resampling.of(VocResampled(voc_map(found, data).ranked), 5)
    fewer = VocResampled(voc_map(found[:11], replace(data, samples=data.samples[:11])).ranked)
    with pytest.raises(ValueError, match="same images"):
        voc - Resampling.of(fewer, 5)
    with pytest.raises(ValueError, match="same figures"):
        voc - Resampling.of(CocoResampled(data.as_coco().annotations, coco_rows(found)), 5)
    with pytest.raises(ValueError, match="same seed"):
        voc - Resampling.of(VocResampled(voc_map(found, data).ranked), 5, seed=1)


def test_a_draw_without_objects_is_left_out() -> None:
    """One image has all the objects: draws without it score nan and do not count."""
    sample = Sample.of(0, Path("0.jpg"), (99, 99), [(0, 0, 9, 9)], [0])
    bare = Sample.of(1, Path("1.jpg"), (99, 99), [], [])
    hit = Detections(torch.tensor([[0.0, 0, 9, 9]]), torch.tensor([0.9]), torch.tensor([0]))
    none = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    voc = VocResampled(voc_map([hit, none], DetectionSet("two", ("a",), [sample, bare], [])).ranked)
    assert np.isnan(voc.score(np.array([[0, 2]]))).all()
    assert (voc.score(np.array([[1, 1]])) == 1).all()
    assert Resampling.of(voc, 40).intervals()["mAP_07"].low == 1.0


def test_an_interval_holds_the_score_whatever_the_draws() -> None:
    """With few images of rare classes all draws may lie on one side of it."""
    scores = np.array([[0.2], [0.3], [0.4]])
    for value in (0.1, 0.3, 0.9):
        (got,) = Resampling(("AP",), 3, 0, np.array([value]), scores).intervals().values()
        assert got.low <= got.value <= got.high
        assert got.low == pytest.approx(min(value, 0.205))
        assert got.high == pytest.approx(max(value, 0.395))


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
