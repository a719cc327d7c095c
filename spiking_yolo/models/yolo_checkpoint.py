"""Detectors of YOLOv5 and Ultralytics (v3u, v5u, v8) from their checkpoints, read as data."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph
from spiking_yolo.graph.trace import trace
from spiking_yolo.io.names import LARGEST, STRIDE, printable
from spiking_yolo.models.checkpoint_file import Record, read_objects, tensor_of
from spiking_yolo.models.spec import HeadSpec, Spec
from spiking_yolo.models.yolo_blocks import (
    Builder,
    all_modules,
    described,
    raw_head,
    refuse_attention,
)

TRAINERS = "give a checkpoint of YOLOv5's or Ultralytics' trainer"
CLASSES = 10_000


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
        *body, head = self.model
        outputs: list[Any] = []
        for layer, source in zip(body, self.sources, strict=False):
            if isinstance(source, list):
                x = layer([x if i == -1 else outputs[i] for i in source])
            else:
                x = layer(x if source == -1 else outputs[source])
            outputs.append(x)
        last = self.sources[-1]
        maps = last if isinstance(last, list) else [last]
        return [raw_head(head, outputs[i], k) for k, i in enumerate(maps)]


def read_checkpoint(path: Path) -> tuple[Graph, Spec]:
    """Graph and Spec of a detector, without running the file's code or importing its trainer.

    Raises:
        UserError: The file is damaged, or holds a network that is not known here.
    """
    try:
        network, spec = _network(read_objects(path), path.stat().st_size)
        return trace(network, torch.zeros(1, 3, spec.height, spec.width)), spec
    except UserError as error:
        raise UserError(
            f"cannot open {path}: {printable(' '.join(str(error)[:400].split()))}"
        ) from error


def _network(saved: Any, size: int) -> tuple[RawHeads, Spec]:
    """Network and Spec from a checkpoint's content. size: of the file, which bounds its numbers."""
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
    modules = described(state["_modules"].get("model"), "model")[1]["_modules"]
    if not modules:
        raise UserError(f"its network has no layers: {TRAINERS}")
    last = f"model.{len(modules) - 1}"
    kind, head = described(list(modules.values())[-1], last)
    if kind != "Detect" or "one2one_cv2" in head["_modules"]:
        raise UserError(
            f"node '{last}' ({kind}) is not the plain detection head of v5, v3u,"
            " v5u and v8: give a checkpoint of one of them, trained for the task detect"
        )
    for name, kind in all_modules(state["_modules"]["model"], "model"):
        refuse_attention(kind, name)
    builder = Builder(size)
    layers = [builder.build(record, f"model.{key}") for key, record in modules.items()]
    sources = [_sources(record, i) for i, record in enumerate(modules.values())]
    heads, strides = _heads(builder, head, sources[-1])
    if max(strides) > STRIDE:
        raise UserError(
            f"only networks with strides up to {STRIDE} can be converted: give one without P6"
        )
    height, width = _input_size(saved, state)
    names = _names(state.get("names"), heads[0].classes)
    spec = Spec("detect", names, height, width, "letterbox-114", heads)
    return RawHeads(layers, sources).eval(), spec


def _sources(record: Any, i: int) -> int | list[int]:
    """Which layers the i-th reads. Raises UserError for one that does not come before it."""
    source = record.state.get("f")
    indices = source if isinstance(source, list) else [source]
    fit = all(type(k) is int and (k == -1 or -i <= k < i) for k in indices)
    if not fit or not 0 < len(indices) <= 16:
        raise UserError(f"node 'model.{i}' does not say which layers it reads: {TRAINERS}")
    return source


def _heads(
    builder: Builder, head: Mapping[str, Any], source: int | list[int]
) -> tuple[tuple[HeadSpec, ...], Any]:
    """The heads, and their strides in pixels."""
    maps = len(source) if isinstance(source, list) else 1
    stride = tensor_of(head.get("stride"), "the head's stride")
    classes: Any = head.get("nc")
    bins: Any = head.get("reg_max", 16)
    sound = type(classes) is int and 0 < classes <= CLASSES
    sound = sound and type(bins) is int and 0 < bins <= 64
    branches = ("m",) if "m" in head["_modules"] else ("cv2", "cv3")
    for key in branches:
        branch = described(head["_modules"].get(key), f"head.{key}")[1]
        sound = sound and len(branch["_modules"]) == maps
    if not sound or stride.shape != (maps,) or not (stride >= 1).all():
        raise UserError(f"its head does not say classes and strides of {maps} maps: {TRAINERS}")
    if branches == ("cv2", "cv3"):
        return (HeadSpec("yolov8", classes=classes, num=1, bins=bins),) * maps, stride.tolist()
    anchors = builder.tensor(head, "anchors", "head")
    fit = anchors is not None and anchors.ndim == 3 and anchors.shape[::2] == (maps, 2)
    if anchors is None or not fit or not (anchors > 0).all():
        raise UserError(f"its head has no anchors of {maps} maps: {TRAINERS}")
    heads: list[HeadSpec] = []
    for pairs in (anchors * stride[:, None, None]).tolist():
        sizes = tuple((width, height) for width, height in pairs)
        heads.append(HeadSpec("yolov5", classes, num=len(sizes), anchors=sizes, scale=2.0))
    return tuple(heads), stride.tolist()


def _names(value: Any, classes: int) -> tuple[str, ...]:
    """Class names from a list or a dict by number. Raises UserError unless each class has one."""
    names = list(value) if isinstance(value, (list, tuple)) else None
    if isinstance(value, dict) and sorted(map(str, value)) == sorted(map(str, range(len(value)))):
        names = [value[key] for key in sorted(value, key=int)]
    if names is None or len(names) != classes:
        count = "no names" if names is None else f"{len(names)} names"
        raise UserError(f"it has {count} of its {classes} classes: {TRAINERS}")
    return tuple(str(name) if isinstance(name, (str, int)) else "?" for name in names)


def _input_size(saved: Any, state: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width that it was trained at, rounded up to whole strides; by default 640."""
    sources = [state.get("args")]
    if isinstance(saved, dict):
        sources += [saved.get("train_args"), saved.get("opt")]
    size: Any = 640
    for source in reversed(sources):
        options = source.state if isinstance(source, Record) else source
        if isinstance(options, dict):
            size = options.get("imgsz", size)
    sides = [_pixels(side) for side in (size if isinstance(size, (list, tuple)) else [size])]
    if len(sides) not in (1, 2) or not all(0 < side <= LARGEST for side in sides):
        raise UserError(f"its input size is none up to {LARGEST} pixels: {TRAINERS}")
    height = -(-sides[0] // STRIDE) * STRIDE
    width = -(-sides[-1] // STRIDE) * STRIDE
    return height, width


def _pixels(value: Any) -> int:
    """A side, also as text or as 640.0; 0 for anything else."""
    return int(float(value)) if re.fullmatch(r"\d{1,5}(\.0)?", str(value)) else 0
