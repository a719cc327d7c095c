"""Attention in ONNX files, however its exporter moves the axes.

Queries, keys and values are parts of feature maps in another layout. From the places of their
values in these maps follow heads, areas and channels; see `graph.attention_scores`.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.models.onnx.builder import GraphBuilder, Layout, Scores, Value

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
