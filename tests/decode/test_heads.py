"""Heads: hand-computed vectors, plain loops over every cell, and one entry per layout: YOLOX's
decodes, is checked and is trained by overlap.
"""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch

from spiking_yolo.convert.learn.training import answer_error, shares_of
from spiking_yolo.decode.boxes import decode
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, Node
from spiking_yolo.models.heads import HEADS, HeadSpec
from spiking_yolo.models.spec import Spec, check_network, check_spec

SPEC = Spec("detect", ("a", "b"), 64, 96, heads=(HeadSpec("yolov8", classes=2, num=1, bins=1),))


def spec(*heads: HeadSpec, size: int = 416) -> Spec:
    return Spec("detect", ("thing",) * heads[0].classes, size, size, "letterbox", heads)


def centre(box: torch.Tensor) -> list[float]:
    x1, y1, x2, y2 = box.tolist()
    return [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


V1 = HeadSpec("yolov1", classes=20, num=2, side=7)


def test_v1_vector_of_1470():
    x = torch.zeros(1, 1470, dtype=torch.float64)
    x[0, 480], x[0, 1029] = 0.8, 0.9
    x[0, 1274:1278] = torch.tensor([0.25, 0.75, 0.6, 0.4])
    boxes, scores = decode([x], spec(V1, size=448))
    assert boxes.shape == (1, 98, 4) and scores.shape == (1, 98, 20)
    k = 24 * 2 + 1
    assert centre(boxes[0, k]) == pytest.approx([0.464285714, 0.535714286, 0.36, 0.16], abs=1e-7)
    assert scores[0, k, 0].item() == pytest.approx(0.72)
    assert scores.count_nonzero() == 1


def test_v1_map_means_the_same_as_the_vector():
    s, b, c = 3, 2, 4
    maps = torch.randn(2, b * 5 + c, s, s)
    cells = maps.flatten(2).transpose(1, 2)  # [N, S*S, C + B + 4B]
    vector = torch.cat([block.flatten(1) for block in cells.split([c, b, 4 * b], 2)], 1)
    by_map = decode([maps], spec(HeadSpec("yolov1", c, b)))
    by_vector = decode([vector], spec(HeadSpec("yolov1", c, b, side=s)))
    for found, expected in zip(by_map, by_vector, strict=True):
        assert torch.allclose(found, expected)


T = [0.2, -0.1, 0.5, -0.3, 1.0]
CENTRE = [0.503833384, 0.344232370]


def one_cell(anchors: int, classes: int) -> torch.Tensor:
    x = torch.zeros(1, anchors * (5 + classes), 13, 13, dtype=torch.float64)
    x[0, :5, 4, 6] = torch.tensor(T)
    x[0, 5 + 7, 4, 6] = 2
    return x


def test_v2_vector():
    head = HeadSpec("yolov2", 20, 5, ((1.08, 1.19),) + ((1.0, 1.0),) * 4, softmax=True)
    boxes, scores = decode([one_cell(5, 20)], spec(head))
    k = 4 * 13 + 6
    assert boxes.shape == (1, 845, 4)
    assert centre(boxes[0, k]) == pytest.approx([*CENTRE, 0.136970690, 0.067813360], abs=1e-7)
    assert scores[0, k, 7].item() == pytest.approx(0.204699737, abs=1e-8)
    assert scores[0, k, 6].item() == pytest.approx(0.027703097, abs=1e-8)
    assert scores[0, k].sum().item() == pytest.approx(0.731058579)


def test_v3_vector():
    head = HeadSpec("yolov3", 80, 3, ((81, 82), (135, 169), (344, 319)))
    boxes, scores = decode([one_cell(3, 80)], spec(head))
    k = 4 * 13 + 6
    assert centre(boxes[0, k]) == pytest.approx([*CENTRE, 0.321025055, 0.146026670], abs=1e-7)
    assert scores[0, k, 7].item() == pytest.approx(0.643914260, abs=1e-8)
    assert scores[0, k, 6].item() == pytest.approx(0.731058579 / 2, abs=1e-8)


@pytest.mark.parametrize(
    ("kind", "scale"), [("yolov2", 1.0), ("yolov3", 1.0), ("yolov3", 1.25), ("yolov5", 2.0)]
)
def test_every_cell_of_two_heads_on_a_wide_input(kind: str, scale: float):
    anchors = ((1.5, 2.0), (3.0, 1.0)), ((5.0, 4.0),)
    heads = tuple(HeadSpec(kind, 2, len(some), some, scale=scale) for some in anchors)
    maps = [
        torch.randn(2, 14, 2, 3, dtype=torch.float64),
        torch.randn(2, 7, 4, 6, dtype=torch.float64),
    ]
    boxes, scores = decode(maps, replace(SPEC, heads=heads))

    def grown(t: float) -> float:
        return (2 * sigmoid(t)) ** 2 if kind == "yolov5" else math.exp(t)

    def moved(t: float) -> float:
        """From the corner of the cell; with a scale the middle stays where it is."""
        return 0.5 + scale * (sigmoid(t) - 0.5)

    for n in range(2):
        k = 0
        for x, head in zip(maps, heads, strict=True):
            rows, columns = x.shape[2:]
            unit = (columns, rows) if kind == "yolov2" else (96, 64)
            for (a, (aw, ah)), i, j in product(
                enumerate(head.anchors), range(rows), range(columns)
            ):
                t = x[n, a * 7 : a * 7 + 7, i, j].tolist()
                expected = [(j + moved(t[0])) / columns, (i + moved(t[1])) / rows]
                expected += [aw * grown(t[2]) / unit[0], ah * grown(t[3]) / unit[1]]
                assert centre(boxes[n, k]) == pytest.approx(expected)
                own = [sigmoid(t[4]) * sigmoid(v) for v in t[5:]]
                assert scores[n, k].tolist() == pytest.approx(own)
                k += 1
        assert k == boxes.shape[1] == scores.shape[1]


def test_v8_reads_the_means_of_distributions():
    """Two bins: logits of 0 and log 3 are 3/4 of a cell. The last cell of 2 x 3."""
    x = torch.zeros(1, 9, 2, 3, dtype=torch.float64)
    x[0, 1, 1, 2] = x[0, 4, 1, 2] = math.log(3)
    boxes, scores = decode([x], replace(SPEC, heads=(HeadSpec("yolov8", 1, 1, bins=2),)))
    # The centre is (2.5, 1.5): left 3/4, top 1/2, right 1/4, bottom 1/2.
    assert boxes[0, 5].tolist() == pytest.approx([1.75 / 3, 1 / 2, 2.75 / 3, 2 / 2])
    assert boxes.shape == (1, 6, 4) and scores[0, :, 0].tolist() == [0.5] * 6


def test_v8_with_one_bin_reads_distances():
    """Cells of 8 pixels: the centre of column 1, row 0 is at (12, 4), and distances are in
    cells.
    """
    head = HeadSpec("yolov8", classes=1, num=1, bins=1)
    x = torch.tensor([0.5, 0.25, 1.0, 0.75, 2.0]).view(1, 5, 1, 1).expand(1, 5, 2, 2)
    boxes, scores = decode([x], spec(head, size=16))
    assert (boxes[0, 1] * 16).tolist() == pytest.approx([12 - 4, 4 - 2, 12 + 8, 4 + 6])
    assert scores[0, 1].item() == pytest.approx(sigmoid(2.0))


def test_a_head_is_checked():
    check_spec(SPEC)
    nodes = Node("x", "input"), Node("head", "concat", ("x", "x", "x"))
    head = Node("cut", "slice", ("head",), {"slices": [[0, 6, None]]})
    graph = Graph((*nodes, head), ("cut",), {})
    assert check_network(graph, SPEC)["cut"] == (1, 6, 64, 96)
    with pytest.raises(UserError, match="are not those of 2 classes"):
        check_network(Graph(nodes, ("head",), {}), SPEC)
    with pytest.raises(UserError, match="kind"):
        check_spec(replace(SPEC, heads=(HeadSpec("yolo-none", classes=2, num=1),)))


def test_yolov8_is_trained_by_overlap(monkeypatch: pytest.MonkeyPatch):
    """Two errors of the same size in the values: a box that moves loses more overlap than one that
    grows. Trained by squared errors both would count alike.
    """
    ann = torch.ones(1, 6, 2, 3)
    moved, grown = ann.clone(), ann.clone()
    moved[0, 0] += 0.5
    moved[0, 2] -= 0.5
    grown[0, [0, 2]] += 0.5

    def gap() -> float:
        errors = [answer_error([y], [ann], SPEC, shares_of(SPEC)).item() for y in (moved, grown)]
        return errors[0] - errors[1]

    assert gap() > 0.02
    monkeypatch.setitem(HEADS, "yolov8", replace(HEADS["yolov8"], overlap=False))
    assert gap() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", sorted(HEADS))
def test_cells_that_may_count_give_what_all_cells_give(kind: str):
    """In their order; also where no cell counts, or all."""
    anchors = ((1.0, 2.0), (3.0, 1.0)) if HEADS[kind].anchored else ()
    head = HeadSpec(kind, 3, max(len(anchors), 1), anchors, bins=4)
    x = torch.randn(1, head.values, 5, 7, generator=torch.Generator().manual_seed(2))
    boxes, scores = head.decode(x, (160, 224))
    for conf in (0.0, 0.3, 0.6, 1.0):
        some, own = head.decode(x, (160, 224), conf)
        every, chosen = (y[0].amax(1) > conf for y in (scores, own))
        assert every.sum() == chosen.sum()
        assert torch.allclose(some[0][chosen], boxes[0][every], atol=1e-6)
        assert torch.allclose(own[0][chosen], scores[0][every], atol=1e-6)
        assert own.shape[1] == 0 or kind == "yolov1" or conf < 1
    two = torch.cat([x, x])
    assert head.decode(two, (160, 224), 0.6)[1].shape[1] == scores.shape[1]
