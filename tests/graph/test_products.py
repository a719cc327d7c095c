"""The products of attention against loops and PyTorch's own, their trace, and graphs that are no
attention.
"""

import itertools

import pytest
import torch
from helpers.attention import Attending
from helpers.networks import images, make
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, Node, attend, attention_scores, check_graph, forward
from spiking_yolo.graph.trace import trace


@given(
    heads=st.integers(1, 3),
    depth=st.integers(1, 3),
    areas=st.integers(1, 3),
    height=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_products_by_loops(heads: int, depth: int, areas: int, height: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    shape = (2, heads * depth, height, 2 * areas)
    q, k, v = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(3))
    tokens = height * 2 * areas
    per_area = tokens // areas
    weights = torch.randn(2, heads, tokens, per_area, generator=generator, dtype=torch.float64)
    scores = torch.zeros(2, heads, tokens, per_area, dtype=torch.float64)
    output = torch.zeros(2, heads * depth, tokens, dtype=torch.float64)
    flat_q, flat_k, flat_v = q.flatten(2), k.flatten(2), v.flatten(2)
    indices = itertools.product(
        range(2), range(heads), range(depth), range(tokens), range(per_area)
    )
    for n, h, d, i, j in indices:
        channel, other = h * depth + d, i // per_area * per_area + j
        scores[n, h, i, j] += flat_q[n, channel, i] * flat_k[n, channel, other]
        output[n, channel, i] += weights[n, h, i, j] * flat_v[n, channel, other]
    torch.testing.assert_close(attention_scores(q, k, heads, areas), scores)
    torch.testing.assert_close(attend(weights, v, heads, areas).flatten(2), output)


@pytest.mark.parametrize("areas", [1, 4])
def test_the_trace_computes_what_the_module_does(areas: int):
    model = make(lambda: Attending(areas))
    graph = trace(model, images(1))
    with torch.no_grad():
        torch.testing.assert_close(forward(graph, images(2))[0], model(images(2)))
    assert [node.op for node in graph.nodes if node.name.startswith("attention")] == [
        "attention_scores",
        "activation",
        "attend",
    ]
    assert check_graph(graph, 8, 8)["attention_softmax"] == (1, 2, 16, 16 // areas)


ATTRS = {"heads": 2, "areas": 1}


def attention(**changes: Node) -> Graph:
    """A sound graph of the products, but for the nodes that are given instead."""
    nodes = {
        "x": Node("x", "input"),
        "q": Node("q", "slice", ("x",), {"slices": [[0, 2, 1]]}),
        "k": Node("k", "slice", ("x",), {"slices": [[1, 3, 1]]}),
        "s": Node("s", "attention_scores", ("q", "k"), ATTRS),
        "p": Node("p", "activation", ("s",), {"softmax": True}),
        "o": Node("o", "attend", ("p", "q"), ATTRS),
    }
    return Graph(tuple((nodes | changes).values()), ("o",), {})


BAD = {
    "heads that do not divide the channels": attention(
        s=Node("s", "attention_scores", ("q", "k"), {"heads": 3, "areas": 1})
    ),
    "queries and keys of unlike shapes": attention(
        k=Node("k", "slice", ("x",), {"slices": [[0, 3, 1]]})
    ),
    "a softmax of a map": attention(p=Node("p", "activation", ("q",), {"softmax": True})),
    "values of other heads": attention(o=Node("o", "attend", ("p", "q"), {"heads": 1, "areas": 1})),
    "zero heads": attention(o=Node("o", "attend", ("p", "q"), {"heads": 0, "areas": 1})),
}


def test_the_sound_graph_is_accepted():
    assert check_graph(attention(), 4, 4)["o"] == (1, 2, 4, 4)


def test_what_is_no_attention_is_refused_by_its_node():
    for graph in BAD.values():
        with pytest.raises(UserError, match=r"node '[spo]'"):
            check_graph(graph, 4, 4)
