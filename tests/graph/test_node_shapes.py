"""Shapes of a graph that is not run, against those of the graph that is."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from helpers.networks import Residual, TinyLeaky
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, Node, forward, shapes
from spiking_yolo.graph.trace import trace


def run(graph: Graph, height: int, width: int) -> dict[str, torch.Size]:
    names = tuple(node.name for node in graph.nodes)
    made = forward(replace(graph, outputs=names), torch.zeros(1, 3, height, width))
    return {name: y.shape for name, y in zip(names, made, strict=True)}


def one(op: str, attrs: dict[str, Any], weight: torch.Tensor | None = None) -> Graph:
    tensors = {} if weight is None else {"a.weight": weight}
    return Graph((Node("x", "input"), Node("a", op, ("x",), attrs)), ("a",), tensors)


@pytest.mark.parametrize("model", [TinyLeaky, Residual])
def test_of_networks(model: type[nn.Module]) -> None:
    graph = trace(model(), torch.zeros(1, 3, 16, 16))
    for size in ((8, 8), (16, 32)):
        assert shapes(graph, *size) == run(graph, *size)


pairs = st.lists(st.integers(1, 4), min_size=2, max_size=2)
sides = st.integers(1, 9)


@settings(max_examples=150, deadline=None)
@given(
    sides,
    sides,
    pairs,
    pairs,
    pairs,
    st.lists(st.integers(0, 3), min_size=4, max_size=4),
    st.booleans(),
)
def test_of_windows(
    h: int, w: int, kernel: Any, stride: Any, dilation: Any, padding: Any, ceil: bool
) -> None:
    """Where a graph runs and its maxima are finite, these are its shapes; where not, it says so."""
    window = {"kernel": kernel, "stride": stride, "ceil": ceil}
    conv = {"stride": stride, "padding": padding[:2], "dilation": dilation, "groups": 1}
    for graph in (
        one("conv", conv, torch.zeros(2, 3, *kernel)),
        one("max_pool", {**window, "padding": padding}),
        one("avg_pool", {**window, "padding": padding[:2], "count_include_pad": False}),
        one("pad", {"padding": padding}),
        one("upsample", {"scale": stride}),
        one("slice", {"slices": [[None, 2, None], [padding[0], None, stride[0]]]}),
    ):
        try:
            (y,) = forward(graph, torch.zeros(1, 3, h, w))
            expected = y.shape if y.numel() and y.isfinite().all() else None
        except RuntimeError:
            expected = None
        try:
            found = shapes(graph, h, w)["a"]
        except UserError:
            found = None
        assert found == expected, graph.nodes


def test_a_map_of_terabytes_is_refused_by_name_and_costs_nothing() -> None:
    names = ["x", *(f"up{i}" for i in range(9))]
    ups = [
        Node(name, "upsample", (before,), {"scale": [99, 99]}) for before, name in pairwise(names)
    ]
    with pytest.raises(
        UserError, match=r"node 'up1' \(upsample\) makes a map of 3x156816x156816: "
    ):
        shapes(Graph((Node("x", "input"), *ups), ("up8",), {}), 16, 16)
