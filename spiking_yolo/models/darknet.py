"""Darknet: the .cfg, a list of sections whose names repeat; the network that it describes; and the
.weights, a header and then little-endian float32 arrays in the order of the cfg.
"""

import math
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spiking_yolo.data.images import Resize
from spiking_yolo.errors import UserError, notice
from spiking_yolo.graph import ERRORS, MAX_NUMBERS
from spiking_yolo.graph.modules import PaddedMaxPool2d
from spiking_yolo.io.files import YOLOV3_TINY, read_bytes, read_text, sha256, shipped
from spiking_yolo.io.text import LARGEST, LARGEST_INTEGER, reason
from spiking_yolo.models.spec import HeadSpec, Spec, class_names

HEADS = ("detection", "region", "yolo")


@dataclass(frozen=True)
class Section:
    """One [kind] block of a cfg.

    Attributes:
        kind: Its name.
        index: Its layer number, -1 for [net].
        line: Where it begins.
        options: Values as text, without spaces.
    """

    kind: str
    index: int
    line: int
    options: dict[str, str] = field(default_factory=dict)

    def error(self, problem: str) -> UserError:
        return UserError(f"cfg line {self.line}: layer {self.index} [{self.kind}]: {problem}")

    def integer(self, key: str, default: int = -1, minimum: int = 0) -> int:
        """The integer under `key`. Raises UserError unless it is one in the range."""
        values = self.numbers(key) or [default]
        if len(values) != 1 or not minimum <= values[0] <= LARGEST_INTEGER or values[0] % 1:
            said = self.options.get(key, "")
            raise self.error(f"{key}={said} must be a whole number of at least {minimum}")
        return int(values[0])

    def numbers(self, key: str) -> list[float]:
        """The comma-separated numbers under `key`; empty when it is missing.

        Raises:
            UserError: A number is malformed or not finite.
        """
        # Darknet ignores what follows the digits, such as a comment.
        text = self.options.get(key, "").split("#")[0]
        try:
            values = [float(v) for v in text.split(",") if v]
        except ValueError:
            values = [math.nan]
        if not all(map(math.isfinite, values)):
            raise self.error(f"{key}={text} is not a list of numbers")
        return values


def parse_cfg(text: str) -> list[Section]:
    """Sections in file order: [net], then layers 0, 1, ...

    The first value of a repeated key counts.

    Raises:
        UserError: The text is no cfg; the message has the line number.
    """
    sections: list[Section] = []
    for number, raw in enumerate(text.split("\n"), 1):
        line = "".join(raw.split())
        if not line or line[0] in "#;":
            continue
        key, equals, value = line.partition("=")
        if line[0] == "[" and line[-1] == "]":
            sections.append(Section(line[1:-1], len(sections) - 1, number))
        elif key and equals and sections:
            sections[-1].options.setdefault(key, value)
        else:
            raise UserError(f"cfg line {number}: {line[:40]!r} is neither [section] nor key=value")
    if len(sections) < 2 or [s.kind for s in sections].index("net") != 0:
        raise UserError("cfg: the first section must be [net], and layers must follow")
    return sections


def read_cfg(path: str | Path) -> list[Section]:
    """Parse a .cfg file. Raises UserError naming the file."""
    text = read_text(path, errors="replace")
    try:
        return parse_cfg(text)
    except ValueError as error:
        raise UserError(f"{path} is no darknet cfg: {error}") from error


def head_spec(section: Section) -> HeadSpec:
    """The HeadSpec of a section."""
    softmax = bool(section.integer("softmax", 0))
    if section.kind == "detection":
        return HeadSpec(
            kind="yolov1",
            classes=section.integer("classes", 1, minimum=1),
            num=section.integer("num", 1, minimum=1),
            side=section.integer("side", 7, minimum=1),
            sqrt=bool(section.integer("sqrt", 0)),
            softmax=softmax,
        )
    kind = "yolov3"
    if section.kind == "region":
        kind = "yolov2"
    elif section.integer("new_coords", 0):
        # Scaled-YOLOv4 and YOLOv7: sizes as in YOLOv5.
        kind = "yolov5"
    anchors = tuple(_anchors(section))
    return HeadSpec(
        kind=kind,
        classes=section.integer("classes", 20, minimum=1),
        num=len(anchors),
        anchors=anchors,
        softmax=softmax and kind == "yolov2",
        scale=(section.numbers("scale_x_y") or [1.0])[0],
    )


