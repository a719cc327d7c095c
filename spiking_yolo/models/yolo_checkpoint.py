"""Detectors of YOLOv5 and Ultralytics (see FAMILIES) from their checkpoints, read as data."""

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spiking_yolo.errors import Notice, UserError
from spiking_yolo.graph import Graph
from spiking_yolo.graph.trace import trace
from spiking_yolo.io.names import LARGEST, STRIDE, Size, printable
from spiking_yolo.models.checkpoint_file import Record, read_objects, tensor_of
from spiking_yolo.models.spec import HeadSpec, Spec
from spiking_yolo.models.yolo_blocks import Head
from spiking_yolo.models.yolo_builder import (
    FAMILIES,
    SOURCES,
    Builder,
    described,
    is_of_fork,
    tensor,
    unknown,
)

TRAINERS = "give a checkpoint of YOLOv5's or Ultralytics' trainer"
CLASSES = 10_000
# Pixels of the input's side where a checkpoint does not say them.
GUESS = 640
# Of the coarsest map, in pixels, at most; networks for large images have 64.
LARGEST_STRIDE = 128
# Class of a head -> what it predicts besides boxes and classes, which is left out.
HEADS = {
    **dict.fromkeys(["Detect", "v10Detect"], ""),
    **dict.fromkeys(["Segment", "Segment26"], "masks"),
    **dict.fromkeys(["Pose", "Pose26"], "key points"),
}
# What --head says -> the branches for boxes and classes. Of networks with both, the first is
# trained to find each object once, the second as all others are.
BRANCHES = {"one2one": ("one2one_cv2", "one2one_cv3"), "one2many": ("cv2", "cv3")}


class RawHeads(nn.Module):
    """The layers of a checkpoint up to the head's last convolutions: one map per stride.

    Args:
        layers: In order, the head last.
        sources: For each layer the index of the layer, or layers, that it reads; -1 is the one
            before.
    """

    def __init__(self, layers: Sequence[nn.Module], sources: Sequence[int | list[int]]) -> None:
        super().__init__()
        self.model = nn.Sequential(*layers)
        self.sources = sources

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs: list[Any] = []
        y: Any = x
        for layer, source in zip(self.model, self.sources, strict=True):
            if isinstance(source, list):
                y = layer([y if i == -1 else outputs[i] for i in source])
            elif source == -1:
                y = layer(y)
            else:
                y = layer(outputs[source])
            outputs.append(y)
        return y


def read_checkpoint(path: Path, head: str | None = None, sized: bool = False) -> tuple[Graph, Spec]:
    """Graph and Spec of a detector, without running the file's code or importing its trainer.

    Args:
        path: The file.
        head: Which of two heads, a key of BRANCHES; None: the first that it has.
        sized: Whether the caller chooses the input size, so that nothing is said of a guess.

    Raises:
        UserError: The file is damaged, or holds a network that is not known here.
    """
    try:
        network, spec = network_of(read_objects(path), Builder(), head, sized)
        return trace(network, torch.zeros(1, 3, spec.height, spec.width)), spec
    except UserError as error:
        raise UserError(
            f"cannot open {path}: {printable(' '.join(str(error)[:400].split()))}"
        ) from error


def network_of(
    saved: Any, builder: Builder, head: str | None, sized: bool = False
) -> tuple[RawHeads, Spec]:
    """Network and Spec from a checkpoint's content. head, sized: see `read_checkpoint`.

    Raises:
        UserError: It holds no detector that is known here.
    """
    state = _model_state(saved)
    modules = described(state["_modules"].get("model"), "model")[1]["_modules"]
    if not modules:
        raise UserError(f"its network has no layers: {TRAINERS}")
    *body, (last, head_record) = modules.items()
    name = f"model.{last}"
    left_out, branches = _branches(head_record, name, head)
    layers = [builder.build(record, f"model.{key}") for key, record in body]
    head_state = described(head_record, name)[1]
    parts: dict[str, nn.Module] = {}
    for key in branches:
        parts[key] = builder.build(head_state["_modules"][key], f"{name}.{key}")
    sources = [_sources(record, i) for i, record in enumerate(modules.values())]
    if not isinstance(sources[-1], list):
        sources[-1] = [sources[-1]]
    heads, stride = _heads(head_state, parts, len(sources[-1]))
    size = _input_size(saved, state, stride)
    height, width = size or (GUESS, GUESS)
    names = names_of(state.get("names"), heads[0].classes)
    nms = branches != BRANCHES["one2one"]
    spec = Spec("detect", names, height, width, "letterbox-114", heads, stride=stride, nms=nms)
    if size is None and not sized:
        _notify(
            f"this checkpoint does not say its input size, and {GUESS} pixels is a guess: give the"
            " size that it was trained at by --imgsz (imgsz=...)"
        )
    if left_out:
        _notify(f"the {left_out} that this network predicts are left out: it finds boxes alone")
    return RawHeads([*layers, Head(parts, {})], sources).eval(), spec


def _notify(note: str) -> None:
    warnings.warn(Notice(note), stacklevel=3)


def _model_state(saved: Any) -> dict[str, Any]:
    """Attributes of a checkpoint's network. Raises UserError unless it is one of RGB images."""
    candidates = [saved]
    if isinstance(saved, dict):
        candidates = [saved.get("ema"), saved.get("model")]
    records = [candidate for candidate in candidates if isinstance(candidate, Record)]
    if not records:
        raise UserError(
            f"it holds no network, only values: {TRAINERS}, or --cfg torchvision:NAME with a state"
            " dict"
        )
    state = described(records[0], "model")[1]
    # Training on several devices wraps the network.
    if list(state["_modules"]) == ["module"]:
        state = described(state["_modules"]["module"], "model.module")[1]
    yaml = state.get("yaml")
    if not isinstance(yaml, dict):
        raise UserError(f"its network has no yaml, which says how it was made: {TRAINERS}")
    channels = yaml.get("channels", yaml.get("ch", 3))
    if type(channels) is not int or channels != 3:
        raise UserError("only RGB networks can be converted: give one of three channels")
    return state


