"""Boxes and classes of one image, by hand."""

import numpy as np
import pytest
import torch
from helpers.drawing import FIRST, falling

from spiking_yolo.decode.boxes import Boxes, counted, listed, ranked, top_classes

NAMES = ("cat", "dog", "bird")


def test_boxes_by_the_names_of_ultralytics():
    boxes = Boxes(falling([1, 2, 1]), (48, 80))
    assert boxes.xyxy[0].tolist() == list(FIRST) and boxes.cls.tolist() == [1, 2, 1]
    assert boxes.conf.tolist() == [0.75, 0.6875, 0.625] and boxes.orig_shape == (48, 80)
    left, top, right, bottom = FIRST
    centre = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
    assert boxes.xywh[0].tolist() == centre
    size = np.array([80, 48, 80, 48])
    assert boxes.xywhn[0].tolist() == pytest.approx(centre / size)
    assert boxes.xyxyn[0].tolist() == pytest.approx(FIRST / size)
    assert [(int(box.cls), len(box)) for box in boxes] == [(1, 1), (2, 1), (1, 1)]
    assert boxes[boxes.cls == 1].conf.tolist() == [0.75, 0.625]
    assert boxes[1:].cls.tolist() == [2, 1] and boxes[-1].xyxy.shape == (1, 4)
    with pytest.raises(IndexError):
        boxes[3]


def test_boxes_are_chosen_by_a_mask_positions_or_a_slice():
    boxes = Boxes(falling([1, 2, 0], ids=[7, -1, 5]), (48, 80))
    mask = [True, False, True]
    several = torch.tensor(mask), np.array(mask), mask, torch.tensor([0, 2]), [0, -1], [-3, 2]
    for index in (*several, slice(0, 3, 2)):
        some = boxes[index]
        assert some.cls.tolist() == [1, 0], index
        assert some.id is not None and some.id.tolist() == [7, 5], index
    assert len(boxes[[]]) == 0 and len(boxes[torch.zeros(0)]) == 0
    for index in ([True], [3], [-4], [0.5]):
        with pytest.raises(IndexError):
            boxes[index]


def test_what_was_found_in_words():
    assert counted(falling([1, 2, 1]), NAMES) == "2 x dog, bird"
    assert listed(falling([1, 2, 1]), NAMES) == "2 x dog 0.62-0.75, bird 0.69"
    assert counted(falling([]), NAMES) == listed(falling([]), NAMES) == "nothing"


def test_top_classes():
    nan = float("nan")
    logits = torch.tensor([[0.1, 0.9, 0.5], [0.2, 0.2, 0.1], [3.0, 2.0, 1.0], [nan, 1.0, 2.0]])
    assert ranked(logits, 5).tolist() == [[1, 2, 0], [0, 1, 2], [0, 1, 2], [2, 1, -1]]
    assert ranked(logits, 1).tolist() == [[1], [0], [0], [2]]
    (best,) = top_classes(torch.tensor([[0.0, 1, 5, 2, 0, 4, 0]]))
    assert best.class_id.tolist() == [2, 5, 3, 1, 0] and len(best) == 5
    expected = torch.tensor([0.0, 1, 5, 2, 0, 4, 0]).softmax(0)[best.class_id]
    assert best.confidence.tolist() == pytest.approx(expected.tolist())
