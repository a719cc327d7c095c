"""What is known of a network before it runs: which nodes are computed when, and what each layer may
rely on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from spiking_yolo.graph import Graph, Node
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

    name: str = ""
    reads_sums: bool = False
    constant: bool = False
    by_channel: bool = False


@dataclass(frozen=True)
class NetworkPlan:
    """Which nodes of a graph are computed when.

    graph: as it is simulated, with max pooling before the neurons where the recipe says so.
    observed: see SpikingNetwork. constant: nodes whose value is the same in every step, computed in
    the first. readout: the linear end of the graph, computed only where the output is read;
    stepped: all other nodes, in order. sliced: nodes of whose events a slice is taken. sums: layer
    of neurons -> max pooling whose sum it reads. sources: the nodes that activations read in the
    ANN. before: node -> layers of neurons, at most, before the one that it is or hears.
    """

    graph: Graph
    differential: bool
    observed: bool
    constant: frozenset[str]
    readout: tuple[Node, ...]
    stepped: tuple[Node, ...]
    sliced: frozenset[str]
    sums: Mapping[str, str]
    sources: tuple[str, ...]
    before: Mapping[str, int]

    @classmethod
    def of(cls, graph: Graph, recipe: Recipe, observed: bool = False) -> Self:
        """The plan of a network."""
        sources = tuple([node.inputs[0] for node in graph.activations])
        graph = as_simulated(graph, recipe)
        constant = frozenset[str]()
        if not recipe.differential and recipe.encoding.input == "analogue":
            constant = frozenset(constant_nodes(graph))
        readout = readout_nodes(graph)
        stepped = tuple([node for node in graph.nodes if node not in readout])
        # Neurons that send changes need only the sum of their input so far.
        sums: dict[str, str] = {}
        if recipe.differential and not observed:
            sums = _pools_alone(graph)
        return cls(
            graph,
            recipe.differential,
            observed,
            constant,
            readout,
            stepped,
            _sliced(graph),
            sums,
            sources,
            layers_before(graph),
        )

    def layer(self, name: str) -> LayerPlan:
        """The plan of a layer."""
        constant = not self.observed and set(self.graph[name].inputs) <= self.constant
        return LayerPlan(name, name in self.sums, constant, name in self.sliced)


def as_simulated(graph: Graph, recipe: Recipe) -> Graph:
    """The graph with max pooling before the neurons where the recipe says so."""
    if recipe.differential and recipe.neuron.pool_first:
        return pool_before_neuron(graph)
    return graph


def _sliced(graph: Graph) -> frozenset[str]:
    """The nodes of whose events a slice of channels is taken, directly or after linear nodes."""
    sliced: set[str] = set()
    for node in reversed(graph.nodes):
        passes = node.name in sliced and not node.weighted and node.op != "activation"
        if passes or node.op == "slice":
            sliced.update(node.inputs)
    return frozenset(sliced)


def layers_before(graph: Graph) -> dict[str, int]:
    """Node -> layers of neurons, at most, before the one that it is or hears."""
    depth: dict[str, int] = {}
    for node in graph.nodes:
        below = max((depth[name] for name in node.inputs), default=0)
        depth[node.name] = below + (node.op == "activation")
    return {name: max(layers - 1, 0) for name, layers in depth.items()}


def _pools_alone(graph: Graph) -> dict[str, str]:
    """The layers of neurons that read a max pooling which nothing else reads -> that pooling."""
    users = graph.consumers()
    sums = {}
    for layer in graph.activations:
        pool = graph[layer.inputs[0]]
        alone = len(users[pool.name]) == 1 and pool.name not in graph.outputs
        if pool.op == "max_pool" and alone:
            sums[layer.name] = pool.name
    return sums


def readout_sources(graph: Graph, readout: tuple[Node, ...]) -> set[str]:
    """The nodes whose values the output is read from: those before the readout, and outputs outside
    of it.
    """
    sources = set(graph.outputs)
    for node in readout:
        sources.update(node.inputs)
    for node in readout:
        sources.discard(node.name)
    return sources
