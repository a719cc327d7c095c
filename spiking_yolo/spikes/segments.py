"""Segments of channels: those that no slice tells apart, whose events are counted together."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from spiking_yolo.graph import Graph, Node

# Sender -> where each of its segments ends.
Ends = Mapping[str, Sequence[int]]


def segments(
    graph: Graph, channels: Mapping[str, int], senders: Collection[str], sliced: Collection[str]
) -> dict[str, list[int]]:
    """Where the segments of the channels of every sender end.

    Args:
        graph: The network.
        channels: Of every node.
        senders: The nodes that send events.
        sliced: The nodes of whose events a slice is taken, directly or after other nodes.
    """
    # Sum of which a slice is taken -> where the segments of one of its maps end.
    edges: dict[str, set[int]] = {}
    while True:
        ends: dict[str, list[int]] = {}
        for name in senders:
            cuts = {channels[name]}
            if name in sliced:
                cuts |= _cuts(graph, channels, name, senders, edges)
            ends[name] = sorted(cut for cut in cuts if 0 < cut <= channels[name])
        known, uneven = _of_nodes(graph, ends)[1], False
        for node in graph.nodes:
            if node.op == "add" and node.name in sliced and known.keys() >= set(node.inputs):
                left, right = (set(known[name]) for name in node.inputs)
                uneven = uneven or left != right
                edges[node.name] = left | right
        if not uneven:
            return ends


def _cuts(
    graph: Graph,
    channels: Mapping[str, int],
    sender: str,
    senders: Collection[str],
    edges: Mapping[str, set[int]],
) -> set[int]:
    """Where slices, and the `edges` of sums, cut the channels of a sender, as far as its events
    move.
    """
    cuts: set[int] = set()
    # Node -> the channels at which those of the sender begin.
    starts: dict[str, set[int]] = {sender: {0}}
    for node in graph.nodes:
        if node.name in senders or node.multiplies:
            continue
        first, found = 0, set[int]()
        for source in node.inputs:
            found |= {start + first for start in starts.get(source, ())}
            first += channels[source] * (node.op == "concat")
        cuts |= {edge - start for start in found for edge in edges.get(node.name, ())}
        if node.op == "slice":
            every = range(channels[node.inputs[0]])
            part = every[slice(*node.attrs["slices"][0])]
            ends = (part.start, part.stop) if part.step == 1 else every
            cuts |= {edge - start for start in found for edge in ends}
            found = {start - part.start for start in found}
        starts.setdefault(node.name, found)
    return cuts


def of_segments(graph: Graph, ends: Ends) -> Graph:
    """The graph whose slices take segments of what is counted, where they took channels."""
    return replace(graph, nodes=tuple(_of_nodes(graph, ends)[0]))


def _of_nodes(graph: Graph, ends: Ends) -> tuple[list[Node], Ends]:
    """Its nodes, and where the segments of those end that hand events on."""
    known = dict(ends)
    nodes: list[Node] = []
    for node in graph.nodes:
        given = [known[name] for name in node.inputs if name in known]
        if node.op == "slice" and given:
            node, known[node.name] = _sliced(node, given[0])
        elif node.name in ends or node.multiplies:
            pass
        elif given and len(given) == len(node.inputs):
            known[node.name] = _moved(node, given)
        nodes.append(node)
    return nodes, known


def _sliced(node: Node, ends: Sequence[int]) -> tuple[Node, Sequence[int]]:
    channels, *others = node.attrs["slices"]
    part = range(ends[-1])[slice(*channels)]
    if part.step != 1:
        # Of single channels.
        return node, list(range(1, len(part) + 1))
    chosen = [k for k, end in enumerate(ends) if part.start < end <= part.stop]
    slices = [[chosen[0], chosen[-1] + 1], *others]
    node = replace(node, attrs={**node.attrs, "slices": slices})
    return node, [ends[k] - part.start for k in chosen]


def _moved(node: Node, given: Sequence[Sequence[int]]) -> Sequence[int]:
    if node.op != "concat":
        return given[0]
    joined: list[int] = []
    for ends in given:
        start = joined[-1] if joined else 0
        joined += [start + end for end in ends]
    return joined
