"""Detectors of YOLOv5 and Ultralytics (see FAMILIES) from their checkpoints, read as data.

torch's safe unpickler accepts only classes that it was told about. It is told about inert
stand-ins for every class that the file names, so nothing of the file can run. Modules are built
from what the stand-ins hold.
"""

import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from spiking_yolo.errors import UserError, notice
from spiking_yolo.graph import ERRORS, Graph
from spiking_yolo.graph.trace import trace
from spiking_yolo.io.text import LARGEST, STRIDE, Size, label, printable, reason
from spiking_yolo.models.spec import HeadSpec, Spec
from spiking_yolo.models.yolo_blocks import BLOCKS, Head, conv_of

_KNOWN = "YOLOv5, or of Ultralytics' v3u, v5u, v8, v9 (t, s, m, c), v10, 11, 12 or 26"
FAMILIES = f"give a detector of {_KNOWN}, or its .onnx"
# A file may ask for so many modules, and poolings of SPPF, at most.
MODULES, POOLS = 5000, 8


class Record:
    """Stand-in for an object of a checkpoint: data, whatever the object's class would do.

    Attributes:
        name: Full name of the class, such as "torch.nn.modules.conv.Conv2d".
        args: What the class or function would have been called with.
        state: The object's attributes, usually a dict.
    """

    name: ClassVar[str] = ""
    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any) -> Self:
        record = object.__new__(cls)
        record.args = args
        record.state = None
        return record

    def __setstate__(self, state: Any) -> None:
        self.state = state


def read_objects(path: Path) -> Any:
    """Read what torch.save wrote, with Records in place of objects other than tensors and
    containers.

    Raises:
        UserError: The file is damaged, or no file of torch.save.
    """
    # Classes that other code of this process has declared safe would be called, not replaced.
    declared = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        with zipfile.ZipFile(path) as file:
            size = sum([entry.file_size for entry in file.infolist()])
        # torch.save compresses nothing. Compressed and overlapping entries could become terabytes.
        if size > path.stat().st_size:
            raise ValueError("its entries are larger than the file")
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        stand_ins: list[Any] = [(type("Record", (Record,), {"name": one}), one) for one in names]
        # torch warns of some damages before it raises.
        with warnings.catch_warnings(), torch.serialization.safe_globals(stand_ins):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the damage leads to
        cause = reason(str(error).split("WeightsUnpickler error: ")[-1])
        if cause.startswith("Weights only load failed"):
            # The rest of the message advises to load the file unsafely.
            cause = "it uses what no detector needs"
        raise UserError(f"it is no whole file of torch.save ({cause}): fetch it again") from error
    finally:
        torch.serialization.add_safe_globals(declared)


def tensor_of(value: Any, name: str) -> Tensor:
    """A value of a file as a float32 tensor of its own memory.

    Raises:
        UserError: `name` is no tensor, or claims more numbers than the file holds.
    """
    if type(value) not in (Tensor, torch.nn.Parameter) or value.is_complex():
        raise UserError(f"{name} is no tensor: give another checkpoint")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise UserError(f"{name} has more numbers than the file holds: give another checkpoint")
    return value.detach().to(torch.float32, copy=True)


State = Mapping[str, Any]
# A module's parameters and buffers.
Numbers = Mapping[str, Tensor]
Children = Mapping[str, nn.Module]


def _geometry(state: State, *keys: str) -> dict[str, Any]:
    return {key: state[key] for key in keys}


def _conv(state: State, numbers: Numbers, children: Children) -> nn.Module:
    if state["padding_mode"] != "zeros":
        raise ValueError("its padding is not of zeros")
    geometry = _geometry(state, "stride", "padding", "dilation")
    return conv_of(numbers["weight"], numbers.get("bias"), int(state["groups"]), **geometry)


def _batch_norm(state: State, numbers: Numbers, children: Children) -> nn.Module:
    # A convolution that takes in an infinite variance is finite, and blind.
    for key, value in numbers.items():
        if not value.isfinite().all():
            raise ValueError(f"the {key} of a batch norm holds NaN or infinity")
    norm = nn.BatchNorm2d(len(numbers["weight"]), eps=float(state["eps"]), device="meta")
    norm.load_state_dict({**numbers, "num_batches_tracked": torch.tensor(0)}, assign=True)
    return norm


