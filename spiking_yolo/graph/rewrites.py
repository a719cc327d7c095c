"""Graph rewrites that save work and keep results."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from spiking_yolo.graph import Graph, Node

_MOVES = ("concat", "upsample", "max_pool", "slice", "pad", "flatten")  # values, each unchanged


def pool_before_neuron(graph: Graph) -> Graph:
    """Move every activation behind the max pooling that is its only consumer.

    For signed memory neurons, which round phi of the summed input. Rounding and phi (except SiLU)
    are monotone, so the settled value is the same, and behind a 2 x 2 pooling a quarter of the
    neurons remain. The activation keeps its name and with it its threshold.
    """
    users = graph.consumers()
    # Pooling -> the activation that moves behind it.
    behind: dict[str, Node] = {}
    for node in graph.activations:
        ops = [user.op for user in users[node.name]]
        if ops == ["max_pool"] and node.name not in graph.outputs and not node.phi.silu:
            behind[users[node.name][0].name] = node
    renamed = {pool: node.name for pool, node in behind.items()}
    nodes: list[Node] = []
    for node in graph.nodes:
        moved = behind.get(node.name)
        if moved is None and node.name in renamed.values():
            continue
        source = moved or node
        rewired = replace(node, inputs=_renamed(source.inputs, renamed))
        nodes += [rewired, replace(moved, inputs=(node.name,))] if moved else [rewired]
    outputs = _renamed(graph.outputs, renamed)
    return replace(graph, nodes=tuple(nodes), outputs=outputs)


def _renamed(names: Iterable[str], others: Mapping[str, str]) -> tuple[str, ...]:
    return tuple([others.get(name, name) for name in names])


def with_identities(graph: Graph) -> Graph:
    """Neurons that follow the identity, wherever a weighted layer would receive what no neuron has
    sent.

    A convolution without activation, as in linear bottlenecks and between shortcuts, would hand
    analogue values to the next one. A neuron sends them as spikes of both signs: it follows a leaky
    ReLU of slope 1. It stands behind the sum that the weighted layer reads, but before what only
    moves values, so that what is joined is not sent twice. Only the image stays analogue, and
    outputs do.
    """
    source = analogue_nodes(graph)
    wanted: set[str] = set()
    reading = [name for node in graph.weighted for name in node.inputs]
    while reading:
        node = graph[reading.pop()]
        if node.name in source and node.op in _MOVES:
            reading += node.inputs
        elif node.name in source:
            wanted.add(node.name)
    if not wanted:
        return graph
    sends = {name: f"{name}_identity" for name in wanted}
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes.append(replace(node, inputs=_renamed(node.inputs, sends)))
        if node.name in wanted:
            # Leaky ReLU of slope 1.
            nodes.append(Node(sends[node.name], "activation", (node.name,), {"slope": 1.0}))
    return replace(graph, nodes=tuple(nodes))


def analogue_nodes(graph: Graph) -> set[str]:
    """The nodes that hand on a value which no neuron sent, but for the image and what is made of it
    alone.
    """
    image = {node.name for node in graph.nodes if node.op == "input"}
    analogue: set[str] = set()
    for node in graph.nodes:
        if node.weighted:
            analogue.add(node.name)
        elif node.op not in ("input", "activation"):
            if image.issuperset(node.inputs):
                image.add(node.name)
            elif not (analogue | image).isdisjoint(node.inputs):
                analogue.add(node.name)
    return analogue


def constant_nodes(graph: Graph) -> set[str]:
    """Nodes whose value is the same in every step of rate coding with an analogue image; computed
    once.

    Max pooling of a constant current is one of them: the maximum of t * z is t * max(z).
    """
    constant: set[str] = set()
    for node in graph.nodes:
        if node.op != "activation" and constant.issuperset(node.inputs):
            constant.add(node.name)
    return constant


def readout_nodes(graph: Graph) -> tuple[Node, ...]:
    """The linear nodes behind the last neurons and poolings, in graph order.

    A linear map of a mean over time is the mean of the map, so they run only where the network's
    output is read.
    """
    # What is read by anything else is not part of it.
    others: set[str] = set()
    readout: list[Node] = []
    for node in reversed(graph.nodes):
        if node.name in others or node.op in ("input", "activation", "max_pool"):
            others.update(node.inputs)
        else:
            readout.append(node)
    return tuple(reversed(readout))
