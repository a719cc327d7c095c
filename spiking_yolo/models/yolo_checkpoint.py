"""Detectors of YOLOv5 and Ultralytics (v3u, v5u, v8) from their checkpoints, which are read and
never run.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph
from spiking_yolo.graph.trace import trace
from spiking_yolo.io.names import LARGEST, STRIDE, shown
from spiking_yolo.models.checkpoint_file import Record, TorchFile
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
    """The layers of a checkpoint up to the head's last convolutions: one map per stride, for
    decode/heads.py.

    sources: of each layer, the head's last: layers that it reads, -1 for the one before.
    """

    def __init__(self, layers: Sequence[nn.Module], sources: Sequence[int | list[int]]) -> None:
        super().__init__()
        self.model, self.sources = nn.Sequential(*layers), sources

    def forward(self, x: Tensor) -> list[Tensor]:
        *body, head = self.model
        seen: list[Any] = []
        for layer, source in zip(body, self.sources, strict=False):
            given = [
                x if i == -1 else seen[i]
                for i in (source if isinstance(source, list) else [source])
            ]
            x = layer(given if isinstance(source, list) else given[0])
            seen.append(x)
        last = self.sources[-1]
        return [
            raw_head(head, seen[i], k)
            for k, i in enumerate(last if isinstance(last, list) else [last])
        ]


def read_checkpoint(path: Path) -> tuple[Graph, Spec]:
    """Graph and Spec of a detector, without running the file's code or importing its trainer.

    Raises UserError, naming the file and the entry or node, for what is damaged or unknown.
    """
    try:
        with TorchFile(path) as file:
            network, spec = _network(file)
        return trace(network, torch.zeros(1, 3, spec.height, spec.width)), spec
    except UserError as error:
        raise UserError(
            f"cannot open {path}: {shown(' '.join(str(error)[:400].split()))}"
        ) from error


def _network(file: TorchFile) -> tuple[RawHeads, Spec]:
    saved = file.content
    chosen = (saved.get("ema") or saved.get("model")) if isinstance(saved, dict) else saved
    if isinstance(chosen, dict) or not isinstance(chosen, Record):
        raise UserError(
            f"it holds no network, only values: {TRAINERS}, or --cfg torchvision:NAME with a state"
            " dict"
        )
    state = described(chosen, "model")[1]
    if list(state["_modules"]) == ["module"]:  # what trains on several devices wraps it
        state = described(state["_modules"]["module"], "model.module")[1]
    yaml = state.get("yaml")
    if not isinstance(yaml, dict):
        raise UserError(f"its network has no yaml, which says how it was made: {TRAINERS}")
    if yaml.get("channels", yaml.get("ch", 3)) != 3:
        raise UserError("only RGB networks can be converted: give one of three channels")
    records = described(state["_modules"].get("model"), "model")[1]["_modules"]
    if not records:
        raise UserError(f"its network has no layers: {TRAINERS}")
    kind, head = described(list(records.values())[-1], f"model.{len(records) - 1}")
    if kind != "Detect" or "one2one_cv2" in head["_modules"]:
        raise UserError(
            f"node 'model.{len(records) - 1}' ({kind}) is not the plain detection head of v5, v3u,"
            " v5u and v8: give a checkpoint of one of them, trained for the task detect"
        )
    for name, kind in all_modules(state["_modules"]["model"], "model"):
        refuse_attention(kind, name)
    builder = Builder(file)
    layers = [builder.build(record, f"model.{key}") for key, record in records.items()]
    sources = [_sources(record, i) for i, record in enumerate(records.values())]
    heads, strides = _heads(builder, head, sources[-1])
    if max(strides) > STRIDE:
        raise UserError(
            f"only networks with strides up to {STRIDE} can be converted: give one without P6"
        )
    height, width = _input_size(saved, state)
    names = _names(state.get("names"), heads[0].classes)
    return RawHeads(layers, sources).eval(), Spec(
        "detect", names, height, width, "letterbox-114", heads
    )


def _sources(record: Any, i: int) -> int | list[int]:
    """Which layers the i-th reads. Raises UserError for one that does not come before it."""
    given = record.state.get("f")
    listed = given if isinstance(given, list) else [given]
    fit = all(type(k) is int and (k == -1 or -i <= k < i) for k in listed)
    if not fit or not 0 < len(listed) <= 16:
        raise UserError(f"node 'model.{i}' does not say which layers it reads: {TRAINERS}")
    return given


def _heads(
    builder: Builder, head: Mapping[str, Any], source: int | list[int]
) -> tuple[tuple[HeadSpec, ...], Any]:
    """The heads, and their strides in pixels."""
    maps = len(source) if isinstance(source, list) else 1
    stride = builder.file.tensor(head.get("stride"), "the head's stride").float()
    classes, bins = (
        value if type(value) is int else 0 for value in (head.get("nc"), head.get("reg_max", 16))
    )
    branches = ("m",) if "m" in head["_modules"] else ("cv2", "cv3")
    counts = {
        len(described(head["_modules"].get(key), f"head.{key}")[1]["_modules"]) for key in branches
    }
    sound = 0 < classes <= CLASSES and 0 < bins <= 64
    if not sound or stride.shape != (maps,) or counts != {maps} or not (stride >= 1).all():
        raise UserError(f"its head does not say classes and strides of {maps} maps: {TRAINERS}")
    if branches == ("cv2", "cv3"):
        return (HeadSpec("yolov8", classes=classes, num=1, bins=bins),) * maps, stride.tolist()
    anchors = builder.tensor(head, "anchors", "head")
    if (
        anchors is None
        or anchors.ndim != 3
        or anchors.shape[::2] != (maps, 2)
        or not (anchors > 0).all()
    ):
        raise UserError(f"its head has no anchors of {maps} maps: {TRAINERS}")
    pixels = (anchors * stride[:, None, None]).tolist()
    return (
        tuple(
            HeadSpec(
                "yolov5",
                classes=classes,
                num=len(own),
                anchors=tuple((w, h) for w, h in own),
                scale=2.0,
            )
            for own in pixels
        ),
        stride.tolist(),
    )


def _names(given: Any, classes: int) -> tuple[str, ...]:
    """Class names of a list, or of a dict by number. Raises UserError unless there is one per
    class.
    """
    names = list(given) if isinstance(given, (list, tuple)) else None
    if isinstance(given, dict) and sorted(map(str, given)) == sorted(map(str, range(len(given)))):
        names = [given[key] for key in sorted(given, key=int)]
    if names is None or len(names) != classes:
        has = "no names" if names is None else f"{len(names)} names"
        raise UserError(f"it has {has} of its {classes} classes: {TRAINERS}")
    return tuple(str(name) if isinstance(name, (str, int)) else "?" for name in names)


def _input_size(saved: Any, state: Mapping[str, Any]) -> tuple[int, int]:
    """The input size that it was trained at, in whole strides; 640 pixels where it does not say."""
    given = [
        state.get("args"),
        *(saved.get(key) for key in ("train_args", "opt") if isinstance(saved, dict)),
    ]
    options = [args.state if isinstance(args, Record) else args for args in given]
    size = next(
        (args["imgsz"] for args in options if isinstance(args, dict) and "imgsz" in args), 640
    )
    sides = [_pixels(side) for side in (size if isinstance(size, (list, tuple)) else [size])]
    sides = sides * 2 if len(sides) == 1 else sides
    if len(sides) != 2 or not all(0 < side <= LARGEST for side in sides):
        raise UserError(f"its input size is none up to {LARGEST} pixels: {TRAINERS}")
    height, width = (-(-side // STRIDE) * STRIDE for side in sides)
    return height, width


def _pixels(value: Any) -> int:
    """A side, also as text or as 640.0; 0 for what is none."""
    return int(float(value)) if re.fullmatch(r"\d{1,5}(\.0)?", str(value)) else 0
