"""A darknet cfg as a torch module."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from spiking_yolo.errors import UserError
from spiking_yolo.graph.node_shapes import MOST
from spiking_yolo.io.sizes import LARGEST
from spiking_yolo.models.darknet_cfg import Section
from spiking_yolo.models.darknet_heads import FORK_KEYS, FORK_NET_KEYS, HEADS, head_spec
from spiking_yolo.models.darknet_layers import IGNORED, Shape, build_layer, sources
from spiking_yolo.models.spec import Spec


class DarknetNet(nn.Module):
    """The network of a cfg: [N, 3, H, W] to the input of every head, in cfg order, before any sigmoid or softmax.

    layers[i] is cfg layer i; shapes[i] is its output shape without the batch axis. Raises UserError,
    naming the layer, for one that is unknown or does not fit.
    """

    def __init__(self, sections: Sequence[Section]) -> None:
        super().__init__()
        self.net = net = sections[0]
        self.height, self.width = net.integer("height", minimum=1), net.integer("width", minimum=1)
        if max(self.height, self.width) > LARGEST:
            raise net.error(f"height and width can be at most {LARGEST}")
        if net.integer("channels", 3) != 3:
            raise net.error("only channels=3 (RGB) is supported")
        self.sections = tuple(sections[1:])
        self.layers = nn.ModuleList()
        self.shapes: list[Shape] = []
        self.sources: list[tuple[int, ...]] = []
        for section in self.sections:
            given = sources(section)
            inputs = [self.shapes[i] if i >= 0 else (3, self.height, self.width) for i in given]
            if not inputs[0][1:] and section.kind not in ("connected", "detection", *IGNORED):
                raise section.error("cannot follow a [connected] layer")
            layer, shape = build_layer(section, inputs)
            if math.prod(shape) > MOST:
                raise section.error(f"a map of {shape} has more than {MOST} numbers; make the network smaller")
            if min(shape) < 1:
                raise section.error(f"the map shrinks to nothing; enlarge width and height of [net] ({self.width})")
            self.layers.append(layer)
            self.shapes.append(shape)
            self.sources.append(given)
        self.head_indices = tuple(s.index for s in self.sections if s.kind in HEADS)
        if not self.head_indices:
            raise UserError("cfg: there is no [yolo], [region] or [detection] section; a detector needs one")

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        outputs: dict[int, Tensor] = {-1: x}
        for i, (layer, given) in enumerate(zip(self.layers, self.sources, strict=True)):
            outputs[i] = layer(*(outputs[s] for s in given))
        return tuple(outputs[i] for i in self.head_indices)

    def spec(self, names: Sequence[str]) -> Spec:
        """Input size, class names and heads.

        YOLOv1 and AlexeyAB's fork of darknet stretch the image, the fork unless letter_box=1; the original darknet
        letterboxes for v2 and v3. The fork is known by keys that the original does not have.
        """
        heads = tuple(head_spec(self.sections[i]) for i in self.head_indices)
        known = [FORK_NET_KEYS & self.net.options.keys()]
        forked = any(known + [FORK_KEYS & self.sections[i].options.keys() for i in self.head_indices])
        stretches = any(h.kind == "yolov1" for h in heads) or (forked and not self.net.integer("letter_box", 0))
        return Spec("detect", tuple(names), self.height, self.width, "stretch" if stretches else "letterbox", heads)
