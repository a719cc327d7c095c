"""Detection heads in ONNX files: which maps the boxes come from, and how they are decoded.

The maps are those that the part behind the network reads. What this part makes of random maps is
computed by onnx' reference implementation and compared with what each kind of head would make of
them, so that a head is known by what it does, and not by how its exporter writes it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, permutations
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.errors import UserError, require
from spiking_yolo.io.text import Size
from spiking_yolo.models.heads import BINS, BOXES, CLASSES, HeadSpec
from spiking_yolo.models.onnx.builder import Feature, Value
from spiking_yolo.models.onnx.file import OnnxModel, OnnxNode

Values = Mapping[str, Value]
# A trial computes at most so many numbers.
TRIAL = 1 << 28
# A level has at most so many maps: boxes, classes, and masks or key points.
TENSORS_PER_LEVEL = 3


@dataclass(frozen=True)
class HeadMaps:
    """The head of a file.

    Attributes:
        levels: The maps of boxes and classes of each level, which are joined to one.
        heads: How each is decoded.
        nms: Whether boxes must be suppressed.
    """

    levels: tuple[tuple[Feature, ...], ...]
    heads: tuple[HeadSpec, ...]
    nms: bool = True


def find_head(model: OnnxModel, values: Values) -> HeadMaps:
    """The maps from which a file's boxes come.

    Args:
        model: The file's content.
        values: What the values of the file are that have a counterpart.

    Raises:
        UserError: They are of no kind that is known here.
    """
    tail, maps = _behind(model, values, model.outputs)
    best: HeadMaps | None = None
    for rows, trial in _trials(model, values, tail):
        head = _recognised(rows, trial, model.size)
        # Some decode every level by itself before they join them.
        if head is not None and (best is None or len(head.levels) > len(best.levels)):
            best = head
    if best is None:
        raise _refusal(tail)
    # Other maps may hold masks or key points, in the same cells, and the prototypes of masks, which
    # are an output; further boxes would be lost.
    sizes = {feature.shape[2:] for feature in chain(*best.levels)}
    if any(maps[name].shape[2:] not in sizes for name in maps.keys() - set(model.outputs)):
        raise _refusal(tail)
    ops = {node.op for node in tail}
    return replace(best, nms="TopK" not in ops or "NonMaxSuppression" in ops)


def _behind(
    model: OnnxModel, values: Values, names: Sequence[str]
) -> tuple[list[OnnxNode], dict[str, Feature]]:
    """The nodes from the network's maps to some values, in order, and these maps by name."""
    needed = set(names)
    tail: list[OnnxNode] = []
    maps: dict[str, Feature] = {}
    for node in reversed(model.nodes):
        wanted = needed.intersection(node.outputs)
        features = {name: values[name] for name in wanted if isinstance(values.get(name), Feature)}
        if wanted - features.keys():
            tail.append(node)
            needed.update(node.inputs)
        for name, feature in features.items():
            assert isinstance(feature, Feature)
            maps[name] = feature
    return tail[::-1], maps


def _trials(
    model: OnnxModel, values: Values, tail: Sequence[OnnxNode]
) -> Iterator[tuple[Tensor, dict[Feature, Tensor]]]:
    """Yield every value of the tail that could be boxes, [K, values], and the random maps behind
    it."""
    candidates: list[str] = []
    for name in chain.from_iterable(node.outputs for node in tail):
        shape = model.shapes.get(name, ())
        if len(shape) == 3 and shape[0] == 1 and name not in values:
            candidates.append(name)
    sources = {name: _behind(model, values, [name])[1] for name in candidates}
    fit: list[str] = []
    for name in candidates:
        cells = sum(size.numel() for size in {one.shape[2:] for one in sources[name].values()})
        # Either side has as many boxes for each cell of the maps.
        if cells and not all(side % cells for side in model.shapes[name][1:]):
            fit.append(name)
    trial: dict[str, Tensor] = {}
    generator = torch.Generator().manual_seed(0)
    for name, feature in chain(*[sources[name].items() for name in fit]):
        if name not in trial:
            trial[name] = torch.randn(feature.shape, generator=generator)
    results = _run(model, _behind(model, values, fit)[0], trial, fit)
    for name, result in zip(fit, results, strict=False):
        own = {feature: trial[source] for source, feature in sources[name].items()}
        yield result[0], own
        yield result[0].T, own


def _run(
    model: OnnxModel, nodes: Sequence[OnnxNode], trial: Mapping[str, Tensor], names: Sequence[str]
) -> list[Tensor]:
    """Values of the file, computed from other values by the nodes between them."""
    numbers = 0
    for name in chain.from_iterable(node.outputs for node in nodes):
        if name not in model.shapes:
            return []
        numbers += math.prod(model.shapes[name])
    if not names or numbers > TRIAL:
        return []
    utils: Any = require("onnx.utils", "onnx")
    reference: Any = require("onnx.reference", "onnx")
    try:
        part = utils.Extractor(model.proto).extract_model(list(trial), list(names))
        feeds = {name: tensor.numpy() for name, tensor in trial.items()}
        results = reference.ReferenceEvaluator(part).run(None, feeds)
    except Exception:  # onnx and numpy raise whatever the nodes lead to
        return []
    return list(map(torch.from_numpy, results))


