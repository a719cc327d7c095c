"""The Graph that an ONNX file becomes, while it grows: nodes, their shapes and their weights."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
        queries, keys: By head, the channels of the source, one after the other.
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


# Only the names of other values of a file are known.
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

    def feature(self, value: Value | None) -> Feature | None:
        """A value as a feature map; None if it is none, nor channels of one."""
        if isinstance(value, Feature):
            return value
        if not isinstance(value, Layout):
            return None
        source = value.source
        index = value.index
        if index.ndim != 4 or index.shape[2:] != source.shape[2:] or len(index) != 1:
            return None
        cells = source.shape[2] * source.shape[3]
        rows = index[0, :, 0, 0] // cells
        whole = cells * rows[:, None, None] + torch.arange(cells).view(index.shape[2:])
        if not torch.equal(index[0], whole):
            return None
        return self.channels(source, rows.tolist(), value.scale)

    def channels(self, source: Feature, rows: list[int], scale: float = 1.0) -> Feature | None:
        """Channels of a map, times a factor.

        Channels of a convolution become one of their own, so that neurons behind it have a
        threshold of their own. None where that cannot be done.
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
            return None
        return self._channels[key]


# Heads times areas, at most.
MATRICES = 1024
# Matrices of one layout: channels [L, D] and positions [L, T].
Matrices = tuple[Tensor, Tensor]


def scores_of(left: Value, right: Value) -> Scores | None:
    """Scores of queries [..., T, D] and keys [..., D, T]; None: they are no such thing."""
    if not (isinstance(left, Layout) and isinstance(right, Layout)):
        return None
    queries = _matrices(left, left.index)
    keys = _matrices(right, right.index.transpose(-1, -2))
    if queries is None or keys is None:
        return None
    leading = _heads_and_areas(*queries)
    if leading is None or not torch.equal(queries[1], keys[1]):
        return None
    rows = _rows(queries, leading)
    key_rows = _rows(keys, leading)
    if rows is None or key_rows is None:
        return None
    tokens = queries[1].shape[1]
    sources = left.source, right.source
    return Scores(sources, rows, key_rows, leading, tokens, left.scale * right.scale)


def _matrices(layout: Layout, index: Tensor) -> Matrices | None:
    """Channel of every column and position of every row of matrices [..., T, D]."""
    if index.ndim < 3 or not index.numel():
        return None
    index = index.reshape(-1, *index.shape[-2:])
    if len(index) > MATRICES:
        return None
    cells = layout.source.shape[-2] * layout.source.shape[-1]
    channels = index[:, 0] // cells
    positions = index[:, :, 0] % cells
    if not torch.equal(index, positions[:, :, None] + cells * channels[:, None]):
        return None
    return channels, positions


def _heads_and_areas(channels: Tensor, positions: Tensor) -> list[tuple[int, int]] | None:
    """Head and area of each matrix; None unless there is one matrix for each pair of them."""
    heads: dict[tuple[int, ...], int] = {}
    leading: list[tuple[int, int]] = []
    tokens = positions.shape[1]
    for rows, places in zip(channels.tolist(), positions, strict=True):
        first = int(places[0])
        run = torch.arange(first, first + tokens, dtype=places.dtype)
        if first % tokens or not torch.equal(places, run):
            return None
        head = heads.setdefault(tuple(rows), len(heads))
        leading.append((head, first // tokens))
    areas = max(area for _, area in leading) + 1
    if len(set(leading)) < len(leading) or len(leading) != len(heads) * areas:
        return None
    return leading


def _rows(matrices: Matrices, leading: list[tuple[int, int]]) -> list[int] | None:
    """The channels of all heads, in order; None if those of a head differ from area to area."""
    of_head: dict[int, list[int]] = {}
    for (head, _), rows in zip(leading, matrices[0].tolist(), strict=True):
        if of_head.setdefault(head, rows) != rows:
            return None
    every: list[int] = []
    for head in sorted(of_head):
        every += of_head[head]
    return every


def softmax_of(builder: GraphBuilder, scores: Scores, name: str) -> Scores | None:
    """Scores and their softmax as nodes; None where the channels cannot be had."""
    query = builder.channels(scores.source[0], scores.queries, scores.scale)
    key = builder.channels(scores.source[1], scores.keys)
    if query is None or key is None:
        return None
    attrs: dict[str, Any] = {"heads": scores.heads, "areas": scores.areas}
    products = builder.emit("attention_scores", f"{name}_scores", query, key, **attrs)
    weights = builder.emit("activation", name, products, softmax=True)
    return replace(scores, softmax=weights.node)


def attended(builder: GraphBuilder, left: Value, right: Value, name: str) -> Layout | None:
    """weights [..., T, T] times values [..., T, D], or both transposed and the other way round."""
    turned = isinstance(right, Scores)
    weights, values = left, right
    if turned:
        weights, values = right, left
    if not (isinstance(weights, Scores) and isinstance(values, Layout)):
        return None
    if not weights.softmax or weights.transposed != turned or values.scale != 1:
        return None
    index = values.index
    if turned:
        index = index.transpose(-1, -2)
    matrices = _matrices(values, index)
    tokens = weights.tokens
    firsts = torch.tensor([[area * tokens] for _, area in weights.leading])
    if matrices is None or not torch.equal(matrices[1], firsts + torch.arange(tokens)):
        return None
    rows = _rows(matrices, weights.leading)
    if rows is None:
        return None
    value = builder.channels(values.source, rows)
    if value is None:
        return None
    heads, areas = weights.heads, weights.areas
    softmax = builder.features[weights.softmax]
    output = builder.emit("attend", name, softmax, value, heads=heads, areas=areas)
    by_head = output.places.view(heads, -1, areas, tokens)
    parts = [by_head[head, :, area].T for head, area in weights.leading]
    places = torch.stack(parts).view(index.shape)
    if turned:
        places = places.transpose(-1, -2)
    return Layout(output, places)


def rearranged(scores: Scores, order: list[int], side: int) -> Scores | None:
    """Scores of another shape: axes before the last two joined or split, or these two exchanged.

    Args:
        scores: What is rearranged.
        order: Order of the axes, if it transposes them; else empty.
        side: The last of the new shape.
    """
    if not order and side == scores.tokens and not scores.transposed:
        return scores
    last = len(order) - 1
    if order and scores.softmax and order == [*range(last - 1), last, last - 1]:
        return replace(scores, transposed=not scores.transposed)
    return None
