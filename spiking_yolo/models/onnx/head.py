"""Detection heads in ONNX files: which maps the boxes come from, and how they are decoded.

The maps are those that the part behind the network reads. What this part makes of trial values is
computed and compared with what each kind of head would make of them, so that a head is known by
what it does, and not by how its exporter writes it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, permutations

import torch
from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.io.names import Size
from spiking_yolo.models.heads import HeadSpec
from spiking_yolo.models.onnx.file import OnnxModel, OnnxNode
from spiking_yolo.models.onnx.operators import OPERATORS, TRIAL_WORK, Evaluator, Unsupported
from spiking_yolo.models.onnx.values import Feature, Layout, Unresolved, Value
from spiking_yolo.models.spec import BINS, BOXES, CLASSES

# Numbers of trial values at a time, at most.
LIVE = 1 << 28
# Numbers that a comparison with the kinds of heads computes, for each of the values.
COMPARISON = 64
# Maps of a level that are joined, at most.
PARTS = 3
# Of YOLOv7-tiny, in pixels, for the exports without --grid, which do not hold them.
YOLOV7_TINY = (
    ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)),
    ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)),
    ((116.0, 90.0), (156.0, 198.0), (373.0, 326.0)),
)
EXPORTS = (
    "exports of YOLOv5, YOLOv7-tiny, YOLOX and Ultralytics' detectors, made with default options,"
    " can be opened"
)


@dataclass(frozen=True)
class HeadMaps:
    """The head of a file.

    Attributes:
        levels: The maps of each level; those of a level are joined to one.
        heads: How each is decoded.
        nms: Whether boxes must be suppressed.
        note: What the user should know.
    """

    levels: tuple[tuple[Feature, ...], ...]
    heads: tuple[HeadSpec, ...]
    nms: bool = True
    note: str = ""


def find_head(model: OnnxModel, values: Mapping[str, Value], size: Size) -> HeadMaps:
    """The maps from which a file's boxes come.

    Args:
        model: The file's content.
        values: What each of its values is.
        size: Height and width of the images.

    Raises:
        UserError: They are of no kind that is known here.
    """
    outputs = [values[name] for name in model.outputs]
    tail = _behind(outputs, values)
    best: HeadMaps | None = None
    for rows, maps in _trials(tail):
        head = _recognised(rows, maps, size)
        # Some decode every level by itself before they join them.
        if head is not None and (best is None or len(head.levels) > len(best.levels)):
            best = head
    if best is not None and _sources(tail) == set(chain(*best.levels)):
        ops = {value.node.op for value in tail if isinstance(value, Unresolved)}
        return replace(best, nms="TopK" not in ops or "NonMaxSuppression" in ops)
    head = _undecoded(outputs, model, size)
    if head is not None:
        return head
    raise _refusal(model, outputs, tail)


def _behind(outputs: Sequence[Value], values: Mapping[str, Value]) -> list[Value]:
    """The values behind the network from which the outputs are computed, in order."""
    needed = {id(value) for value in outputs}
    tail: list[Value] = []
    for value in reversed(list(values.values())):
        if id(value) in needed and isinstance(value, Unresolved | Layout):
            tail.append(value)
            if isinstance(value, Unresolved):
                needed.update(map(id, value.args))
    tail.reverse()
    return tail


def _sources(tail: Sequence[Value]) -> set[Feature]:
    """The maps that the tail reads: those of a head, unless there is more than a head in it."""
    sources: set[Feature] = set()
    for value in tail:
        if isinstance(value, Layout):
            sources.add(value.source)
        elif isinstance(value, Unresolved):
            sources.update([arg for arg in value.args if isinstance(arg, Feature)])
    return sources


def _trials(tail: Sequence[Value]) -> Iterator[tuple[Tensor, dict[Feature, Tensor]]]:
    """Every value of the tail that could be boxes, [K, values], for random maps, and these maps."""
    generator = torch.Generator().manual_seed(0)
    evaluate = Evaluator(TRIAL_WORK)
    maps: dict[str, tuple[Feature, Tensor]] = {}
    trial: dict[int, Tensor] = {}
    sources: dict[int, dict[str, None]] = {}
    last: dict[int, int] = {}
    for position, value in enumerate(tail):
        if isinstance(value, Unresolved):
            last.update({id(arg): position for arg in value.args})
    live = 0

    def of(value: Value | None) -> Tensor | None:
        match value:
            case None | Tensor():
                return value
            case Feature(node=node, shape=shape):
                if node not in maps:
                    maps[node] = value, torch.randn(shape, generator=generator)
                sources[id(value)] = {node: None}
                return maps[node][1]
            case Layout(source=source, index=index, scale=scale):
                sources[id(value)] = {source.node: None}
                whole = of(source)
                assert whole is not None
                return whole.flatten()[index.long()] * scale
        if id(value) not in trial:
            raise Unsupported
        return trial[id(value)]

    for position, value in enumerate(tail):
        if not isinstance(value, Unresolved):
            continue
        try:
            args = [of(arg) for arg in value.args]
            result = evaluate(value.node, args)[value.part]
        except (Unsupported, IndexError):
            continue
        sources[id(value)] = {}
        for arg in value.args:
            sources[id(value)].update(sources.get(id(arg), {}))
        trial[id(value)] = result
        live += result.numel()
        if live > LIVE:
            return
        if result.ndim == 3 and len(result) == 1 and result.is_floating_point():
            evaluate.work -= COMPARISON * result.numel()
            own = {maps[node][0]: maps[node][1] for node in sources[id(value)]}
            yield result[0], own
            yield result[0].T, own
        for arg in value.args:
            if last.get(id(arg)) == position and id(arg) in trial:
                live -= trial.pop(id(arg)).numel()


def _recognised(rows: Tensor, maps: Mapping[Feature, Tensor], size: Size) -> HeadMaps | None:
    """The head that makes these rows of these maps; None: no kind does."""
    levels = _levels(maps)
    cells = [level[0].shape[2:].numel() for level in levels]
    num = len(rows) // max(1, sum(cells))
    fit = num * sum(cells) == len(rows) and 0 < num <= BOXES and 5 <= rows.shape[1] <= CLASSES + 5
    if not fit or not all(len(level) <= PARTS for level in levels):
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
    for order in permutations(level):
        x = torch.cat([maps[feature] for feature in order], 1)
        for head in _candidates(rows, x, num):
            if _decodes(rows, x, head, size):
                return order, head
    return None


def _candidates(rows: Tensor, x: Tensor, num: int) -> Iterator[HeadSpec]:
    """The heads that have as many values and boxes."""
    values = rows.shape[1]
    channels = x.shape[1]
    if num * values == channels and values > 5:
        anchors = _anchors(rows, x, num)
        if min(min(pair) for pair in anchors) > 0.01:
            yield HeadSpec("yolov5", values - 5, num=num, anchors=anchors, scale=2.0)
        if num == 1:
            yield HeadSpec("yolox", values - 5, num=1)
    bins = (channels - values + 4) // 4
    if num == 1 and channels == 4 * bins + values - 4 and 0 < bins <= BINS:
        yield HeadSpec("yolov8", values - 4, num=1, bins=bins)


def _anchors(rows: Tensor, x: Tensor, num: int) -> tuple[tuple[float, float], ...]:
    """Anchors in pixels, if these rows are boxes of YOLOv5 or v7: (2 sigmoid)^2 times as large."""
    boxes = rows[:, 2:4].unflatten(0, (num, -1))
    growth = (2 * x[0].unflatten(0, (num, -1))[:, 2:4].sigmoid()).square()
    sizes = (boxes / growth.flatten(2).transpose(1, 2)).median(1).values
    # Without the rounding errors of a trial: whole pixels, or what float16 makes of them.
    nearest = (sizes * 64).round() / 64
    sizes = torch.where((sizes - nearest).abs() < 1e-5 * sizes, nearest, sizes)
    return tuple([(width, height) for width, height in sizes.tolist()])


def _decodes(rows: Tensor, x: Tensor, head: HeadSpec, size: Size) -> bool:
    """Whether the rows are the boxes and scores of a head; of a YOLOX also before decoding."""
    boxes, scores = (part[0] for part in head.decode(x, size))
    confidence = rows[:, -head.classes :]
    if head.kind != "yolov8":
        confidence = confidence * rows[:, 4:5]
    if not torch.allclose(confidence, scores, atol=1e-4):
        return False
    height, width = size
    corners = boxes * boxes.new_tensor([width, height, width, height])
    left, top, right, bottom = corners.unbind(1)
    centres = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
    forms = [corners, torch.stack(centres, 1)]
    if head.kind == "yolox":
        forms.append(x[0, :4].flatten(1).T)
    # Of the distribution's numbers 0, 1, ..., some files hold rounded ones.
    near = height / x.shape[2] / 8 if head.kind == "yolov8" and head.bins > 1 else 1e-2
    return any(torch.allclose(rows[:, :4], form, rtol=1e-3, atol=near) for form in forms)


def _undecoded(outputs: Sequence[Value], model: OnnxModel, size: Size) -> HeadMaps | None:
    """The head of an export of YOLOv7-tiny without --grid: maps [1, anchors, H, W, 5 + C]."""
    maps: list[Feature] = []
    for value in outputs:
        if not isinstance(value, Layout) or value.index.ndim != 5:
            return None
        batch, num, height, width, values = value.index.shape
        if batch != 1 or value.index.numel() != value.source.shape.numel():
            return None
        places = value.source.places.view(1, num, values, height, width)
        if not torch.equal(value.index, places.permute(0, 1, 3, 4, 2)):
            return None
        maps.append(value.source)
    maps.sort(key=lambda feature: feature.shape.numel(), reverse=True)
    sizes = [tuple(feature.shape[1:]) for feature in maps]
    channels = maps[0].shape[1]
    expected = [(channels, size[0] // stride, size[1] // stride) for stride in (8, 16, 32)]
    leaky = any(node.op == "LeakyRelu" for node in model.nodes)
    if sizes != expected or channels % 3 or channels < 18:
        return None
    if not leaky:
        raise UserError(
            "it gives the maps of a YOLO with anchors and not these: export it again with boxes"
            " (--grid in YOLOv7)"
        )
    heads: list[HeadSpec] = []
    for anchors in YOLOV7_TINY:
        heads.append(HeadSpec("yolov5", channels // 3 - 5, num=3, anchors=anchors, scale=2.0))
    note = (
        "this export does not hold its anchors: those of YOLOv7-tiny are used; for others export it"
        " with --grid"
    )
    return HeadMaps(tuple([(feature,) for feature in maps]), tuple(heads), note=note)


def _refusal(model: OnnxModel, outputs: Sequence[Value], tail: Sequence[Value]) -> UserError:
    """What was not recognised."""
    task = model.metadata.get("task", "detect")
    if task != "detect":
        return UserError(f"it was exported for the task {task:.20}, not detect: {EXPORTS}")
    for value in tail:
        if isinstance(value, Unresolved) and value.node.op == "Conv":
            before = _before(value)
            unknown = [node for node in before if node.op not in OPERATORS]
            node = (unknown or before)[-1]
            return UserError(f"{node.title} cannot be converted to a spiking network: {EXPORTS}")
    flat = any(
        isinstance(v, Unresolved) and v.meta is not None and v.meta.ndim == 2 for v in outputs
    )
    linear = any(isinstance(value, Unresolved) and value.node.op == "Gemm" for value in tail)
    if len(outputs) == 1 and (flat or linear):
        return UserError(f"it is a classifier, which has no boxes: {EXPORTS}")
    return UserError(f"what its outputs mean is not known here: {EXPORTS}")


def _before(value: Unresolved) -> list[OnnxNode]:
    """The unresolved nodes from which a value is computed, itself first."""
    nodes: list[OnnxNode] = []
    waiting: list[Unresolved] = [value]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop(0)
        nodes.append(one.node)
        for arg in one.args:
            if isinstance(arg, Unresolved) and id(arg) not in seen:
                seen.add(id(arg))
                waiting.append(arg)
    return nodes
