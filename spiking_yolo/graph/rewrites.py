"""What of a graph need not be computed as it stands, or not in every step: cheaper, and the same result."""

from __future__ import annotations

from dataclasses import replace

from spiking_yolo.graph import Graph, Node


def pool_before_neuron(graph: Graph) -> Graph:
    """Swap every activation with the max pooling behind it, where the pooling is its only consumer.

    For neurons that round phi of the input's sum (signed memory): phi, unless it is SiLU, and rounding are monotone, so
    the settled value is the same, and a quarter of the neurons remain behind a 2x2 pooling. The activation keeps its
    name, and with it its threshold: it now reads the pooling, and the pooling reads what the activation read.
    """
    users = graph.consumers()
    pools = {
        node.name: users[node.name][0]
        for node in graph.activations
        if len(users[node.name]) == 1
        and users[node.name][0].op == "max_pool"
        and node.name not in graph.outputs
        and not node.phi.silu
    }
    swapped = {pool.name: site for site, pool in pools.items()}
    if not swapped:
        return graph

    def rewired(node: Node) -> Node:
        return replace(node, inputs=tuple(swapped.get(name, name) for name in node.inputs))

    nodes: list[Node] = []
    for node in graph.nodes:
        if node.name in pools:
            continue
        if node.name in swapped:
            site = graph[swapped[node.name]]
            nodes.append(replace(node, inputs=rewired(site).inputs))
            nodes.append(replace(site, inputs=(node.name,)))
        else:
            nodes.append(rewired(node))
    outputs = tuple(swapped.get(name, name) for name in graph.outputs)
    return Graph(tuple(nodes), outputs, graph.tensors)


def constant_nodes(graph: Graph) -> set[str]:
    """Nodes whose value is the same in every step of rate coding with an analogue image: computed once.

    Max pooling of a constant current is constant as well: the maximum of t * z is t * max(z).
    """
    constant: set[str] = set()
    for node in graph.nodes:
        if node.op != "activation" and all(name in constant for name in node.inputs):
            constant.add(node.name)
    return constant


def readout_nodes(graph: Graph) -> tuple[Node, ...]:
    """The linear nodes behind the last neurons and poolings: the mean of their outputs is their output of the mean.

    They need to be computed only where the output of the network is read.
    """
    users = graph.consumers()
    found: list[Node] = []
    for node in reversed(graph.nodes):
        if node.op not in ("input", "activation", "max_pool") and all(user in found for user in users[node.name]):
            found.insert(0, node)
    return tuple(found)
