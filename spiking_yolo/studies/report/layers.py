"""The layers of a network in a report: what each is, and what it has sent and received at every timestep."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from spiking_yolo.graph import shapes
from spiking_yolo.graph.describe import layer_titles, weighted_before
from spiking_yolo.models.spec import Spec
from spiking_yolo.snn.counting import Counting, Counts
from spiking_yolo.snn.network import SpikingNetwork
from spiking_yolo.snn.operations import macs, operations_by_layer
from spiking_yolo.snn.record import Run
from spiking_yolo.studies.report.page import rounded


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer and the neurons behind it.

    neurons: name of their activation, None at an output. macs: multiply-accumulates of the ANN in this layer.
    """

    name: str
    title: str
    neurons: str | None
    macs: int


@dataclass(frozen=True)
class LayerCounts:
    """What layers have done so far: events sent by activation, operations received by weighted node."""

    sent: Mapping[str, Counts]
    operations: Mapping[str, Counts]

    @classmethod
    def of(cls, network: SpikingNetwork) -> "LayerCounts":
        """Of the first image of the run that is going on."""
        counts = network.counts()
        sent = {name: Counts.of(_total, count) for name, count in counts.items()}
        operations = operations_by_layer(network.graph, counts)
        return cls(sent, {name: Counts.of(lambda n: float(n[0]), count) for name, count in operations.items()})


def _total(events: torch.Tensor) -> float:
    return float(events[0].sum(dtype=torch.float64))


def layers_of(network: SpikingNetwork, spec: Spec) -> list[Layer]:
    """The layers in order, as they are simulated."""
    graph = network.graph
    sizes = shapes(graph, spec.height, spec.width)
    titles, behind = layer_titles(graph, sizes), {layer: name for name, layer in weighted_before(graph).items()}
    return [
        Layer(
            node.name,
            titles[behind.get(node.name, node.name)],
            behind.get(node.name),
            macs(graph, node, sizes[node.inputs[0]]),
        )
        for node in graph.weighted
    ]


def layer_columns(
    layers: list[Layer], run: Run, counts: Mapping[int, LayerCounts], steps: list[int], counting: Counting
) -> list[dict[str, Any]]:
    """Of each layer its numbers by step: spikes and digits that its neurons sent, operations that it received.

    operations: in the method's own counting; None where the input is analogue.
    """
    return [
        {
            "spikes": [run.snapshots[t].spikes[one.neurons].item() for t in steps] if one.neurons else None,
            "digits": [counts[t].sent[one.neurons].digits for t in steps] if one.neurons else None,
            "operations": rounded([getattr(counts[t].operations[one.name], counting) for t in steps])
            if one.name in counts[steps[0]].operations
            else None,
        }
        for one in layers
    ]
