"""One layer of a darknet cfg: the module of a section, and the shape of its output."""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from spiking_yolo.graph.modules import PaddedMaxPool2d
from spiking_yolo.graph.validate import MAX_NUMBERS
from spiking_yolo.models.darknet_cfg import HEADS, Section, head_spec

Shape = tuple[int, ...]
IGNORED = ("dropout", "cost")
# Options that change a layer's meaning, with the value that does not.
NEUTRAL = {
    "convolutional": {
        "flipped": "0",
        "binary": "0",
        "xnor": "0",
        "antialiasing": "0",
        "deform": "0",
        "coordconv": "0",
        "dilation": "1",
        "share_index": "",
    },
    "maxpool": {"maxpool_depth": "0", "antialiasing": "0", "maxpool_zero_nonmax": "0"},
    "shortcut": {"weights_type": "none", "alpha": "1", "beta": "1"},
    "upsample": {"scale": "1"},
}
KINDS = ("convolutional", "connected", "maxpool", "upsample", "route", "shortcut", "crop")
KINDS += IGNORED + HEADS
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "leaky": lambda: nn.LeakyReLU(0.1),
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "swish": nn.SiLU,
    "mish": nn.Mish,
}


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
    """A [shortcut]: the sum of its inputs, then its activation.

    The output has the channels of the first input. Of another, those that both have are added.

    Args:
        channels: Channels of each input.
        act: The activation.
    """

    def __init__(self, channels: Sequence[int], act: nn.Module) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.act = act

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        own = self.channels[0]
        for other, channels in zip(others, self.channels[1:], strict=True):
            if channels < own:
                x = torch.cat([x[:, :channels] + other, x[:, channels:]], 1)
            elif channels > own:
                x = x + other[:, :own]
            else:
                x = x + other
        return self.act(x)


def build_layer(section: Section, inputs: list[Shape]) -> tuple[nn.Module, Shape]:
    """The module of a section, and the shape of its output without the batch axis.

    Args:
        section: Section of the cfg.
        inputs: Shapes of the maps it reads.

    Raises:
        UserError: The layer is unknown, or does not fit its inputs; the message names it.
    """
    _refuse_options(section)
    shape = inputs[0]
    match section.kind:
        case "convolutional":
            return _convolutional(section, shape)
        case "connected":
            return _connected(section, shape)
        case "maxpool":
            return _maxpool(section, shape)
        case "upsample":
            stride = section.integer("stride", 2, minimum=1)
            output = (shape[0], shape[1] * stride, shape[2] * stride)
            return nn.Upsample(scale_factor=stride), output
        case "route":
            return _route(section, inputs)
        case "shortcut":
            return _shortcut(section, inputs)
        case "crop":
            return _crop(section, shape)
        case kind if kind in IGNORED:
            return nn.Identity(), shape
        case kind if kind in HEADS:
            return _head(section, shape)
    raise section.error(
        f"this kind of layer cannot be converted; train a network of {', '.join(KINDS)}"
    )


def _refuse_options(section: Section) -> None:
    """Raise UserError for an option that would change the layer's meaning."""
    stride = section.options.get("stride", "1")
    neutral = {"stride_x": stride, "stride_y": stride, **NEUTRAL.get(section.kind, {})}
    for key, value in neutral.items():
        if section.options.get(key, value) not in (value, f"{value}.0"):
            way = "without it"
            if value:
                way = f"with {key}={value}"
            raise section.error(
                f"{key}={section.options[key]} is not supported; use a network trained {way}"
            )


def _activation(section: Section, default: str) -> nn.Module | None:
    """The activation of a section; None for a linear one."""
    name = section.options.get("activation", default)
    if name == "linear":
        return None
    if name not in ACTIVATIONS:
        raise section.error(
            f"activation={name} cannot be converted; use linear, {', '.join(ACTIVATIONS)}, or"
            " fine-tune the network with one of them"
        )
    return ACTIVATIONS[name]()


def _route(section: Section, inputs: list[Shape]) -> tuple[nn.Module, Shape]:
    if len({shape[1:] for shape in inputs}) > 1:
        raise section.error(
            f"the layers to join differ in height or width, {inputs}: name others in layers="
        )
    groups = section.integer("groups", 1, minimum=1)
    group = section.integer("group_id", 0)
    if group >= groups:
        raise section.error(
            f"group_id={group} is not one of groups={groups}: it must be at most {groups - 1}"
        )
    slices: list[slice] = []
    channels = 0
    for shape in inputs:
        if shape[0] % groups:
            raise section.error(
                f"groups={groups} must divide the {shape[0]} channels of every layer in layers="
            )
        part = shape[0] // groups
        slices.append(slice(group * part, (group + 1) * part))
        channels += part
    return Route(slices if groups > 1 else ()), (channels, *inputs[0][1:])


