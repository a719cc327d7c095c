"""A darknet cfg as a torch module."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from spiking_yolo.errors import UserError
from spiking_yolo.graph.modules import PaddedMaxPool2d
from spiking_yolo.models.darknet_cfg import Section
from spiking_yolo.models.darknet_heads import HEADS, head_spec
from spiking_yolo.models.spec import Spec

Shape = tuple[int, ...]
IGNORED = ("dropout", "cost", "crop")
# Options that change a layer's meaning, with the value that does not.
NEUTRAL = {
    "convolutional": {"flipped": 0, "binary": 0, "xnor": 0, "dilation": 1, "antialiasing": 0},
    "maxpool": {"maxpool_depth": 0, "antialiasing": 0},
    "route": {"groups": 1, "group_id": 0},
    "upsample": {"scale": 1},
}


class DarknetNet(nn.Module):
    """The network of a cfg: [N, 3, H, W] to the input of every head, in cfg order, before any sigmoid or softmax.

    layers[i] is cfg layer i; shapes[i] is its output shape without the batch axis. activation: "relu" puts a ReLU
    wherever the cfg says leaky. Raises UserError, naming the layer, for one that is unknown or does not fit.
    """

    def __init__(self, sections: Sequence[Section], activation: Literal["relu"] | None = None) -> None:
        super().__init__()
        net = sections[0]
        self.height, self.width = net.integer("height", minimum=1), net.integer("width", minimum=1)
        if net.integer("channels", 3) != 3:
            raise net.error("only channels=3 (RGB) is supported")
        self.sections = tuple(sections[1:])
        self.layers = nn.ModuleList()
        self.shapes: list[Shape] = []
        self.sources: list[tuple[int, ...]] = []
        for section in self.sections:
            sources = _sources(section)
            inputs = [self.shapes[i] if i >= 0 else (3, self.height, self.width) for i in sources]
            if not inputs[0][1:] and section.kind not in ("connected", "detection", *IGNORED):
                raise section.error("cannot follow a [connected] layer")
            layer, shape = _build(section, inputs, activation)
            if min(shape) < 1:
                raise section.error(f"the map shrinks to nothing; enlarge width and height of [net] ({self.width})")
            self.layers.append(layer)
            self.shapes.append(shape)
            self.sources.append(sources)
        self.head_indices = tuple(s.index for s in self.sections if s.kind in HEADS)
        if not self.head_indices:
            raise UserError("cfg: there is no [yolo], [region] or [detection] section; a detector needs one")
        self._last_use = {i: layer for layer, s in enumerate(self.sources) for i in s}

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        outputs: dict[int, Tensor] = {-1: x}
        for i, (layer, sources) in enumerate(zip(self.layers, self.sources, strict=True)):
            inputs = [outputs[s] for s in sources]
            for s in set(sources):
                if self._last_use[s] == i and s not in self.head_indices:
                    del outputs[s]
            outputs[i] = layer(inputs[0] if len(inputs) == 1 else torch.cat(inputs, 1))
        return tuple(outputs[i] for i in self.head_indices)

    def spec(self, names: Sequence[str]) -> Spec:
        """Input size, class names and heads. YOLOv1 stretches the image; v2 and v3 letterbox it."""
        heads = tuple(head_spec(self.sections[i]) for i in self.head_indices)
        resize = "stretch" if any(h.kind == "yolov1" for h in heads) else "letterbox"
        return Spec("detect", tuple(names), self.height, self.width, resize, heads)


def _sources(section: Section) -> tuple[int, ...]:
    """Indices of the layers that feed this one; -1 is the image."""
    if section.kind != "route":
        return (section.index - 1,)
    layers = section.integers("layers")
    sources = tuple(section.index + i if i < 0 else i for i in layers)
    if not sources or not all(0 <= i < section.index for i in sources):
        raise section.error(f"layers={section.options.get('layers', '')} must name earlier layers")
    return sources


def _build(section: Section, inputs: list[Shape], override: str | None) -> tuple[nn.Module, Shape]:
    for key, neutral in NEUTRAL.get(section.kind, {}).items():
        if section.options.get(key, str(neutral)) not in (str(neutral), f"{neutral}.0"):
            raise section.error(f"{key}={section.options[key]} is not supported")
    shape = inputs[0]
    match section.kind:
        case "convolutional":
            return _convolutional(section, shape, override)
        case "connected":
            return _connected(section, shape, override)
        case "maxpool":
            return _maxpool(section, shape)
        case "upsample":
            stride = section.integer("stride", 2, minimum=1)
            return nn.Upsample(scale_factor=stride), (shape[0], shape[1] * stride, shape[2] * stride)
        case "route":
            if len({s[1:] for s in inputs}) > 1:
                raise section.error(f"the layers to join differ in height or width: {inputs}")
            return nn.Identity(), (sum(s[0] for s in inputs), *shape[1:])
        case kind if kind in IGNORED:
            return nn.Identity(), shape
        case kind if kind in HEADS:
            return _head(section, shape)
    raise section.error("this kind of layer is not supported")


def _block(section: Section, parts: dict[str, nn.Module], norm: nn.Module | None, override: str | None) -> nn.Module:
    """The parts, then batch norm, then the activation of the section."""
    if norm is not None:
        parts["bn"] = norm
    name = section.options.get("activation", "logistic")
    match override if name == "leaky" and override else name:
        case "leaky":
            parts["act"] = nn.LeakyReLU(0.1)
        case "relu":
            parts["act"] = nn.ReLU()
        case "linear":
            pass
        case _:
            raise section.error(f"activation={name} is not supported; use leaky, relu or linear")
    return nn.Sequential(OrderedDict(parts))


def _convolutional(section: Section, shape: Shape, override: str | None) -> tuple[nn.Module, Shape]:
    filters, size, stride, groups = (
        section.integer(key, 1, minimum=1) for key in ("filters", "size", "stride", "groups")
    )
    padding = size // 2 if section.integer("pad", 0) else section.integer("padding", 0)
    if shape[0] % groups or filters % groups:
        raise section.error(f"groups={groups} must divide {shape[0]} inputs and filters={filters}")
    bn = bool(section.integer("batch_normalize", 0))
    conv = nn.Conv2d(shape[0], filters, size, stride, padding, groups=groups, bias=not bn)
    block = _block(section, {"conv": conv}, nn.BatchNorm2d(filters, eps=1e-5) if bn else None, override)
    height, width = ((side + 2 * padding - size) // stride + 1 for side in shape[1:])
    return block, (filters, height, width)


def _connected(section: Section, shape: Shape, override: str | None) -> tuple[nn.Module, Shape]:
    output = section.integer("output", 1, minimum=1)
    bn = bool(section.integer("batch_normalize", 0))
    parts = {"flatten": nn.Flatten(), "linear": nn.Linear(math.prod(shape), output, bias=not bn)}
    return _block(section, parts, nn.BatchNorm1d(output, eps=1e-5) if bn else None, override), (output,)


def _maxpool(section: Section, shape: Shape) -> tuple[nn.Module, Shape]:
    """`padding` is the total of both sides; half of it, rounded down, goes to the left and top."""
    stride = section.integer("stride", 1, minimum=1)
    size = section.integer("size", stride, minimum=1)
    total = section.integer("padding", size - 1)
    before, after = total // 2, total - total // 2
    pads = (before, after, before, after)
    layer = PaddedMaxPool2d(size, stride, pads) if total else nn.MaxPool2d(size, stride)
    height, width = ((side + total - size) // stride + 1 for side in shape[1:])
    return layer, (shape[0], height, width)


def _head(section: Section, shape: Shape) -> tuple[nn.Module, Shape]:
    head = head_spec(section)
    wanted = (head.side**2 * head.values,) if head.kind == "yolov1" else (head.values, *shape[1:])
    if math.prod(wanted) != math.prod(shape):
        raise section.error(f"classes={head.classes} and {head.num} boxes need an input of {wanted}, not {shape}")
    # A [detection] fed by a convolution reads the map as a flat vector, channel by channel.
    return nn.Flatten() if wanted != shape else nn.Identity(), wanted
