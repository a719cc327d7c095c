"""What a run did, by the names and definitions of NeuroBench (Yik et al., Nature Communications
2025), so that a row can be set beside theirs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from spiking_yolo.convert.load import Converted
from spiking_yolo.integer.plan import compile
from spiking_yolo.metrics.costs import CostsByShape, spike_value
from spiking_yolo.observe import Observation


def neurobench(
    network: Converted, seen: Sequence[Observation], t: int, model: CostsByShape
) -> dict[str, Any]:
    """The static and workload metrics of a network, per image, in t steps.

    A product counts as an AC where every value that arrives is 0, 1 or -1, else as a MAC, so that
    signed digits and bursts, which arrive as one value, are MACs. Dense counts all products. Here a
    product with a weight of 0 counts as effective, which NeuroBench leaves out: of all weights
    `connection_sparsity` are 0. A network of whole numbers has weights of 8 bits, all else is
    float32.

    Args:
        network: The network.
        seen: What was observed of each image, of videos of later frames.
        t: Timesteps.
        model: What the network costs.
    """
    rows: list[tuple[float, float, float, float, float]] = []
    valued = spike_value(network.recipe) != "none"
    for one in seen:
        step, work = one.steps[t], model(one).work(one, t)
        messages = step.operations["messages"]
        multiplied = work.analogue_macs + messages * valued
        values = step.sent["messages"], one.neurons * work.t
        rows.append((multiplied, messages * (not valued), one.macs * work.t, *values))
    multiplied, added, dense, sent, values = np.mean(rows, axis=0).tolist()
    graph, recipe = network.graph, network.recipe
    weights = [graph.tensors[f"{node.name}.weight"] for node in graph.nodes if node.weighted]
    parameters = [*graph.tensors.values()]
    parameters += [value for layer in network.neurons.values() for value in layer.values()]
    footprint = 4 * sum(one.numel() for one in parameters)
    if recipe.complete:
        footprint -= 3 * sum(one.numel() for one in weights)
        plan = compile(graph, network.neurons, recipe, network.spec)
        weights = [one.levels for one in plan.parameters.convolutions.values()]
    zeros = sum(int((one == 0).sum()) for one in weights)
    return {
        "footprint": footprint,
        "connection_sparsity": zeros / sum(one.numel() for one in weights),
        "activation_sparsity": 1 - sent / values,
        "synaptic_operations": {
            "Effective_MACs": multiplied,
            "Effective_ACs": added,
            "Dense": dense,
        },
    }
