"""The plan of a network before it runs: which nodes are computed when, what each layer may rely on,
and which channels are counted together.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from spiking_yolo.graph import Graph, Node
from spiking_yolo.graph.rewrites import constant_nodes, pool_before_neuron, readout_nodes
from spiking_yolo.recipe import Recipe


@dataclass(frozen=True)
class LayerPlan:
    """Facts that one layer of neurons may rely on.

    reads_sums: what it receives is the sum of its input so far, which the max pooling before it
    keeps, and not the input of a step. constant: it receives the same current in every step, and
    nobody looks at its neurons. by_channel: a slice of channels is taken of what it sends, so that
    its events are counted for each channel.
    """

    reads_sums: bool = False
    constant: bool = False
    by_channel: bool = False


class NetworkPlan:
    """The order in which the nodes of a graph are computed.

    Attributes:
        graph: The network as it is simulated, with max pooling before the neurons where the recipe
            says so.
        observed: See SpikingNetwork.
        constant: Nodes whose value is the same in every step, computed in the first.
        readout: The linear end of the graph, computed only where the output is read.
        stepped: All other nodes, in order.
        sliced: Nodes of whose events a slice is taken.
        sums: Layer of neurons that send changes, and need only the sum of their input so far -> max
            pooling whose sum it reads.
        before: Node -> layers of neurons, at most, before the one that it is or hears.
    """

    def __init__(self, graph: Graph, recipe: Recipe, observed: bool = False):
        self.differential, self.observed = recipe.differential, observed
        if self.differential and recipe.neuron.pool_first:
            graph = pool_before_neuron(graph)
        self.graph = graph
        self.constant: set[str] = set()
        if not self.differential and recipe.encoding.input == "analogue":
            self.constant = constant_nodes(graph)
        self.readout = readout_nodes(graph)
        self.stepped = [node for node in graph.nodes if node not in self.readout]
        self.sliced = _sliced(graph)
        self.sums: dict[str, str] = {}
        users = graph.consumers()
        for layer in graph.activations:
            pool = graph[layer.inputs[0]]
            alone = len(users[pool.name]) == 1 and pool.name not in graph.outputs
            if self.differential and not observed and pool.op == "max_pool" and alone:
                self.sums[layer.name] = pool.name
        depth: dict[str, int] = {}
        for node in graph.nodes:
            below = max((depth[name] for name in node.inputs), default=0)
            depth[node.name] = below + (node.op == "activation")
        self.before = {name: max(layers - 1, 0) for name, layers in depth.items()}

    def layer(self, name: str) -> LayerPlan:
        """The plan of a layer."""
        constant = not self.observed and set(self.graph[name].inputs) <= self.constant
        return LayerPlan(name in self.sums, constant, name in self.sliced)


def _sliced(graph: Graph) -> set[str]:
    """The nodes of whose events a slice of channels is taken, directly or after linear nodes."""
    sliced: set[str] = set()
    for node in reversed(graph.nodes):
        passes = node.name in sliced and not node.weighted and node.op != "activation"
        if passes or node.op == "slice":
            sliced.update(node.inputs)
    return sliced


# Sender -> where each of its segments ends.
Ends = Mapping[str, Sequence[int]]


def segments(
    graph: Graph, channels: Mapping[str, int], senders: Collection[str], sliced: Collection[str]
) -> dict[str, list[int]]:
    """Find where the segments of the channels of every sender end: no slice tells the channels of
    one segment apart, so their events are counted together.

    Args:
        graph: The network.
        channels: Node -> the channels of its output.
        senders: The nodes that send events.
        sliced: The nodes of whose events a slice is taken, directly or after other nodes.
    """
    # A sum of which a slice is taken -> where the segments of one of its maps end.
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
    """Find where slices, and the `edges` of sums, cut the channels of a sender, as far as its
    events move.
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
    """Return the nodes, and where the segments of those end that hand events on."""
    known = dict(ends)
    nodes: list[Node] = []
    for node in graph.nodes:
        given = [known[name] for name in node.inputs if name in known]
        if node.op == "slice" and given:
            node, known[node.name] = _slice_of_segments(node, given[0])
        elif node.name in ends or node.multiplies:
            pass
        elif given and len(given) == len(node.inputs):
            known[node.name] = _moved(node, given)
        nodes.append(node)
    return nodes, known


def _slice_of_segments(node: Node, ends: Sequence[int]) -> tuple[Node, Sequence[int]]:
    channels, *others = node.attrs["slices"]
    part = range(ends[-1])[slice(*channels)]
    if part.step != 1:
        # Every channel is a segment of its own.
        return node, list(range(1, len(part) + 1))
    chosen = [k for k, end in enumerate(ends) if part.start < end <= part.stop]
    node = replace(node, attrs={**node.attrs, "slices": [[chosen[0], chosen[-1] + 1], *others]})
    return node, [ends[k] - part.start for k in chosen]


def _moved(node: Node, given: Sequence[Sequence[int]]) -> Sequence[int]:
    if node.op != "concat":
        return given[0]
    joined: list[int] = []
    for ends in given:
        start = joined[-1] if joined else 0
        joined += [start + end for end in ends]
    return joined