def _shortcut(section: Section, inputs: list[Shape]) -> tuple[nn.Module, Shape]:
    if len({shape[1:] for shape in inputs}) > 1:
        raise section.error(
            f"the layers to add differ in height or width, {inputs}: name others in from="
        )
    act = _activation(section, "linear") or nn.Identity()
    return Shortcut([shape[0] for shape in inputs], act), inputs[0]


def _crop(section: Section, shape: Shape) -> tuple[nn.Module, Shape]:
    """Only the crop that changes nothing, as in published cfgs, is supported."""
    if (section.integer("crop_height", 1), section.integer("crop_width", 1)) != shape[1:]:
        raise section.error(
            f"a crop must be of the whole map, {shape[1]} x {shape[2]}; change width and height"
        )
    if not section.integer("noadjust", 0):
        raise section.error(
            "without noadjust=1 values are rescaled, which is not supported; use another network"
        )
    return nn.Identity(), shape


def _with_activation(section: Section, parts: dict[str, nn.Module]) -> nn.Module:
    """The parts, then the activation of the section."""
    if act := _activation(section, "logistic"):
        parts["act"] = act
    return nn.Sequential(OrderedDict(parts))


def _convolutional(section: Section, shape: Shape) -> tuple[nn.Module, Shape]:
    filters = section.integer("filters", 1, minimum=1)
    size = section.integer("size", 1, minimum=1)
    stride = section.integer("stride", 1, minimum=1)
    groups = section.integer("groups", 1, minimum=1)
    padding = section.integer("padding", 0)
    if section.integer("pad", 0):
        padding = size // 2
    if shape[0] % groups or filters % groups:
        raise section.error(
            f"groups={groups} must divide {shape[0]} inputs and filters={filters}; change one of"
            " them"
        )
    _bounded(section, filters * shape[0] // groups * size**2)
    bn = bool(section.integer("batch_normalize", 0) or section.integer("cbn", 0))
    conv = nn.Conv2d(shape[0], filters, size, stride, padding, groups=groups, bias=not bn)
    parts: dict[str, nn.Module] = {"conv": conv}
    if bn:
        parts["bn"] = nn.BatchNorm2d(filters, eps=1e-5)
    block = _with_activation(section, parts)
    height = (shape[1] + 2 * padding - size) // stride + 1
    width = (shape[2] + 2 * padding - size) // stride + 1
    return block, (filters, height, width)


def _connected(section: Section, shape: Shape) -> tuple[nn.Module, Shape]:
    output = section.integer("output", 1, minimum=1)
    _bounded(section, output * math.prod(shape))
    bn = bool(section.integer("batch_normalize", 0))
    linear = nn.Linear(math.prod(shape), output, bias=not bn)
    parts: dict[str, nn.Module] = {"flatten": nn.Flatten(), "linear": linear}
    if bn:
        parts["bn"] = nn.BatchNorm1d(output, eps=1e-5)
    return _with_activation(section, parts), (output,)


def _bounded(section: Section, weights: int) -> None:
    if weights > MAX_NUMBERS:
        raise section.error(
            f"{weights} weights are more than {MAX_NUMBERS}; make the layer smaller"
        )


def _maxpool(section: Section, shape: Shape) -> tuple[nn.Module, Shape]:
    """`padding` is the total of both sides; half of it, rounded down, goes to the left and top."""
    stride = section.integer("stride", 1, minimum=1)
    size = section.integer("size", stride, minimum=1)
    total = section.integer("padding", size - 1)
    before = total // 2
    after = total - before
    layer: nn.Module = nn.MaxPool2d(size, stride)
    if total:
        layer = PaddedMaxPool2d(size, stride, (before, after, before, after))
    height = (shape[1] + total - size) // stride + 1
    width = (shape[2] + total - size) // stride + 1
    return layer, (shape[0], height, width)


def _head(section: Section, shape: Shape) -> tuple[nn.Module, Shape]:
    head = head_spec(section)
    values = (head.values, *shape[1:])
    if head.kind == "yolov1":
        values = (head.side**2 * head.values,)
    if math.prod(values) != math.prod(shape):
        raise section.error(
            f"classes={head.classes} and {head.num} boxes need an input of {values}, not {shape}"
        )
    # A [detection] fed by a convolution reads the map as a flat vector, channel by channel.
    if values != shape:
        return nn.Flatten(), values
    return nn.Identity(), values
