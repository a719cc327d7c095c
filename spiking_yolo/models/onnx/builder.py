"""The Graph that an ONNX file becomes, while it grows: nodes, their shapes and their weights."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spiking_yolo.graph import Graph, Node, output_of
from spiking_yolo.io.text import label
from spiking_yolo.models.onnx.file import OnnxModel

# Weight and bias.
Weighted = tuple[Tensor, Tensor]
RESERVED = set(dir(nn.ModuleDict()))


@dataclass(frozen=True)
class Feature:
    """A feature map [1, C, H, W]: the output of a node of the Graph."""

    node: str
    shape: torch.Size

    @property
    def places(self) -> Tensor:
        """The number of each of its values, in its shape."""
        return torch.arange(self.shape.numel()).view(self.shape)


@dataclass(frozen=True)
class Layout:
    """Values of a feature map in another shape or order, times a factor.

    Attributes:
        source: The map.
        index: Which of its values, flattened, stands where.
        scale: The factor.
    """

    source: Feature
    index: Tensor
    scale: float = 1.0


@dataclass(frozen=True)
class Scores:
    """Products of queries and keys, [..., T, T], which become a node once their scale is complete.

    Attributes:
        source: The maps of queries and keys.
        queries, keys: Channels of the source for each head, one after the other.
        leading: Head and area of each matrix, in order.
        tokens: T.
        scale: The factor.
        softmax: The node of their softmax, once there is one.
        transposed: With the queries last.
    """

    source: tuple[Feature, Feature]
    queries: list[int]
    keys: list[int]
    leading: list[tuple[int, int]]
    tokens: int
    scale: float = 1.0
    softmax: str = ""
    transposed: bool = False

    @property
    def heads(self) -> int:
        return max(head for head, _ in self.leading) + 1

    @property
    def areas(self) -> int:
        return len(self.leading) // self.heads


class NoCounterpart(Exception):
    """A node of the file has no counterpart in a Graph."""


def need(fits: bool) -> None:
    """Raise NoCounterpart unless something fits."""
    if not fits:
        raise NoCounterpart


# What is known of a value; a value of any other form has no counterpart.
Value = Tensor | Feature | Layout | Scores


class GraphBuilder:
    """Nodes, in order, and their tensors. model: The file."""

    def __init__(self, model: OnnxModel) -> None:
        self.model = model
        self.nodes: dict[str, Node] = {}
        self.features: dict[str, Feature] = {}
        self.tensors: dict[str, Tensor] = {}
        self._channels: dict[Any, Feature] = {}
        self._repeats: dict[str, int] = {}

    def start(self, name: str, shape: tuple[int, int, int, int]) -> Feature:
        """Add the input."""
        key = self._new_name(name)
        self.nodes[key] = Node(key, "input")
        self.features[key] = Feature(key, torch.Size(shape))
        return self.features[key]

    def emit(
        self, op: str, name: str, *inputs: Feature, weights: Weighted | None = None, **attrs: Any
    ) -> Feature:
        """Add a node.

        Args:
            op: A key of OPS.
            name: Name of the ONNX node, from which its own is made.
            inputs: What it reads.
            weights: Weight and bias.
            attrs: Its attributes.

        Raises:
            UserError: It does not fit its inputs.
        """
        key = self._new_name(name)
        if weights is not None:
            self.tensors[f"{key}.weight"], self.tensors[f"{key}.bias"] = weights
        node = Node(key, op, tuple([feature.node for feature in inputs]), attrs)
        maps = [torch.empty(feature.shape, device="meta") for feature in inputs]
        self.nodes[key] = node
        self.features[key] = Feature(key, output_of(node, weights or (None, None), maps).shape)
        return self.features[key]

    def graph(self, outputs: Sequence[str]) -> Graph:
        """The Graph that computes these nodes."""
        return Graph(tuple(self.nodes.values()), tuple(outputs), self.tensors).up_to(*outputs)

    def _new_name(self, name: str) -> str:
        """A name that is not taken, and that a module of torch can have."""
        base = re.sub(r"\W+", "_", label(name)).strip("_") or "node"
        key = base
        while key in self.nodes or key in RESERVED:
            self._repeats[base] = self._repeats.get(base, 1) + 1
            key = f"{base}_{self._repeats[base]}"
        return key

    def feature(self, value: Value | None) -> Feature:
        """A value as a feature map. Raises NoCounterpart if it is none, nor channels of one."""
        if isinstance(value, Feature):
            return value
        if not isinstance(value, Layout):
            raise NoCounterpart
        source, index = value.source, value.index
        need(index.ndim == 4 and index.shape[2:] == source.shape[2:] and len(index) == 1)
        cells = source.shape[2] * source.shape[3]
        rows = index[0, :, 0, 0] // cells
        whole = cells * rows[:, None, None] + torch.arange(cells).view(index.shape[2:])
        need(torch.equal(index[0], whole))
        return self.channels(source, rows.tolist(), value.scale)

    def channels(self, source: Feature, rows: list[int], scale: float = 1.0) -> Feature:
        """Channels of a map, times a factor.

        Channels of a convolution become one of their own, so that neurons behind it have a
        threshold of their own. Raises NoCounterpart where that cannot be done.
        """
        if rows == list(range(source.shape[1])) and scale == 1:
            return source
        key = (source.node, tuple(rows), scale)
        if key in self._channels:
            return self._channels[key]
        node = self.nodes[source.node]
        name = f"{source.node}_{rows[0]}"
        if node.op == "conv" and node.attrs["groups"] == 1:
            weight = self.tensors[f"{source.node}.weight"]
            bias = self.tensors[f"{source.node}.bias"]
            own = weight[rows] * scale, bias[rows] * scale
            read = self.features[node.inputs[0]]
            self._channels[key] = self.emit("conv", name, read, weights=own, **node.attrs)
        elif rows == list(range(rows[0], rows[0] + len(rows))) and scale == 1:
            parts = [[rows[0], rows[0] + len(rows), 1]]
            self._channels[key] = self.emit("slice", name, source, slices=parts)
        else:
            raise NoCounterpart
        return self._channels[key]