def _anchors(section: Section) -> list[tuple[float, float]]:
    """The first `num` pairs (w, h) of anchors=, or those of them that mask= names."""
    num = section.integer("num", 1, minimum=1)
    values = section.numbers("anchors")
    anchors = list(zip(values[::2], values[1::2], strict=False))[:num]
    mask = list(map(int, section.numbers("mask")))
    if section.kind == "region" or not mask:
        return anchors
    if not set(mask) <= set(range(len(anchors))):
        said = f"mask={section.options['mask']} points outside the {len(anchors)} anchors"
        raise section.error(said)
    return [anchors[i] for i in mask]


Shape = tuple[int, ...]
# Options that change a layer's meaning, with the value that does not.
NEUTRAL = {
    **dict.fromkeys(["flipped", "binary", "xnor", "antialiasing", "deform", "coordconv"], "0"),
    **dict.fromkeys(["maxpool_depth", "maxpool_zero_nonmax", "background"], "0"),
    **dict.fromkeys(["dilation", "alpha", "beta", "scale"], "1"),
    **dict.fromkeys(["share_index", "stride_x", "stride_y"], ""),
    "weights_type": "none",
    "tree": "",
    "coords": "4",
}
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "leaky": lambda: nn.LeakyReLU(0.1),
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "swish": nn.SiLU,
    "mish": nn.Mish,
}
# Keys that only AlexeyAB's fork has.
FORK_KEYS = {"scale_x_y", "new_coords", "iou_loss", "iou_normalizer", "cls_normalizer", "nms_kind"}
FORK_KEYS |= {"letter_box", "mosaic", "cutmix"}


class Route(nn.Module):
    """A [route]: its inputs, or a slice of the channels of each, one after the other.

    slices: One per input; none takes them whole.
    """

    def __init__(self, slices: Sequence[slice] = ()) -> None:
        super().__init__()
        self.slices = tuple(slices)

    def forward(self, *inputs: Tensor) -> Tensor:
        if self.slices:
            inputs = tuple([x[:, part] for x, part in zip(inputs, self.slices, strict=True)])
        if len(inputs) == 1:
            return inputs[0]
        return torch.cat(inputs, 1)


