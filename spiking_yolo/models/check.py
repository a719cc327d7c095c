"""A network with its Spec that nobody vouches for, checked once before it is used."""

import math
from collections.abc import Iterable
from typing import Any, get_args, get_type_hints

import torch

from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph
from spiking_yolo.graph.check import check_graph
from spiking_yolo.io.sizes import LARGEST
from spiking_yolo.models.spec import HeadSpec, Spec

CLASSES, BOXES, BINS = 10_000, 64, 64  # at most: classes, boxes per cell, bins per side of a box
CLASSIFIED = 1024  # pixels of a side of a classifier's input, which has more channels at full size than a detector's


def check_network(graph: Graph, spec: Spec) -> dict[str, torch.Size]:
    """The shape of every node at the Spec's size, once both are known to be sound and to belong together.

    Nothing is run. Raises UserError that says what is wrong.
    """
    check_spec(spec)
    known = check_graph(graph, spec.height, spec.width)
    outputs = [tuple(known[name][1:]) for name in graph.outputs]
    if spec.task == "classify":
        fit = outputs == [(len(spec.names),)]
    else:
        fit = len(outputs) == len(spec.heads) and all(map(_fits, outputs, spec.heads))
    if not fit:
        shown = ", ".join("x".join(map(str, shape)) for shape in outputs)
        raise UserError(f"the outputs of the network ({shown}) are not those of {len(spec.names)} classes: {_MEND}")
    return known


def _fits(shape: tuple[int, ...], head: HeadSpec) -> bool:
    if head.side:
        return shape == (head.side**2 * head.values,)
    return len(shape) == 3 and shape[0] == head.values


def check_spec(spec: Spec) -> None:
    """Raise UserError, naming the field, unless every one has its type and range."""
    hints = get_type_hints(Spec)
    _require("task", spec.task in get_args(hints["task"]), spec.task)
    _require("resize", spec.resize in get_args(hints["resize"]), spec.resize)
    _require("names", 0 < len(spec.names) <= CLASSES, len(spec.names))
    for name in ("height", "width"):
        most = LARGEST if spec.task == "detect" else CLASSIFIED
        _require(name, _whole(getattr(spec, name), 1, most), getattr(spec, name))
    _require("mean", _numbers(spec.mean, 3, -1e3), spec.mean)
    _require("std", _numbers(spec.std, 3, 1e-6), spec.std)
    _require("heads", bool(spec.heads) == (spec.task == "detect"), len(spec.heads))
    for head in spec.heads:
        _check_head(head, len(spec.names))


def _check_head(head: HeadSpec, classes: int) -> None:
    anchored = head.kind in ("yolov2", "yolov3", "yolov5")
    _require("kind", head.kind in get_args(get_type_hints(HeadSpec)["kind"]), head.kind)
    _require("classes", _whole(head.classes, classes, classes), head.classes)
    _require("num", _whole(head.num, 1, BOXES), head.num)
    _require("side", _whole(head.side, 0, LARGEST), head.side)
    _require("bins", _whole(head.bins, 1, BINS), head.bins)
    _require("scale", _numbers([head.scale], 1, 1e-3), head.scale)
    sound = len(head.anchors) == head.num and all(_numbers(pair, 2, 1e-6) for pair in head.anchors)
    _require("anchors", sound or not (anchored or head.anchors), head.anchors)
    for flag in ("sqrt", "softmax", "logistic"):
        _require(flag, isinstance(getattr(head, flag), bool), getattr(head, flag))


_MEND = "give another file"


def _require(name: str, sound: bool, value: object) -> None:
    if not sound:
        raise UserError(f"the network's {name} cannot be {ascii(value)[:80]}: {_MEND}")


def _whole(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _numbers(values: Iterable[Any], count: int, least: float) -> bool:
    given = list(values)
    sound = all(type(v) in (int, float) and math.isfinite(v) and least <= v <= 1e6 for v in given)
    return len(given) == count and sound
