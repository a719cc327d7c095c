import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spiking_yolo.decode.boxes import decode
from spiking_yolo.models.spec import HeadSpec
from spiking_yolo.models.trainable import yolov1_spec
from spiking_yolo.train.tasks import encode, yolov1_loss

LOGISTIC = HeadSpec("yolov1", classes=2, num=2, logistic=True)


def example() -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """One image, S = 2. The object: centre (0.75, 0.25), size 0.25 x 0.25, class 1, hence row 0,
    column 1, x = y = 0.5, square roots 0.5. Box 1 of that cell is right but for x = 0.4; box 0 is
    far off.
    """
    output = torch.zeros(1, 12, 2, 2)
    output[0, :2, 0, 1] = torch.tensor([0.1, 0.7])
    output[0, 2:4, 0, 1] = torch.tensor([0.2, 0.6])
    output[0, 4:8, 0, 1] = torch.tensor([0.0, 0.0, 0.1, 0.1])
    output[0, 8:10, 0, 1] = torch.tensor([0.4, 0.5]).logit()
    output[0, 10:12, 0, 1] = 0.5
    return output, [torch.tensor([[0.625, 0.125, 0.875, 0.375]])], [torch.tensor([1])]


def test_terms_are_means_over_images():
    output, boxes, labels = example()
    one = yolov1_loss(output, boxes, labels, LOGISTIC)
    nothing = [torch.zeros(0, 4)], [torch.zeros(0, dtype=torch.long)]
    two = yolov1_loss(
        torch.cat([output, torch.full_like(output, -50)]),
        boxes + nothing[0],
        labels + nothing[1],
        LOGISTIC,
    )
    for name in one:
        assert two[name].item() == pytest.approx(one[name].item() / 2)


def test_logistic_terms_by_hand():
    output, boxes, labels = example()
    terms = yolov1_loss(output, boxes, labels, LOGISTIC)

    def entropy(logit: float, target: float) -> float:
        p = 1 / (1 + math.exp(-logit))
        return -target * math.log(p) - (1 - target) * math.log(1 - p)

    assert terms["coord"].item() == pytest.approx(5 * 0.1**2, abs=1e-6)
    assert terms["obj"].item() == pytest.approx(entropy(0.6, 0.2 / 0.3), abs=1e-5)
    expected = 0.5 * (6 * math.log(2) + entropy(0.2, 0))
    assert terms["noobj"].item() == pytest.approx(expected, abs=1e-5)
    assert terms["class"].item() == pytest.approx(entropy(0.1, 0) + entropy(0.7, 1), abs=1e-5)


def test_a_box_on_an_object_is_not_told_to_be_empty():
    """Box 0 of the cell lies on the object too, if less well, until it is moved away."""
    output, boxes, labels = example()
    output[0, 4:6, 0, 1] = torch.tensor([0.61, 0.5]).logit()
    output[0, 6:8, 0, 1] = 0.5
    there = yolov1_loss(output, boxes, labels, LOGISTIC)["noobj"]
    output[0, 4, 0, 1] = 50.0
    away = yolov1_loss(output, boxes, labels, LOGISTIC)["noobj"]
    assert (away - there).item() == pytest.approx(0.5 * math.log(1 + math.exp(0.2)), abs=1e-6)


def test_the_largest_object_of_a_cell_wins():
    small, large = [0.4, 0.4, 0.6, 0.6], [0.2, 0.2, 0.8, 0.8]
    for boxes, labels in [([small, large], [7, 8]), ([large, small], [8, 7])]:
        targets = encode([torch.tensor(boxes)], [torch.tensor(labels)], (3, 3))
        assert targets.label.tolist() == [8]
        assert (targets.row.item(), targets.col.item()) == (1, 1)


def test_a_centre_on_the_far_border_stays_inside():
    targets = encode([torch.tensor([[0.9, 0.9, 1.1, 1.1]])], [torch.tensor([0])], (3, 4))
    assert (targets.row.item(), targets.col.item()) == (2, 3)


fraction = st.floats(0.02, 0.98)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[tuple[int, int], list[tuple[float, float, float, float, int]]]:
    """Rows and columns of a grid, and objects (cx, cy, w, h, label)."""
    rows, cols = draw(st.integers(1, 6)), draw(st.integers(1, 6))

    def centre(cells: int) -> st.SearchStrategy[float]:
        # In float32 a centre on a cell's border may fall on either side.
        return fraction.filter(lambda x: abs(cells * x - round(cells * x)) > 1e-3)

    labelled = st.tuples(centre(cols), centre(rows), fraction, fraction, st.integers(0, 4))
    return (rows, cols), draw(st.lists(labelled, max_size=6))


@given(scenes())
def test_encoding_and_decoding_are_inverses(scene):
    """A map written from the targets decodes to the boxes that they came from, one per cell, and
    costs nothing.
    """
    (rows, cols), objects = scene
    spec = yolov1_spec(tuple("abcde"), (32 * rows, 32 * cols), num=1)
    cells, kept = set(), []
    for cx, cy, w, h, label in sorted(objects, key=lambda o: -o[2] * o[3]):
        if (int(cy * rows), int(cx * cols)) not in cells:
            cells.add((int(cy * rows), int(cx * cols)))
            kept.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2, label])
    kept = torch.tensor(kept).reshape(-1, 5)
    boxes, labels = kept[:, :4], kept[:, 4].long()
    t = encode([boxes], [labels], (rows, cols))
    low, high = -50.0, 50.0
    output = torch.full((1, 10, rows, cols), low)
    output[0, 5 + 0, t.row, t.col] = high
    output[0, t.label, t.row, t.col] = high
    xy = t.xywh[:, :2].logit()
    output[0, 6:10, t.row, t.col] = torch.cat([xy, t.xywh[:, 2:]], 1).T
    decoded, scores = decode([output], spec)
    index, found = (scores[0] > 0.5).nonzero(as_tuple=True)
    mine = torch.cat([decoded[0, index], found[:, None]], 1).tolist()
    expected = torch.cat([boxes, labels[:, None]], 1).tolist()
    ordered = (torch.tensor(sorted(one)) for one in (mine, expected))
    torch.testing.assert_close(*ordered, atol=1e-3, rtol=0)
    terms = yolov1_loss(output, [boxes], [labels], spec.heads[0])
    assert sum(terms.values()) < 1e-2