# class of torch.nn -> f(attributes, numbers, children)
LAYERS: dict[str, Callable[..., nn.Module]] = {
    "Conv2d": _conv,
    "BatchNorm2d": _batch_norm,
    "MaxPool2d": lambda state, *_: nn.MaxPool2d(
        **_geometry(state, "kernel_size", "stride", "padding", "dilation", "ceil_mode")
    ),
    "Upsample": lambda state, *_: nn.Upsample(**_geometry(state, "scale_factor", "mode")),
    "LeakyReLU": lambda state, *_: nn.LeakyReLU(float(state["negative_slope"])),
    "ZeroPad2d": lambda state, *_: nn.ZeroPad2d(state["padding"]),
    "ReLU": lambda *_: nn.ReLU(),
    "ReLU6": lambda *_: nn.ReLU6(),
    "SiLU": lambda *_: nn.SiLU(),
    "Mish": lambda *_: nn.Mish(),
    "Identity": lambda *_: nn.Identity(),
    "Sequential": lambda state, numbers, children: nn.Sequential(*children.values()),
    "ModuleList": lambda state, numbers, children: nn.ModuleList(children.values()),
}


# The numbers that a block's forward pass needs.
OPTIONS = ("add", "d", "n", "num_heads", "area", "scale")


class Builder:
    """Builds modules from Records."""

    # The number of modules so far.
    count = 0

    def build(self, record: Any, name: str) -> nn.Module:
        """The module of a record, which is called `name` in the network.

        Raises:
            UserError: The record is of an unknown class.
            Exception: It is damaged: whatever a layer's constructor raises.
        """
        self.count += 1
        if self.count > MODULES:
            raise UserError(f"it has more modules than any detector: {FAMILIES}")
        kind = record.name.rsplit(".", 1)[-1]
        state = record.state
        children: dict[str, nn.Module] = {}
        if kind in LAYERS or kind in BLOCKS:
            for key, child in state["_modules"].items():
                # Fusing leaves None behind.
                if child is not None:
                    children[key] = self.build(child, f"{name}.{key}")
        # Parameters and buffers that are None, and counters, are left out.
        numbers: dict[str, Tensor] = {}
        for key, value in {**state["_parameters"], **state["_buffers"]}.items():
            if value is not None and key != "num_batches_tracked":
                numbers[key] = tensor_of(value, f"{name}.{key}")
        if kind in LAYERS:
            return LAYERS[kind](state, numbers, children)
        if "gamma" in numbers:
            # A factor for each channel is a depthwise convolution.
            factors = numbers["gamma"]
            children["gamma"] = conv_of(factors.view(-1, 1, 1, 1), None, len(factors))
        for names in map(str.split, BLOCKS.get(kind, (None, ()))[1]):
            # A fork may have a block of this name that computes something else.
            if set(children) == set(names):
                ordered = {key: children[key] for key in names}
                options = {key: state[key] for key in OPTIONS if key in state}
                if not 0 < options.get("n", 3) <= POOLS:
                    raise ValueError(f"{options['n']} poolings")
                return BLOCKS[kind][0](ordered, options)
        raise UserError(f"node {label(name)!r} ({label(kind)}) is not known here: {FAMILIES}")


# Pixels of the input's side where a checkpoint does not say them.
GUESS = 640
# Classes of heads. Only the boxes of segmentation and pose are read.
HEADS = ("Detect", "v10Detect", "Segment", "Segment26", "Pose", "Pose26")
# The branches of a head for boxes and classes: with anchors; trained to find each object once, of
# networks that have others too; and as all others are.
BRANCHES = (("m",), ("one2one_cv2", "one2one_cv3"), ("cv2", "cv3"))


class RawHeads(nn.Module):
    """The layers of a checkpoint up to the head's last convolutions: one map per stride.

    Args:
        layers: All layers in order, the head last.
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


def read_checkpoint(path: Path, sized: bool = False) -> tuple[Graph, Spec]:
    """Graph and Spec of a detector, without running the file's code or importing its trainer.

    Args:
        path: The file.
        sized: Whether the caller chooses the input size, so that nothing is said of a guess.

    Raises:
        UserError: The file is damaged, or holds a network that is not known here.
    """
    try:
        network, spec = _network_of(read_objects(path), sized)
        return trace(network, torch.zeros(1, 3, spec.height, spec.width)), spec
    except UserError as error:
        raise UserError(f"cannot open {path}: {printable(str(error)[:400])}") from error
    except ERRORS as error:
        raise UserError(f"cannot open {path}: {reason(error):.80}: {FAMILIES}") from error


def _network_of(saved: Any, sized: bool) -> tuple[RawHeads, Spec]:
    """Network and Spec from a checkpoint's content."""
    if isinstance(saved, dict):
        saved = {"model": None, **saved}
        model = saved.get("ema") or saved["model"]
    else:
        model, saved = saved, {}
    if not isinstance(model, Record):
        raise UserError(f"it holds no network, only values: {FAMILIES}")
    state = model.state
    modules = state["_modules"]["model"].state["_modules"]
    *body, (last, head) = modules.items()
    branches = _branches(head, f"model.{last}")
    builder = Builder()
    layers = [builder.build(record, f"model.{key}") for key, record in body]
    parts: dict[str, nn.Module] = {}
    for key in branches:
        parts[key] = builder.build(head.state["_modules"][key], f"model.{last}.{key}")
    if "m" in parts and "nm" in head.state:
        _leave_masks_out(parts["m"], head.state)
    sources = [_sources(record, i) for i, record in enumerate(modules.values())]
    if not isinstance(sources[-1], list):
        sources[-1] = [sources[-1]]
    heads, stride = _heads(head.state, branches, len(sources[-1]))
    size = _input_size(saved, state, stride)
    if size is None and not sized:
        notice(f"this checkpoint does not say its input size, taking {GUESS}; see --imgsz")
    height, width = size or (GUESS, GUESS)
    names = names_of(state["names"], heads[0].classes)
    nms = branches != BRANCHES[1]
    spec = Spec("detect", names, height, width, "letterbox-114", heads, stride=stride, nms=nms)
    return RawHeads([*layers, Head(parts, {})], sources).eval(), spec


