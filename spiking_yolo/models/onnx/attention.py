"""Attention in ONNX files, however its exporter moves the axes.

Queries, keys and values are parts of feature maps in another layout. From the places of their
values in these maps follow heads, areas and channels; see `graph.attention` for what these are.
"""

from dataclasses import replace

import torch
from torch import Tensor

from spiking_yolo.models.onnx.builder import GraphBuilder
from spiking_yolo.models.onnx.values import Layout, Scores, Value, Weights

# Heads times areas, at most.
MATRICES = 1024
# Matrices of one layout: channels [L, D] and positions [L, T].
Matrices = tuple[Tensor, Tensor]


def scores_of(left: Value, right: Value) -> Scores | None:
    """Of queries [..., T, D] and keys [..., D, T]; None: they are no such thing."""
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
    shape = torch.Size((*left.index.shape[:-2], tokens, tokens))
    sources = left.source, right.source
    return Scores(sources, rows, key_rows, leading, tokens, shape, left.scale * right.scale)


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


def softmax_of(builder: GraphBuilder, scores: Scores, name: str) -> Weights | None:
    """Scores and their softmax as nodes; None where the channels cannot be had."""
    query = builder.channels(scores.source[0], scores.queries, scores.scale)
    key = builder.channels(scores.source[1], scores.keys)
    if query is None or key is None:
        return None
    heads, areas = _counts(scores)
    products = builder.emit(
        "attention_scores", f"{name}_scores", query, key, heads=heads, areas=areas
    )
    weights = builder.emit("activation", name, products, softmax=True)
    return Weights(weights.node, scores, scores.shape)


def _counts(scores: Scores) -> tuple[int, int]:
    heads = max(head for head, _ in scores.leading) + 1
    return heads, len(scores.leading) // heads


def attended(builder: GraphBuilder, left: Value, right: Value, name: str) -> Layout | None:
    """weights [..., T, T] times values [..., T, D], or both transposed and the other way round."""
    turned = isinstance(right, Weights)
    weights, values = (right, left) if turned else (left, right)
    if not (isinstance(weights, Weights) and isinstance(values, Layout)):
        return None
    tokens = weights.scores.tokens
    if weights.transposed != turned or values.scale != 1 or weights.shape[-2:] != (tokens, tokens):
        return None
    index = values.index.transpose(-1, -2) if turned else values.index
    matrices = _matrices(values, index)
    scores = weights.scores
    firsts = torch.tensor([[area * tokens] for _, area in scores.leading])
    positions = firsts + torch.arange(tokens)
    if matrices is None or not torch.equal(matrices[1].long(), positions):
        return None
    rows = _rows(matrices, scores.leading)
    value = None if rows is None else builder.channels(values.source, rows)
    if value is None:
        return None
    heads, areas = _counts(scores)
    output = builder.emit(
        "attend", name, builder.features[weights.node], value, heads=heads, areas=areas
    )
    by_head = output.places.view(heads, -1, areas, tokens)
    parts: list[Tensor] = []
    for head, area in scores.leading:
        parts.append(by_head[head, :, area].T)
    places = torch.stack(parts).view(index.shape)
    return Layout(output, places.transpose(-1, -2) if turned else places)


def rearranged(value: Scores | Weights, meta: Tensor, op: str, order: list[int]) -> Value | None:
    """Scores or weights of another shape: axes before the last joined or split, or the last two
    exchanged.

    Args:
        value: What is rearranged.
        meta: The result, on the meta device.
        op: The operator.
        order: Of the axes, if it transposes them.
    """
    last = meta.ndim - 1
    if op == "Transpose":
        if isinstance(value, Scores) or order != [*range(last - 1), last, last - 1]:
            return None
        return replace(value, shape=meta.shape, transposed=not value.transposed)
    if op != "Reshape" or meta.shape[-1] != value.shape[-1]:
        return None
    if isinstance(value, Weights) and value.transposed:
        return None
    return replace(value, shape=meta.shape)
