"""What is known of a network before it runs: which nodes are computed when, and what each layer may
rely on.
"""

from dataclasses import dataclass

from spiking_yolo.graph import Graph
from spiking_yolo.graph.rewrites import constant_nodes, pool_before_neuron, readout_nodes
from spiking_yolo.recipe import Recipe


@dataclass(frozen=True)
class LayerPlan:
    """What one layer of neurons may rely on.

    reads_sums: what it receives is the sum of its input so far, which the max pooling before it
    keeps, and not the input of a step. constant: it receives the same current in every step, and
    nobody looks at its neurons. by_channel: a slice of channels is taken of what it sends, so that
    its events are counted for each channel.
    """

    reads_sums: bool = False
    constant: bool = False
    by_channel: bool = False


class NetworkPlan:
    """Which nodes of a graph are computed when.

    Attributes:
        graph: As it is simulated, with max pooling before the neurons where the recipe says so.
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
