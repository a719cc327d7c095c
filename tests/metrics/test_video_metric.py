"""Scores of videos against pycocotools itself, and blocks of frames against copied frames."""

import contextlib
import io

import numpy as np
import pytest
from helpers.drawing import detections
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from spiking_yolo.data.mot import MotBoxes
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.metrics.video import agreement, person_ap

NAMES = ("dog", "person", "car")


def scene(frames: int, noise: float, seed: int) -> tuple[list[Detections], dict[int, MotBoxes]]:
    """People, a third of them ignored; noisy detections of them, doubled, with false ones and other
    classes.
    """
    rng, found, truth = np.random.default_rng(seed), [], {}
    for number in range(1, frames + 1):
        n = rng.integers(0, 5)
        corner, side = rng.uniform(0, 300, (n, 2)), rng.uniform(20, 150, (n, 2))
        boxes = np.hstack([corner, corner + side])
        if n:
            truth[number] = MotBoxes.of(boxes, ignored=rng.random(n) < 0.33)
        guess = np.vstack(
            [np.repeat(boxes, 2, 0), rng.uniform(0, 200, (2, 4)) + np.array([0, 0, 200, 200])]
        )
        guess += np.random.default_rng(seed + number).normal(0, 1, guess.shape) * noise
        scores, classes = rng.random((len(guess), 1)), rng.choice([1, 1, 1, 0, 2], (len(guess), 1))
        found.append(detections(*np.hstack([guess, scores, classes]).tolist()))
    return found, truth


def coco_ap(
    objects: list[tuple[int, int, list[float], int]],
    rows: list[tuple[int, int, list[float], float]],
) -> list[float]:
    """[AP, AP50] by pycocotools alone. objects: (frame, class, xyxy, crowd). rows: (frame, class,
    xyxy, score).
    """

    def xywh(box: list[float]) -> dict[str, object]:
        x1, y1, x2, y2 = box
        return {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}

    frames, classes = {o[0] for o in objects} | {r[0] for r in rows}, {o[1] for o in objects}
    rows = [row for row in rows if row[1] in classes]
    results = [{"image_id": i, "category_id": c, "score": s, **xywh(b)} for i, c, b, s in rows]
    gt = COCO()
    gt.dataset = {
        "info": {},
        "images": [{"id": i} for i in frames],
        "categories": [{"id": c, "name": str(c)} for c in classes],
        "annotations": [
            {"id": k, "image_id": i, "category_id": c, "iscrowd": crowd, **xywh(box)}
            for k, (i, c, box, crowd) in enumerate(objects, 1)
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        gt.createIndex()
        run = COCOeval(gt, gt.loadRes(results), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats[:2].tolist()


def rows_of(found: list[Detections]) -> list[tuple[int, int, list[float], float]]:
    return [
        (i, int(c), box, float(s))
        for i, d in enumerate(found)
        for box, s, c in zip(d.xyxy.double().tolist(), d.confidence, d.class_id, strict=True)
    ]


def test_person_ap_of_pooled_videos_is_that_of_pycocotools() -> None:
    for seed in range(2):
        videos = [scene(frames, 12, 10 * seed + k) for k, frames in enumerate((9, 30, 1))]
        every, truths = zip(*videos, strict=True)
        got = person_ap(every, truths, NAMES, n=2).value
        objects, shift = [], 0
        for found, truth in videos:
            for number, people in truth.items():
                objects += [
                    (shift + number - 1, 1, b, int(i))
                    for b, i in zip(people.xyxy.tolist(), people.ignored, strict=True)
                ]
            shift += len(found)
        expected = coco_ap(objects, rows_of([frame for found, _ in videos for frame in found]))
        np.testing.assert_allclose(got, expected, rtol=1e-12)
        assert 0.05 < expected[1] < 0.95


def test_agreement_is_pycocotools_with_the_sure_boxes_as_truth() -> None:
    for seed in range(2):
        found, reference = scene(25, 14, seed)[0], scene(25, 0, seed)[0]
        got = agreement([found[:10], found[10:]], [reference[:10], reference[10:]], n=2).value
        # The boxes of each class as if on pictures of their own.
        rows = [(3 * i + c, 0, box, s) for i, c, box, s in rows_of(found)]
        objects = [(3 * i + c, 0, box, 0) for i, c, box, s in rows_of(reference) if s > 0.25]
        np.testing.assert_allclose(got, coco_ap(objects, rows), rtol=1e-12)
        assert 0.05 < got[1] < 0.95
        alone = agreement([[frame] for frame in found], [[frame] for frame in reference], n=20)
        assert np.ptp(alone.scores[:, 1]) > 0.01


def test_ignored_people_count_neither_way() -> None:
    """By hand: one person found; a box on an ignored one, and a part of it, cost nothing; one
    elsewhere does.
    """
    truth = {1: MotBoxes.of([[0, 0, 10, 20], [50, 0, 90, 80]], ignored=[False, True])}
    true, false = (0, 0, 10, 20, 0.5, 1), (200, 0, 210, 20, 0.7, 1)
    on, part = (50, 0, 90, 80, 0.9, 1), (55, 10, 70, 40, 0.8, 1)

    def ap50(*rows: tuple[float, ...]) -> float:
        return float(person_ap([[detections(*rows)]], [truth], NAMES, n=1).value[1])

    assert ap50(true, on, part) == ap50(true) == pytest.approx(1)
    assert ap50(true, on, part, false) == pytest.approx(0.5)
    assert ap50(on) == 0
    assert ap50(true, (200, 0, 210, 20, 0.7, 0)) == pytest.approx(1), "a dog is no false person"


def test_frames_without_people_and_videos_without_any() -> None:
    false = detections((0, 0, 9, 9, 0.9, 1))
    truth = {2: MotBoxes.of([[0, 0, 9, 9]])}
    assert person_ap([[detections(), false]], [truth], NAMES, n=1).value[1] == pytest.approx(1)
    assert person_ap([[false, false]], [truth], NAMES, n=1).value[1] == pytest.approx(0.5)
    assert np.isnan(person_ap([[false]], [{}], NAMES, n=1).value).all()
    assert np.isnan(agreement([[false]], [[detections((0, 0, 9, 9, 0.25, 1))]], n=1).value).all()
    with pytest.raises(ValueError, match="same frames"):
        agreement([[false]], [[false, false]])
