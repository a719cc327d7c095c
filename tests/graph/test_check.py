"""Graphs that would stop the process, fill the memory or fail somewhere inside: one line that names
the node.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.networks import ALL, make
from torch import Tensor, nn

from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, Node, shapes
from spiking_yolo.graph.trace import trace
from spiking_yolo.graph.validate import check_graph

CONV = {"stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": 1}
POOL = {"kernel": [2, 2], "stride": [2, 2], "padding": [0, 0, 0, 0], "ceil": False}


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
    "stride of one number": network(stride=[1]),
    "stride of fractions": network(stride=[1.0, 1.0]),
    "stride true": network(stride=[True, True]),
    "padding of millions": network(padding=[10**6, 10**6]),
    "groups 0": network(groups=0),
    "groups that do not divide": network(groups=2),
    "no groups": replace(
        network(), nodes=(Node("x", "input"), Node("a", "conv", ("x",), {"stride": [1, 1]}))
    ),
    "unknown attribute": network(colour="red"),
    "no weight": bare("conv", **CONV),
    "weight of two axes": network(weight=torch.zeros(4, 3)),
    "weight of whole numbers": network(weight=torch.zeros(4, 3, 3, 3, dtype=torch.int64)),
    "weight of nan": network(weight=torch.full((4, 3, 3, 3), torch.nan)),
    "bias of infinity": network(bias=torch.full((4,), torch.inf)),
    "bias of other channels": network(bias=torch.zeros(5)),
    "bias of another type": network(bias=torch.zeros(4, dtype=torch.float64)),
    "kernel larger than the map": network(weight=torch.zeros(4, 3, 99, 99)),
    "linear on a map": network("linear", torch.zeros(5, 3)),
    "slope of 2": bare("activation", slope=2.0),
    "slope of nan": bare("activation", slope=float("nan")),
    "cap of 0": bare("activation", slope=0.0, cap=0.0),
    "levels of 10^18": bare("activation", slope=0.0, cap=1.0, levels=10**18),
    "pooling of padding alone": bare("max_pool", **{**POOL, "padding": [0, 8, 0, 8]}),
    "pooling with stride 0": bare("max_pool", **{**POOL, "stride": [0, 2]}),
    "upsampling to terabytes": bare("upsample", scale=[60000, 60000]),
    "upsampling by 0": bare("upsample", scale=[0, 1]),
    "slice of nothing": bare("slice", slices=[[5, 5, 1]]),
    "slice with step 0": bare("slice", slices=[[None, None, 0]]),
    "slice of many axes": bare("slice", slices=[[None, None, None]] * 9),
    "padding to nothing": bare("pad", padding=[-20, 0]),
    "padding of three": bare("pad", padding=[1, 1, 1]),
    "sum of one": bare("add"),
    "two inputs": Graph((Node("x", "input"), Node("a", "input")), ("a",), {}),
    "one name twice": Graph((Node("x", "input"), Node("x", "flatten", ("x",))), ("x",), {}),
    "a name that is a path": Graph((Node("../x", "input"),), ("../x",), {}),
    "no node": Graph((), (), {}),
    "no output": Graph((Node("x", "input"),), (), {}),
}


@pytest.mark.parametrize("case", BAD)
def test_it_is_refused_in_one_line(case: str) -> None:
    with pytest.raises(
        UserError, match=r"'a' \((\w+)\)|^a (node|network) |of a network must"
    ) as caught:
        check_graph(BAD[case], 16, 16)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 200


@pytest.mark.parametrize("model", ALL)
def test_what_is_traced_is_sound(model: type[nn.Module]) -> None:
    graph = trace(make(model), torch.zeros(1, 3, 8, 8, dtype=torch.float64))
    assert check_graph(graph, 8, 8) == shapes(graph, 8, 8)
