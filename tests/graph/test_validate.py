"""Shapes of a graph that is not run, against those of the graph that is; and graphs that would stop
the process, fill the memory or fail somewhere inside: one line that names the node.
"""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from helpers.networks import ALL, Residual, TinyLeaky, make
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, Node, check_graph, forward, shapes
from spiking_yolo.graph.trace import trace

CONV = {"stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": 1}


WEIGHT = torch.zeros(4, 3, 3, 3)


def network(
    op: str = "conv", weight: Tensor | None = WEIGHT, bias: Any = None, **attrs: Any
) -> Graph:
    tensors = {"a.weight": weight, "a.bias": bias}
    node = Node("a", op, ("x",), {**(CONV if op == "conv" else {}), **attrs})
    return Graph(
        (Node("x", "input"), node), ("a",), {k: t for k, t in tensors.items() if t is not None}
    )


def bare(op: str, **attrs: Any) -> Graph:
    return network(op, None, **attrs)


BAD: dict[str, Graph] = {
    "stride 0": network(stride=[0, 0]),  # the process would end with SIGFPE
    "stride of text": network(stride="11"),
    "groups that do not divide": network(groups=2),
    "no groups": replace(
        network(), nodes=(Node("x", "input"), Node("a", "conv", ("x",), {"stride": [1, 1]}))
    ),
    "no weight": bare("conv", **CONV),
    "weight of whole numbers": network(weight=torch.zeros(4, 3, 3, 3, dtype=torch.int64)),
    "weight of nan": network(weight=torch.full((4, 3, 3, 3), torch.nan)),
    "bias of other channels": network(bias=torch.zeros(5)),
    "kernel larger than the map": network(weight=torch.zeros(4, 3, 99, 99)),
    "linear on a map": network("linear", torch.zeros(5, 3)),
    "upsampling to terabytes": bare("upsample", scale=[60000, 60000]),
    "slice of nothing": bare("slice", slices=[[5, 5, 1]]),
    "padding to nothing": bare("pad", padding=[-20, 0]),
    "sum of one": bare("add"),
    "two inputs": Graph((Node("x", "input"), Node("a", "input")), ("a",), {}),
    "one name twice": Graph((Node("x", "input"), Node("x", "flatten", ("x",))), ("x",), {}),
    "a name that is a path": Graph((Node("../x", "input"),), ("../x",), {}),
    "no node": Graph((), (), {}),
    "no output": Graph((Node("x", "input"),), (), {}),
}


def test_it_is_refused_in_one_line() -> None:
    words = r"'a' \((\w+)\)|^(a|the) (node|network)\b|of a network must"
    for case, graph in BAD.items():
        with pytest.raises(UserError, match=words) as caught:
            check_graph(graph, 16, 16)
        assert str(caught.value).isprintable() and len(str(caught.value)) < 200, case


@pytest.mark.parametrize("model", ALL)
def test_what_is_traced_is_sound(model: type[nn.Module]) -> None:
    graph = trace(make(model), torch.zeros(1, 3, 8, 8, dtype=torch.float64))
    assert check_graph(graph, 8, 8) == shapes(graph, 8, 8)


def run(graph: Graph, height: int, width: int) -> dict[str, torch.Size]:
    names = tuple(node.name for node in graph.nodes)
    made = forward(replace(graph, outputs=names), torch.zeros(1, 3, height, width))
    return {name: y.shape for name, y in zip(names, made, strict=True)}


@pytest.mark.parametrize("model", [TinyLeaky, Residual])
def test_of_networks(model: type[nn.Module]) -> None:
    graph = trace(model(), torch.zeros(1, 3, 16, 16))
    for size in ((8, 8), (16, 32)):
        assert shapes(graph, *size) == run(graph, *size)


pairs = st.lists(st.integers(1, 4), min_size=2, max_size=2)
sides = st.integers(1, 9)


@given(
    sides,
    sides,
    pairs,
    pairs,
    pairs,
    st.lists(st.integers(0, 3), min_size=4, max_size=4),
    st.booleans(),
)
def test_of_windows(h, w, kernel, stride, dilation, padding, ceil):
    """Where a graph runs, these are its shapes; where not, it says so."""
    window = {"kernel": kernel, "stride": stride, "ceil": ceil}
    conv = {"stride": stride, "padding": padding[:2], "dilation": dilation, "groups": 1}
    for graph in (
        network("conv", torch.zeros(2, 3, *kernel), **conv),
        bare("max_pool", **window, padding=padding),
        bare("avg_pool", **window, padding=padding[:2], count_include_pad=False),
        bare("pad", padding=padding),
        bare("upsample", scale=stride),
        bare("slice", slices=[[None, 2, None], [padding[0], None, stride[0]]]),
    ):
        try:
            (y,) = forward(graph, torch.zeros(1, 3, h, w))
            expected = y.shape if y.numel() else None
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
