"""The network of a darknet cfg: its layers, which of them reads which, and its interface."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from torch import Tensor, nn

from spiking_yolo.data.images import Resize
from spiking_yolo.errors import UserError
from spiking_yolo.graph.validate import MAX_NUMBERS
from spiking_yolo.io.names import LARGEST
from spiking_yolo.models.darknet_cfg import FORK_KEYS, FORK_NET_KEYS, HEADS, Section, head_spec
from spiking_yolo.models.darknet_layers import IGNORED, Shape, build_layer
from spiking_yolo.models.spec import HeadSpec, Spec


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
        if head.kind != "yolo" or not head.number("new_coords", 0.0):
            continue
        index = head.index - 1
        before = layers[index] if index >= 0 else head
        activation = before.options.get("activation", "logistic")
        if before.kind != "convolutional" or activation != "logistic":
            raise head.error(
                "new_coords=1 needs a [convolutional] with activation=logistic in front of it"
            )
        if readers[index] > 1:
            raise before.error(
                f"activation=logistic is supported for layer {head.index} [yolo] alone; let no"
                " other layer read this one"
            )
        layers[index] = replace(before, options={**before.options, "activation": "linear"})
    return tuple(layers)


class DarknetNet(nn.Module):
    """The network of a cfg: [N, 3, H, W] to the input of every head, in cfg order, before any
    sigmoid or softmax.

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
        if max(self.height, self.width) > LARGEST:
            raise net.error(f"height and width can be at most {LARGEST}")
        if net.integer("channels", 3) != 3:
            raise net.error("only channels=3 (RGB) is supported")
        self.sections = _sigmoids_to_decoding(sections[1:])
        self.layers = nn.ModuleList()
        self.shapes: list[Shape] = []
        self.sources: list[tuple[int, ...]] = []
        for section in self.sections:
            indices = sources(section)
            self._refuse_heads(section, indices)
            inputs: list[Shape] = []
            for i in indices:
                inputs.append(self.shapes[i] if i >= 0 else (3, self.height, self.width))
            if not inputs[0][1:] and section.kind not in ("connected", "detection", *IGNORED):
                raise section.error("cannot follow a [connected] layer")
            layer, shape = build_layer(section, inputs)
            if math.prod(shape) > MAX_NUMBERS:
                raise section.error(
                    f"a map of {shape} has more than {MAX_NUMBERS} numbers;"
                    " make the network smaller"
                )
            if min(shape) < 1:
                raise section.error(
                    f"the map shrinks to nothing; enlarge width and height of [net] ({self.width})"
                )
            self.layers.append(layer)
            self.shapes.append(shape)
            self.sources.append(indices)
        self.head_indices = tuple(s.index for s in self.sections if s.kind in HEADS)
        if not self.head_indices:
            raise UserError(
                "cfg: there is no [yolo], [region] or [detection] section; a detector needs one"
            )

    def _refuse_heads(self, section: Section, indices: tuple[int, ...]) -> None:
        """Raise UserError for a layer that reads a head, behind which darknet has sigmoids."""
        for i in indices:
            if i >= 0 and self.sections[i].kind in HEADS and section.kind not in IGNORED:
                raise section.error(
                    f"layer {i} [{self.sections[i].kind}] is a head, which no layer can read; put"
                    " a [route] to another layer in front"
                )

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
        fork = bool(FORK_NET_KEYS & self.net.options.keys())
        stretch = False
        for i in self.head_indices:
            head = head_spec(self.sections[i])
            heads.append(head)
            fork = fork or bool(FORK_KEYS & self.sections[i].options.keys())
            stretch = stretch or head.kind == "yolov1"
        if fork and not stretch and not self.net.integer("letter_box", 0):
            stretch = True
        resize: Resize = "letterbox"
        if stretch:
            resize = "stretch"
        return Spec("detect", tuple(names), self.height, self.width, resize, tuple(heads))
