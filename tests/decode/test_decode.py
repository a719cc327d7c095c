"""Decoding: the hand-computed vectors, and plain loops over every cell."""

import math

import pytest
import torch

from spiking_yolo.data.images import Placement, place
from spiking_yolo.decode.boxes import decode
from spiking_yolo.decode.selection import Selection
from spiking_yolo.errors import UserError
from spiking_yolo.models.spec import HeadSpec, Spec


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


def test_v1_without_square_root_and_with_softmax():
    x = torch.tensor([[2.0, 1.0, 0.5, 0.5, 0.5, 0.4, 0.6]], dtype=torch.float64)
    boxes, scores = decode([x], spec(HeadSpec("yolov1", 2, 1, side=1, sqrt=False, softmax=True)))
    assert centre(boxes[0, 0]) == pytest.approx([0.5, 0.5, 0.4, 0.6])
    assert scores[0, 0].tolist() == pytest.approx([0.5 * sigmoid(1), 0.5 * sigmoid(-1)])


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


@pytest.mark.parametrize("kind", ["yolov2", "yolov3"])
def test_every_cell_of_two_heads_on_a_wide_input(kind):
    heads = (HeadSpec(kind, 2, 2, ((1.5, 2.0), (3.0, 1.0))), HeadSpec(kind, 2, 1, ((5.0, 4.0),)))
    wide = Spec("detect", ("a", "b"), 64, 96, heads=heads)
    maps = [
        torch.randn(2, 14, 2, 3, dtype=torch.float64),
        torch.randn(2, 7, 4, 6, dtype=torch.float64),
    ]
    boxes, scores = decode(maps, wide)
    for n in range(2):
        k = 0
        for x, head in zip(maps, heads, strict=True):
            rows, columns = x.shape[2:]
            unit = (columns, rows) if kind == "yolov2" else (96, 64)
            for a, (aw, ah) in enumerate(head.anchors):
                for i in range(rows):
                    for j in range(columns):
                        t = x[n, a * 7 : a * 7 + 7, i, j].tolist()
                        expected = [(j + sigmoid(t[0])) / columns, (i + sigmoid(t[1])) / rows]
                        expected += [aw * math.exp(t[2]) / unit[0], ah * math.exp(t[3]) / unit[1]]
                        assert centre(boxes[n, k]) == pytest.approx(expected)
                        assert scores[n, k].tolist() == pytest.approx(
                            [sigmoid(t[4]) * sigmoid(v) for v in t[5:]]
                        )
                        k += 1
        assert k == boxes.shape[1] == scores.shape[1]


HEAD = HeadSpec("yolov3", 2, 1, ((100, 100),))
NOWHERE = -50.0


def quiet_map() -> torch.Tensor:
    x = torch.full((1, 7, 4, 4), NOWHERE)
    x[:, :4] = 0
    return x


def run(x: torch.Tensor, placement: Placement, **kwargs) -> list:
    options = {"conf": 0.25, "iou": 0.45, "max_det": 10, "multi_label": False} | kwargs
    return Selection(**options).boxes([x], spec(HEAD, size=400), [placement] * len(x))


def test_detections_come_in_pixels_of_the_image():
    x = quiet_map()
    x[0, :, 1, 2] = torch.tensor([0, 0, 0, 0, 9.0, 9.0, -9.0])
    (found,) = run(x, place(800, 400, spec(HEAD, size=400)))
    # Centre (250, 150) in the input, side 100; the image has half its size there, 100 below the
    # top.
    assert found.xyxy[0].tolist() == pytest.approx([400, 0, 600, 200], abs=1e-3)
    assert found.class_id.tolist() == [0]


def test_boxes_in_the_grey_border_are_dropped_and_images_are_kept_apart():
    x = torch.cat([quiet_map(), quiet_map()])
    x[0, :, 0, 0] = torch.tensor([0, 0, -2, -2, 9.0, 9.0, -9.0])
    x[1, :, 1, 0] = torch.tensor([0, 0, -2, -2, 9.0, -9.0, 9.0])
    first, second = run(x, place(800, 400, spec(HEAD, size=400)))
    assert len(first) == 0 and second.class_id.tolist() == [1]


def test_multi_label_and_max_det():
    x = quiet_map()
    x[0, :, 1, 2] = torch.tensor([0, 0, 0, 0, 9.0, 2.0, 1.0])
    square = place(400, 400, spec(HEAD, size=400))
    assert run(x, square, multi_label=True)[0].class_id.tolist() == [0, 1]
    assert run(x, square, multi_label=False)[0].class_id.tolist() == [0]
    assert len(run(x, square, multi_label=True, max_det=1)[0]) == 1


@pytest.mark.parametrize("t", [40.0, 100.0, 1e30, float("inf")])
def test_overflow_gives_a_box_over_the_whole_image_and_spares_the_others(t):
    x = quiet_map()
    x[0, :, 1, 1] = torch.tensor([0, 0, t, t, 9.0, 9.0, -9.0])
    x[0, :, 2, 2] = torch.tensor([0, 0, 0, 0, 8.0, 8.0, -9.0])
    x[0, :, 2, 3] = torch.tensor([-3.0, 0, 0, 0, 7.0, 7.0, -9.0])
    (found,) = run(x, place(400, 400, spec(HEAD, size=400)))
    assert found.xyxy[0].tolist() == [0, 0, 400, 400]
    assert found.xyxy[1].tolist() == pytest.approx([200, 200, 300, 300], abs=1e-2)
    assert len(found) == 3


def test_not_a_number_does_not_crash():
    x = quiet_map()
    x[0, :, 1, 1] = float("nan")
    x[0, :, 2, 2] = torch.tensor([0, 0, float("nan"), 0, 9.0, 9.0, -9.0])
    x[0, :, 2, 1] = torch.tensor([0, 0, 0, 0, 9.0, 9.0, -9.0])
    assert len(run(x, place(400, 400, spec(HEAD, size=400)))[0]) == 1


def test_tensors_that_do_not_fit():
    with pytest.raises(UserError, match="2 outputs"):
        decode([quiet_map(), quiet_map()], spec(HEAD))
    with pytest.raises(UserError, match="does not fit"):
        decode([torch.zeros(1, 8, 4, 4)], spec(HEAD))
    with pytest.raises(UserError, match="does not fit"):
        decode([torch.zeros(1, 1469)], spec(V1))
    with pytest.raises(UserError, match="does not fit"):
        decode([torch.zeros(1, 7)], spec(HEAD))


def test_v8_with_one_bin_reads_distances():
    """Cells of 8 pixels: the centre of column 1, row 0 is at (12, 4), and distances are in
    cells.
    """
    head = HeadSpec("yolov8", classes=1, num=1, bins=1)
    x = torch.tensor([0.5, 0.25, 1.0, 0.75, 2.0]).view(1, 5, 1, 1).expand(1, 5, 2, 2)
    boxes, scores = decode([x], spec(head, size=16))
    assert (boxes[0, 1] * 16).tolist() == pytest.approx([12 - 4, 4 - 2, 12 + 8, 4 + 6])
    assert scores[0, 1].item() == pytest.approx(sigmoid(2.0))
