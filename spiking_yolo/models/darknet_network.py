"""The network of a darknet cfg: its layers, which of them reads which, and its interface."""

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor, nn

from spiking_yolo.data.images import Resize
from spiking_yolo.errors import UserError
from spiking_yolo.graph.modules import PaddedMaxPool2d
from spiking_yolo.graph.validate import ERRORS, MAX_NUMBERS
from spiking_yolo.io.names import LARGEST, reason
from spiking_yolo.models.darknet_cfg import HEADS, Section, head_spec
from spiking_yolo.models.spec import HeadSpec, Spec

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
# Keys of AlexeyAB's fork alone.
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
            return _with_activation(section, parts, bn and nn.BatchNorm1d(output, eps=1e-5))
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
        case "dropout" | "cost" | "crop":
            return nn.Identity()
        case "detection":
            # It reads the map as a flat vector, channel by channel.
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
        raise section.error(
            f"activation={name} cannot be converted; fine-tune it with {', '.join(ACTIVATIONS)}"
        )
    return ACTIVATIONS[name]()


def _with_activation(
    section: Section, parts: dict[str, nn.Module], norm: nn.Module | bool
) -> nn.Module:
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
    return _with_activation(section, {"conv": conv}, bn and nn.BatchNorm2d(filters, eps=1e-5))


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
    for i in section.integers(key):
        if i < 0:
            i += section.index
        indices.append(i)
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
        linear = {**before.options, "activation": "linear"}
        layers[before.index] = replace(before, options=linear)
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
            self._add(section, inputs)
            self.sources.append(indices)
        self.head_indices = tuple(s.index for s in self.sections if s.kind in HEADS)

    def _add(self, section: Section, inputs: Sequence[Shape]) -> None:
        """Build a layer. PyTorch says whether its inputs fit, and the shape of its output."""
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
