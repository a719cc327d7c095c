"""Threshold and suppression against brute force, and boxes from heads to pixels of the image."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import nms

from spiking_yolo.data.images import Placement, place
from spiking_yolo.decode.selection import Selection
from spiking_yolo.models.spec import HeadSpec, Spec


def select(boxes, scores, conf, iou, max_det, multi_label):
    selection = Selection(conf=conf, iou=iou, max_det=max_det, multi_label=multi_label)
    return selection.select(boxes, scores)


def iou(a: list[float], b: list[float]) -> float:
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(w, 0) * max(h, 0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def brute_force(boxes, scores, conf, threshold, max_det, multi_label):
    """Greedy suppression, one class after the other, on plain numbers."""
    candidates = [(s, k, c) for k, row in enumerate(scores) for c, s in enumerate(row) if s > conf]
    if not multi_label:
        candidates = [(s, k, c) for s, k, c in candidates if s == max(scores[k])]
    kept = []
    for s, k, c in sorted(candidates, reverse=True):
        if all(
            c != other_c or iou(boxes[k], boxes[other]) <= threshold for _, other, other_c in kept
        ):
            kept.append((s, k, c))
    return kept[:max_det]


@pytest.mark.parametrize(("agnostic", "multi_label"), [(False, False), (False, True), (True, True)])
def test_boxes_of_a_head_that_finds_each_object_once(agnostic, multi_label):
    """A box counts for each class above the limit, or with agnostic_nms for its best. Of the first
    and the third two thirds overlap, and the last is a duplicate of the second.
    """
    boxes = torch.tensor([[0.0, 0, 9, 9], [20, 0, 29, 9], [0, 0, 9, 6], [20, 0, 29, 8]])
    scores = torch.tensor([[0.3, 0.6, 0], [0.7, 0.1, 0.65], [0.2, 0.2, 0.25], [0.4, 0.1, 0.1]])
    pairs = [(0.7, 1, 0), (0.65, 1, 2), (0.6, 0, 1), (0.3, 0, 0)]
    if agnostic:
        pairs = [(0.7, 1, 0), (0.6, 0, 1)]
    assert len(Selection(conf=0.2, iou=1).select(boxes, scores, nms=False)) == 6
    for count in (4, 3):
        kind = {"multi_label": multi_label, "agnostic_nms": agnostic}
        selection = Selection(conf=0.25, iou=0.1, max_det=count, **kind)
        chosen = selection.select(boxes, scores, nms=False)
        expected = pairs[:count]
        assert chosen.confidence.tolist() == pytest.approx([p for p, _, _ in expected])
        assert chosen.class_id.tolist() == [c for _, _, c in expected]
        assert chosen.xyxy.tolist() == [boxes[k].tolist() for _, k, _ in expected]
    of_class = replace(selection, classes=(2,), max_det=1).select(boxes, scores, nms=False)
    # Those of other classes, which are dropped later, take no place, and suppress none.
    assert len(of_class) == (0 if agnostic else len(pairs))


@given(
    st.integers(0, 2**31),
    st.integers(1, 40),
    st.integers(1, 4),
    st.booleans(),
    st.sampled_from([3, 100]),
)
def test_same_as_brute_force(seed, count, classes, multi_label, max_det):
    """Whole numbers of pixels and scores that all differ: no IoU and no order is decided by
    rounding.
    """
    generator = torch.Generator().manual_seed(seed)
    corner, size = torch.randint(60, (2, count, 2), generator=generator).float()
    boxes = torch.cat([corner, corner + 5 + size], 1)
    order = torch.randperm(1024, generator=generator)[: count * classes]
    scores = order.reshape(count, classes) / 1024
    found = select(boxes, scores, 0.3, 0.45, max_det, multi_label)
    expected = brute_force(boxes.tolist(), scores.tolist(), 0.3, 0.45, max_det, multi_label)
    assert found.confidence.tolist() == [s for s, _, _ in expected]
    assert found.class_id.tolist() == [c for _, _, c in expected]
    assert found.xyxy.tolist() == [boxes[k].tolist() for _, k, _ in expected]


def test_threshold_is_strict_and_suppression_is_strict():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [20, 20, 30, 30]])
    found = select(boxes, torch.tensor([[0.9], [0.8], [0.5]]), 0.5, 0.5, 10, True)
    assert found.confidence.tolist() == torch.tensor([0.9, 0.8]).tolist()  # IoU is exactly .5
    assert len(select(boxes, torch.tensor([[0.9], [0.8], [0.5]]), 0.5, 0.49, 10, True)) == 1


def test_classes_do_not_suppress_each_other_and_non_finite_boxes_go():
    boxes = torch.tensor(
        [[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, float("inf"), 1], [0, float("nan"), 1, 1]]
    )
    scores = torch.tensor([[0.9, 0.0], [0.0, 0.8], [0.99, 0.0], [0.99, 0.0]])
    for multi_label in (True, False):
        found = select(boxes, scores, 0.1, 0.5, 10, multi_label)
        assert found.class_id.tolist() == [0, 1]


@given(st.integers(0, 2**31), st.booleans())
def test_agnostic_suppression_is_torchvisions(seed, multi_label):
    """Of one box per class and score, in whole pixels; some classes are not wanted."""
    generator = torch.Generator().manual_seed(seed)
    corner, size = torch.randint(40, (2, 20, 2), generator=generator).float()
    boxes = torch.cat([corner, corner + 5 + size], 1)
    scores = torch.randperm(60, generator=generator).reshape(20, 3) / 60
    index, class_id = (scores > 0.2).nonzero(as_tuple=True)
    if not multi_label:
        best = scores[index, class_id] == scores.max(1).values[index]
        index, class_id = index[best], class_id[best]
    for classes in (None, (0, 2)):
        wanted = torch.isin(class_id, torch.tensor(classes or (0, 1, 2)))
        rows, labels = index[wanted], class_id[wanted]
        order = nms(boxes[rows], scores[rows, labels], 0.4)
        kind = {"agnostic_nms": True, "multi_label": multi_label}
        selection = Selection(conf=0.2, iou=0.4, classes=classes, **kind)
        chosen = selection.select(boxes, scores)
        assert chosen.xyxy.tolist() == boxes[rows][order].tolist()
        assert chosen.class_id.tolist() == labels[order].tolist()


HEAD = HeadSpec("yolov3", 2, 1, ((100, 100),))
SPEC = Spec("detect", ("thing",) * 2, 400, 400, "letterbox", (HEAD,))
NOWHERE = -50.0


def quiet_map() -> torch.Tensor:
    x = torch.full((1, 7, 4, 4), NOWHERE)
    x[:, :4] = 0
    return x


def run(x: torch.Tensor, placement: Placement) -> list:
    selection = Selection(conf=0.25, iou=0.45, max_det=10)
    return selection.boxes([x], SPEC, [placement] * len(x))


def test_detections_come_in_pixels_of_the_image():
    x = quiet_map()
    x[0, :, 1, 2] = torch.tensor([0, 0, 0, 0, 9.0, 9.0, -9.0])
    (found,) = run(x, place(800, 400, SPEC))
    # Centre (250, 150) in the input, side 100; the image has half its size there, 100 below the
    # top.
    assert found.xyxy[0].tolist() == pytest.approx([400, 0, 600, 200], abs=1e-3)
    assert found.class_id.tolist() == [0]


def test_boxes_in_the_grey_border_are_dropped_and_images_are_kept_apart():
    x = torch.cat([quiet_map(), quiet_map()])
    x[0, :, 0, 0] = torch.tensor([0, 0, -2, -2, 9.0, 9.0, -9.0])
    x[1, :, 1, 0] = torch.tensor([0, 0, -2, -2, 9.0, -9.0, 9.0])
    first, second = run(x, place(800, 400, SPEC))
    assert len(first) == 0 and second.class_id.tolist() == [1]


def test_overflow_gives_a_box_over_the_whole_image_and_spares_the_others():
    x = quiet_map()
    x[0, :, 2, 2] = torch.tensor([0, 0, 0, 0, 8.0, 8.0, -9.0])
    x[0, :, 2, 3] = torch.tensor([-3.0, 0, 0, 0, 7.0, 7.0, -9.0])
    for t in (40.0, 100.0, 1e30, float("inf")):
        x[0, :, 1, 1] = torch.tensor([0, 0, t, t, 9.0, 9.0, -9.0])
        (found,) = run(x, place(400, 400, SPEC))
        assert found.xyxy[0].tolist() == [0, 0, 400, 400], t
        assert found.xyxy[1].tolist() == pytest.approx([200, 200, 300, 300], abs=1e-2), t
        assert len(found) == 3, t


def test_not_a_number_does_not_crash():
    x = quiet_map()
    x[0, :, 1, 1] = float("nan")
    x[0, :, 2, 2] = torch.tensor([0, 0, float("nan"), 0, 9.0, 9.0, -9.0])
    x[0, :, 2, 1] = torch.tensor([0, 0, 0, 0, 9.0, 9.0, -9.0])
    assert len(run(x, place(400, 400, SPEC))[0]) == 1
