"""A layout of heads is one entry: YOLOX's decodes, is checked and is trained by overlap."""

import math
from dataclasses import replace

import pytest
import torch

from spiking_yolo.convert.training import answer_error, shares_of
from spiking_yolo.decode.boxes import decode
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, Node
from spiking_yolo.models.heads import HEADS, HeadSpec
from spiking_yolo.models.spec import Spec, check_network, check_spec

SPEC = Spec("detect", ("a", "b"), 64, 96, heads=(HeadSpec("yolox", classes=2, num=1),))


def test_it_decodes():
    """On a map of 2 x 3 cells the middle of the second cell of the first row, 2 x 1 cells large."""
    x = torch.zeros(1, 7, 2, 3)
    x[0, :4, 0, 1] = torch.tensor([0.5, 0.5, math.log(2), 0.0])
    x[0, 4, 0, 1] = 50.0
    boxes, scores = decode([x], SPEC)
    assert boxes.shape == (1, 6, 4) and scores.shape == (1, 6, 2)
    assert boxes[0, 1].tolist() == pytest.approx([0.5 / 3, 0.0, 2.5 / 3, 0.5], abs=1e-6)
    assert scores[0, :, 0].tolist() == pytest.approx([0.25, 0.5, 0.25, 0.25, 0.25, 0.25])


def test_it_is_checked():
    check_spec(SPEC)
    nodes = Node("x", "input"), Node("head", "concat", ("x", "x", "x"))
    head = Node("cut", "slice", ("head",), {"slices": [[0, 7, None]]})
    graph = Graph((*nodes, head), ("cut",), {})
    assert check_network(graph, SPEC)["cut"] == (1, 7, 64, 96)
    with pytest.raises(UserError, match="are not those of 2 classes"):
        check_network(Graph(nodes, ("head",), {}), SPEC)
    with pytest.raises(UserError, match="does not fit its spec"):
        decode([torch.zeros(1, 8, 2, 3)], SPEC)
    with pytest.raises(UserError, match="kind"):
        check_spec(replace(SPEC, heads=(HeadSpec("yolo-none", classes=2, num=1),)))


def test_it_is_trained_by_overlap(monkeypatch: pytest.MonkeyPatch):
    """Two errors of the same size in the values: a box that grows loses more overlap than one that
    moves. Trained by squared errors both would count alike.
    """
    ann = torch.ones(1, 7, 2, 3)
    moved, grown = ann.clone(), ann.clone()
    moved[0, 0] += 1
    grown[0, 2] += 1

    def gap() -> float:
        errors = [answer_error([y], [ann], SPEC, shares_of(SPEC)).item() for y in (moved, grown)]
        return errors[0] - errors[1]

    assert gap() < -0.02
    monkeypatch.setitem(HEADS, "yolox", replace(HEADS["yolox"], overlap=False))
    assert gap() == pytest.approx(0, abs=1e-6)