def _branches(record: Any, name: str, choice: str | None) -> tuple[str, tuple[str, ...]]:
    """What a head predicts besides boxes and classes, and which of its modules predict these.

    Raises:
        UserError: It is of another kind, or does not have the head that was chosen.
    """
    kind, state = described(record, name)
    origin = SOURCES if kind == "Detect" else "ultralytics."
    if kind not in HEADS or not record.name.startswith(origin):
        if is_of_fork(record):
            raise unknown(record, name)
        raise UserError(
            f"node {name!r} ({kind}) is no head of a detector that is known here: {FAMILIES},"
            " trained for the task detect"
        )
    modules = {key for key, value in state["_modules"].items() if value is not None}
    present = [head for head, keys in BRANCHES.items() if modules.issuperset(keys)]
    if choice is not None and (len(present) < 2 or choice not in present):
        raise UserError(
            "it has one head alone, and --head chooses between the two of YOLOv10 and YOLO26:"
            " leave it out"
        )
    if "m" in modules:
        return HEADS[kind], ("m",)
    if not present:
        raise UserError(
            f"node {name!r} ({kind}) has neither the branches cv2 and cv3 nor one2one_cv2 and"
            f" one2one_cv3: {FAMILIES}"
        )
    return HEADS[kind], BRANCHES[choice or present[0]]


def _sources(record: Any, i: int) -> int | list[int]:
    """Which layers the i-th reads. Raises UserError for one that does not come before it."""
    source = record.state.get("f")
    indices = source if isinstance(source, list) else [source]
    fit = all(type(k) is int and (k == -1 or -i <= k < i) for k in indices)
    if not fit or not 0 < len(indices) <= 16:
        raise UserError(f"node 'model.{i}' does not say which layers it reads: {TRAINERS}")
    return source


def _heads(
    state: Mapping[str, Any], branches: Mapping[str, nn.Module], maps: int
) -> tuple[tuple[HeadSpec, ...], int]:
    """How each of the maps is decoded, and the stride of the coarsest in pixels."""
    strides = tensor_of(state.get("stride"), "the head's stride")
    classes: Any = state.get("nc")
    bins: Any = state.get("reg_max", 16)
    sound = type(classes) is int and 0 < classes <= CLASSES
    sound = sound and type(bins) is int and 0 < bins <= 64
    for branch in branches.values():
        sound = sound and len(list(branch.children())) == maps
    whole = bool((strides >= 1).all()) and torch.equal(strides, strides.round())
    if not sound or not whole or strides.shape != (maps,):
        raise UserError(f"its head does not say classes and strides of {maps} maps: {TRAINERS}")
    if strides.max() > LARGEST_STRIDE:
        raise UserError(f"its strides go beyond {LARGEST_STRIDE} pixels: {TRAINERS}")
    # Sizes of images are multiples of STRIDE wherever nothing else is said.
    stride = max(STRIDE, int(strides.max()))
    if "m" not in branches:
        return (HeadSpec("yolov8", classes=classes, num=1, bins=bins),) * maps, stride
    anchors = tensor(state, "anchors", "head")
    fit = anchors is not None and anchors.ndim == 3 and anchors.shape[::2] == (maps, 2)
    if anchors is None or not fit or not (anchors > 0).all():
        raise UserError(f"its head has no anchors of {maps} maps: {TRAINERS}")
    heads: list[HeadSpec] = []
    for pairs in (anchors * strides[:, None, None]).tolist():
        sizes = tuple((width, height) for width, height in pairs)
        heads.append(HeadSpec("yolov5", classes, num=len(sizes), anchors=sizes, scale=2.0))
    return tuple(heads), stride


def names_of(value: Any, classes: int) -> tuple[str, ...]:
    """Class names from a list or a dict by number. Raises UserError unless each class has one."""
    names: list[Any] = []
    if isinstance(value, (list, tuple)):
        names = list(value)
    elif isinstance(value, dict):
        numbered = sorted(map(str, value)) == sorted(map(str, range(len(value))))
        if numbered:
            names = [value[key] for key in sorted(value, key=int)]
    if len(names) != classes:
        raise UserError(f"it has {len(names) or 'no'} names of its {classes} classes: {TRAINERS}")
    for k, name in enumerate(names):
        if not isinstance(name, (str, int)):
            names[k] = "?"
    return tuple(map(str, names))


def _input_size(saved: Any, state: Mapping[str, Any], stride: int = STRIDE) -> Size | None:
    """Height and width that it was trained at, rounded up to whole strides; None: it says none."""
    sources = [state.get("args")]
    if isinstance(saved, dict):
        sources += [saved.get("train_args"), saved.get("opt")]
    size: Any = None
    for source in reversed(sources):
        options = source.state if isinstance(source, Record) else source
        if isinstance(options, dict):
            size = options.get("imgsz", size)
    if size is None:
        return None
    if not isinstance(size, (list, tuple)):
        size = [size]
    sides = list(map(_pixels, size))
    if len(sides) not in (1, 2) or not all(0 < side <= LARGEST for side in sides):
        raise UserError(f"its input size is none up to {LARGEST} pixels: {TRAINERS}")
    height = -(-sides[0] // stride) * stride
    width = -(-sides[-1] // stride) * stride
    return height, width


def _pixels(value: Any) -> int:
    """A side, also as text or as 640.0; 0 for anything else."""
    return int(float(value)) if re.fullmatch(r"\d{1,5}(\.0)?", str(value)) else 0