def _branches(head: Any, name: str) -> tuple[str, ...]:
    """Find the modules of a head that predict boxes and classes. Raises UserError without them."""
    kind = head.name.rsplit(".", 1)[-1]
    modules = {key for key, value in head.state["_modules"].items() if value is not None}
    for branches in BRANCHES:
        if kind in HEADS and modules.issuperset(branches):
            return branches
    raise UserError(f"node {label(name)!r} ({label(kind)}) is no head known here: {FAMILIES}")


def _leave_masks_out(convs: Any, state: State) -> None:
    """Drop what YOLOv5's segmentation predicts after each box: the coefficients of masks."""
    values = 5 + state["nc"]
    for conv in convs:
        rows = torch.arange(conv.out_channels).unflatten(0, (-1, values + state["nm"]))
        rows = rows[:, :values].flatten()
        conv.weight = nn.Parameter(conv.weight[rows])
        conv.bias = nn.Parameter(conv.bias[rows])
        conv.out_channels = len(rows)


def _sources(record: Any, i: int) -> int | list[int]:
    """Return the layers that the i-th reads. Raises UserError for one that comes later."""
    source = record.state["f"]
    indices = source if isinstance(source, list) else [source]
    if not all(type(k) is int and (k == -1 or -i <= k < i) for k in indices) or not indices:
        raise UserError(f"node 'model.{i}' does not say which layers it reads: {FAMILIES}")
    return source


def _heads(state: State, branches: tuple[str, ...], maps: int) -> tuple[tuple[HeadSpec, ...], int]:
    """Return the HeadSpec of each map, and the stride of the coarsest in pixels."""
    strides = tensor_of(state["stride"], "the head's stride")
    classes = state["nc"]
    # Sizes of images are multiples of STRIDE wherever nothing else is said.
    stride = max(STRIDE, int(strides.max()))
    if branches != BRANCHES[0]:
        return (HeadSpec("yolov8", classes, num=1, bins=state.get("reg_max", 16)),) * maps, stride
    anchors = {**state["_parameters"], **state["_buffers"]}["anchors"]
    sizes = tensor_of(anchors, "the head's anchors") * strides[:, None, None]
    heads: list[HeadSpec] = []
    for pairs in sizes.tolist():
        anchors = tuple((width, height) for width, height in pairs)
        heads.append(HeadSpec("yolov5", classes, num=len(anchors), anchors=anchors, scale=2.0))
    return tuple(heads), stride


def names_of(value: Any, classes: int) -> tuple[str, ...]:
    """Class names from a list or a dict by number. Raises UserError unless each class has one."""
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value, key=int)]
    if not isinstance(value, list | tuple) or len(value) != classes:
        raise UserError(f"it does not name its {classes} classes: give another file")
    return tuple(map(str, value))


def _input_size(saved: State, state: State, stride: int) -> Size | None:
    """Height and width that it was trained at, rounded up to whole strides; None: it says none."""
    size: Any = None
    for options in (saved.get("opt"), saved.get("train_args"), state.get("args")):
        if isinstance(options, Record):
            options = options.state
        if isinstance(options, dict):
            size = options.get("imgsz", size)
    if size is None:
        return None
    if not isinstance(size, list | tuple):
        size = [size]
    sides = [-(-int(float(side)) // stride) * stride for side in (size[0], size[-1])]
    if not all(0 < side <= LARGEST for side in sides):
        raise UserError(f"its input size is none up to {LARGEST} pixels: give --imgsz")
    return sides[0], sides[1]