class Shortcut(nn.Module):
    """A [shortcut]: the sum of its inputs, then its activation."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.act = act

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        for other in others:
            x = x + other
        return self.act(x)


def build_layer(section: Section, inputs: Sequence[Shape]) -> nn.Module:
    """The module of a section.

    Args:
        section: Section of the cfg.
        inputs: Shapes of the maps it reads.

    Raises:
        UserError: The layer is unknown, or has options that are not supported.
    """
    for key, value in NEUTRAL.items():
        if section.options.get(key, value) not in (value, f"{value}.0"):
            raise section.error(f"{key}={section.options[key]} is not supported, only {value!r}")
    match section.kind:
        case "convolutional":
            return _convolutional(section, inputs[0])
        case "connected":
            size = math.prod(inputs[0])
            output = section.integer("output", 1, minimum=1)
            bn = bool(section.integer("batch_normalize", 0))
            parts = {"flatten": nn.Flatten(), "linear": nn.Linear(size, output, bias=not bn)}
            return _activated(section, parts, bn and nn.BatchNorm1d(output, eps=1e-5))
        case "maxpool":
            return _maxpool(section)
        case "upsample":
            return nn.Upsample(scale_factor=section.integer("stride", 2, minimum=1))
        case "route":
            return _route(section, inputs)
        case "shortcut":
            if len(set(inputs)) > 1:
                raise section.error("its inputs differ in shape, which is not supported")
            return Shortcut(_activation(section, "linear") or nn.Identity())
        case "crop":
            size = [section.integer(f"crop_{side}", 1) for side in ("height", "width")]
            # A crop without noadjust also brings pixels to -1..1.
            if size != list(inputs[0][1:]) or not section.integer("noadjust", 0):
                raise section.error("it crops or scales the image, which is not supported")
            return nn.Identity()
        case "dropout" | "cost":
            return nn.Identity()
        case "detection":
            # The head reads the map as a flat vector, channel by channel.
            return nn.Flatten() if len(inputs[0]) > 1 else nn.Identity()
        case "region" | "yolo":
            return nn.Identity()
    raise section.error("this kind of layer cannot be converted; give a detector without it")


def _activation(section: Section, default: str) -> nn.Module | None:
    """The activation of a section; None for a linear one."""
    name = section.options.get("activation", default)
    if name == "linear":
        return None
    if name not in ACTIVATIONS:
        raise section.error(f"activation={name} cannot be converted: use {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


def _activated(section: Section, parts: dict[str, nn.Module], norm: nn.Module | bool) -> nn.Module:
    """The parts, then their batch norm and the activation of the section."""
    if isinstance(norm, nn.Module):
        parts["bn"] = norm
    if act := _activation(section, "logistic"):
        parts["act"] = act
    return nn.Sequential(OrderedDict(parts))


def _convolutional(section: Section, shape: Shape) -> nn.Module:
    filters = section.integer("filters", 1, minimum=1)
    size = section.integer("size", 1, minimum=1)
    stride = section.integer("stride", 1, minimum=1)
    groups = section.integer("groups", 1, minimum=1)
    padding = section.integer("padding", 0)
    if section.integer("pad", 0):
        padding = size // 2
    bn = bool(section.integer("batch_normalize", 0) or section.integer("cbn", 0))
    conv = nn.Conv2d(shape[0], filters, size, stride, padding, groups=groups, bias=not bn)
    return _activated(section, {"conv": conv}, bn and nn.BatchNorm2d(filters, eps=1e-5))


def _maxpool(section: Section) -> nn.Module:
    """`padding` is the total of both sides; half of it, rounded down, goes to the left and top."""
    stride = section.integer("stride", 1, minimum=1)
    size = section.integer("size", stride, minimum=1)
    total = section.integer("padding", size - 1)
    if not total:
        return nn.MaxPool2d(size, stride)
    before = total // 2
    after = total - before
    return PaddedMaxPool2d(size, stride, (before, after, before, after))


def _route(section: Section, inputs: Sequence[Shape]) -> nn.Module:
    groups = section.integer("groups", 1, minimum=1)
    group = section.integer("group_id", 0)
    if group >= groups or any(shape[0] % groups for shape in inputs):
        raise section.error(f"groups={groups} must divide all channels, and group_id be below it")
    if groups == 1:
        return Route()
    slices: list[slice] = []
    for shape in inputs:
        part = shape[0] // groups
        slices.append(slice(group * part, (group + 1) * part))
    return Route(slices)


def sources(section: Section) -> tuple[int, ...]:
    """Indices of the layers that feed this one; -1 is the image.

    Raises:
        UserError: A source is not an earlier layer.
    """
    before = section.index - 1
    keys = {"route": "layers", "shortcut": "from"}
    if section.kind not in keys:
        return (before,)
    key = keys[section.kind]
    indices: list[int] = []
    for i in map(int, section.numbers(key)):
        indices.append(i + section.index if i < 0 else i)
    if not indices or min(indices) < 0 or max(indices) > before:
        raise section.error(f"{key}={section.options.get(key, '')} must name earlier layers")
    if section.kind == "shortcut":
        indices.insert(0, before)
    return tuple(indices)


def _sigmoids_to_decoding(sections: Sequence[Section]) -> tuple[Section, ...]:
    """The layers, where those before a head of new_coords=1 are linear.

    Such a head reads what a convolution with activation=logistic sends. That sigmoid is left to the
    decoding, so that the network ends with a linear layer as all others do.

    Raises:
        UserError: The layer before such a head is another, or is read elsewhere too.
    """
    layers = list(sections)
    readers = Counter(chain.from_iterable(map(sources, sections)))
    for head in sections:
        if head.kind != "yolo" or not head.integer("new_coords", 0):
            continue
        before = layers[head.index - 1]
        logistic = before.options.get("activation", "logistic") == "logistic"
        if not logistic or readers[before.index] > 1:
            raise head.error("new_coords=1 needs a layer with activation=logistic of its own")
        layers[before.index] = replace(before, options={**before.options, "activation": "linear"})
    return tuple(layers)


class DarknetNet(nn.Module):
    """The network of a cfg: [N, 3, H, W] to the input of every head, in cfg order, before any
    sigmoid or softmax. It is on the meta device, without memory, until `read_weights` fills it.

    layers[i] is cfg layer i; shapes[i] is its output shape without the batch axis.

    Args:
        sections: Sections of the cfg, [net] first.

    Raises:
        UserError: A layer is unknown or does not fit; the message names it.
    """

    def __init__(self, sections: Sequence[Section]) -> None:
        super().__init__()
        self.net = net = sections[0]
        self.height = net.integer("height", minimum=1)
        self.width = net.integer("width", minimum=1)
        if max(self.height, self.width) > LARGEST or net.integer("channels", 3) != 3:
            raise net.error(f"height and width can be at most {LARGEST}, and channels must be 3")
        self.sections = _sigmoids_to_decoding(sections[1:])
        self.layers = nn.ModuleList()
        self.shapes: list[Shape] = []
        self.sources: list[tuple[int, ...]] = []
        for section in self.sections:
            indices = sources(section)
            if any(i >= 0 and self.sections[i].kind in HEADS for i in indices):
                raise section.error("no layer can read a head; put a [route] in front")
            inputs: list[Shape] = []
            for i in indices:
                inputs.append(self.shapes[i] if i >= 0 else (3, self.height, self.width))
            try:
                with torch.device("meta"):
                    layer = build_layer(section, inputs).eval()
                    output = layer(*[torch.empty(1, *shape) for shape in inputs])
            except UserError:
                raise
            except ERRORS as error:
                raise section.error(f"it does not fit its input: {reason(error)}") from error
            if not 0 < output.numel() <= MAX_NUMBERS:
                raise section.error(f"a map of {tuple(output.shape[1:])} cannot be computed")
            self.layers.append(layer)
            self.shapes.append(tuple(output.shape[1:]))
            self.sources.append(indices)
        self.head_indices = tuple(s.index for s in self.sections if s.kind in HEADS)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        outputs: dict[int, Tensor] = {-1: x}
        for i, (layer, indices) in enumerate(zip(self.layers, self.sources, strict=True)):
            outputs[i] = layer(*[outputs[k] for k in indices])
        return tuple(map(outputs.__getitem__, self.head_indices))

    def spec(self, names: Sequence[str]) -> Spec:
        """Input size, class names and heads.

        YOLOv1 and AlexeyAB's fork of darknet stretch the image, the fork unless letter_box=1; the
        original darknet letterboxes for v2 and v3. The fork is recognised by keys that the original
        does not have.
        """
        heads: list[HeadSpec] = []
        fork = bool(FORK_KEYS & self.net.options.keys())
        for i in self.head_indices:
            heads.append(head_spec(self.sections[i]))
            fork = fork or bool(FORK_KEYS & self.sections[i].options.keys())
        resize: Resize = "letterbox"
        first = any(head.kind == "yolov1" for head in heads)
        if first or (fork and not self.net.integer("letter_box", 0)):
            resize = "stretch"
        return Spec("detect", tuple(names), self.height, self.width, resize, tuple(heads))


CFG_FOLDER = Path(__file__).parent / "cfg"
WEIGHTS_FOLDER = shipped("weights")
# Files that are also published under other names.
SAME_CFG = {"tiny-yolov1": "yolov1-tiny", "tiny-yolo-voc": "yolov2-tiny-voc"}
NAMES_FILES = {80: "coco.names", 20: "voc.names"}


def arrays(net: DarknetNet) -> list[Tensor]:
    """The arrays of the network's file, in file order: float32 that `read_weights` fills.

    Batch norm precedes a convolution's weights and follows a connected layer's.
    """
    result: list[Tensor] = []
    for layer in net.layers:
        parts: dict[str, Any] = dict(layer.named_children())
        weighted = parts.get("conv", parts.get("linear"))
        if weighted is None:
            continue
        bias, norm = weighted.bias, list[Tensor]()
        if bn := parts.get("bn"):
            bias, norm = bn.bias, [bn.weight, bn.running_mean, bn.running_var]
        result.append(bias)
        if "conv" in parts:
            result += [*norm, weighted.weight]
        else:
            result += [weighted.weight, *norm]
    return [tensor.detach() for tensor in result]


def read_weights(net: DarknetNet, path: str | Path) -> None:
    """Fill a network on the meta device with the parameters and statistics of a file.

    Raises:
        UserError: The file is not darknet's, of another length than the cfg needs, or holds NaN or
            infinity.
    """
    content = read_bytes(path)
    major, minor = struct.unpack_from("<2i", content.ljust(8, b"\0"))
    # Version, then the number of training images in 4 or, from 0.2 on, 8 bytes.
    header = 20 if major * 10 + minor >= 2 else 16
    needed = header + 4 * sum(map(Tensor.numel, arrays(net)))
    if len(content) != needed or not 0 <= max(major, minor) < 1000:
        size = f"{len(content)} bytes, but the cfg needs {needed}"
        raise UserError(f"{path} has {size}: give its own cfg")
    net.to_empty(device="cpu")
    values = torch.from_numpy(np.frombuffer(content, "<f4", offset=header).astype(np.float32))
    # A convolution that takes in an infinite variance is finite, and blind.
    if not values.isfinite().all():
        raise UserError(f"{path} holds NaN or infinity: make or fetch it again")
    offset = 0
    for tensor in arrays(net):
        tensor.copy_(values[offset : offset + tensor.numel()].view(tensor.shape))
        offset += tensor.numel()


def load_darknet(
    weights: str | Path, cfg: str | Path | None = None, names: str | Path | None = None
) -> tuple[DarknetNet, Spec]:
    """Open a darknet network.

    Args:
        weights: The .weights file.
        cfg: Its cfg; by default <stem>.cfg beside the weights, in the package or among its weights.
        names: A file of class names: by default <stem>.names beside the weights, then coco.names or
            voc.names (80 or 20 classes) there or among the weights of the package; without any,
            "class 0", "class 1", ...

    Returns:
        The network in eval mode and its Spec.

    Raises:
        UserError: A file cannot be read, or they do not fit together.
    """
    weights = Path(weights)
    if cfg is None:
        name = f"{SAME_CFG.get(weights.stem, weights.stem)}.cfg"
        places = (weights.with_suffix(".cfg"), CFG_FOLDER / name, WEIGHTS_FOLDER / name)
        cfg = next(filter(Path.is_file, places), None)
    if cfg is None:
        raise UserError(f"{weights} has no cfg: put {weights.stem}.cfg beside it or pass --cfg")
    path = Path(cfg)
    sections = _published_masks(read_cfg(path), weights)
    try:
        net = DarknetNet(sections)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    classes = {head_spec(net.sections[i]).classes for i in net.head_indices}
    if len(classes) != 1:
        raise UserError(f"{path}: it needs [yolo], [region] or [detection], all of as many classes")
    read_weights(net, weights)
    count = classes.pop()
    common: list[Path] = []
    if count in NAMES_FILES:
        common = [folder / NAMES_FILES[count] for folder in (weights.parent, WEIGHTS_FOLDER)]
    return net.eval(), net.spec(class_names(weights, names, count, *common))


def _published_masks(sections: list[Section], weights: Path) -> list[Section]:
    """Give the public yolov3-tiny its own anchors.

    It was trained with mask 1,2,3 on the fine head; the cfg was changed to 0,1,2 later, without new
    weights.
    """
    last = sections[-1]
    if last.kind != "yolo" or last.options.get("mask") != "0,1,2" or sha256(weights) != YOLOV3_TINY:
        return sections
    notice("the public yolov3-tiny.weights were trained with mask=1,2,3; not using the cfg's 0,1,2")
    return [*sections[:-1], replace(last, options={**last.options, "mask": "1,2,3"})]