def _recognised(rows: Tensor, maps: Mapping[Feature, Tensor], size: Size) -> HeadMaps | None:
    """The head that makes these rows of these maps; None: no kind does."""
    levels = _levels(maps)
    cells = [level[0].shape[2:].numel() for level in levels]
    num = len(rows) // max(1, sum(cells))
    fit = num * sum(cells) == len(rows) and 0 < num <= BOXES and 5 <= rows.shape[1] <= CLASSES + 5
    if not fit or not all(len(level) <= TENSORS_PER_LEVEL for level in levels):
        return None
    ordered: list[tuple[Feature, ...]] = []
    heads: list[HeadSpec] = []
    for level, own in zip(levels, rows.split([num * count for count in cells]), strict=True):
        match = _recognised_level(own, level, maps, num, size)
        if match is None:
            return None
        ordered.append(match[0])
        heads.append(match[1])
    return HeadMaps(tuple(ordered), tuple(heads))


def _levels(maps: Mapping[Feature, Tensor]) -> list[list[Feature]]:
    """The maps by size, the finest first."""
    by_size: dict[torch.Size, list[Feature]] = {}
    for feature in maps:
        by_size.setdefault(feature.shape[2:], []).append(feature)
    return [by_size[size] for size in sorted(by_size, key=torch.Size.numel, reverse=True)]


def _recognised_level(
    rows: Tensor, level: Sequence[Feature], maps: Mapping[Feature, Tensor], num: int, size: Size
) -> tuple[tuple[Feature, ...], HeadSpec] | None:
    """The maps of a level in the order of a head's values, and this head."""
    for order in permutations(level, min(2, len(level))):
        x = torch.cat([maps[feature] for feature in order], 1)
        own = rows
        if len(level) > 2:
            # Coefficients of masks, or key points, come behind the classes.
            own = rows[:, : 4 + order[1].shape[1]]
        for head in _candidates(own, x, num):
            if _decodes(own, x, head, size):
                return order, head
    return None


def _candidates(rows: Tensor, x: Tensor, num: int) -> Iterator[HeadSpec]:
    """The heads that have as many values and boxes."""
    values = rows.shape[1]
    channels = x.shape[1]
    if num * values == channels and values > 5:
        anchors = _anchors(rows, x, num)
        if min(chain(*anchors)) > 0.01:
            yield HeadSpec("yolov5", values - 5, num=num, anchors=anchors, scale=2.0)
    bins = (channels - values + 4) // 4
    if num == 1 and channels == 4 * bins + values - 4 and 0 < bins <= BINS:
        yield HeadSpec("yolov8", values - 4, num=1, bins=bins)


def _anchors(rows: Tensor, x: Tensor, num: int) -> tuple[tuple[float, float], ...]:
    """Anchors in pixels, if these rows are boxes of YOLOv5 or v7: (2 sigmoid)^2 times as large."""
    boxes = rows[:, 2:4].unflatten(0, (num, -1))
    growth = (2 * x[0].unflatten(0, (num, -1))[:, 2:4].sigmoid()).square()
    sizes = (boxes / growth.flatten(2).transpose(1, 2)).median(1).values
    # The rounding errors of a trial are taken out: anchors are whole pixels, or what float16 makes
    # of them.
    nearest = (sizes * 64).round() / 64
    sizes = torch.where((sizes - nearest).abs() < 1e-5 * sizes, nearest, sizes)
    return tuple([(width, height) for width, height in sizes.tolist()])


def _decodes(rows: Tensor, x: Tensor, head: HeadSpec, size: Size) -> bool:
    """Whether the rows are the boxes and scores of a head."""
    boxes, scores = head.decode(x, size)
    confidence = rows[:, -head.classes :]
    if head.kind != "yolov8":
        confidence = confidence * rows[:, 4:5]
    if not torch.allclose(confidence, scores[0], atol=1e-4):
        return False
    height, width = size
    corners = boxes[0] * boxes.new_tensor([width, height, width, height])
    left, top, right, bottom = corners.unbind(1)
    centres = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
    forms = [corners, torch.stack(centres, 1)]
    # Some files hold rounded numbers 0, 1, ... of the distribution.
    near = 1e-2
    if head.kind == "yolov8" and head.bins > 1:
        near = height / x.shape[2] / 8
    return any(torch.allclose(rows[:, :4], form, rtol=1e-3, atol=near) for form in forms)


def _refusal(tail: Sequence[OnnxNode]) -> UserError:
    """Return the error that says what was not recognised."""
    problem = "what its outputs mean is not known here"
    if any(node.op == "Conv" for node in tail[1:]):
        problem = f"{tail[0].title} cannot be converted to a spiking network"
    known = "YOLOv5 and Ultralytics with default options, or YOLOv7-tiny with --grid"
    return UserError(f"{problem}: give a detector exported by {known}")
