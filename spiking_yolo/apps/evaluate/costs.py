"""What a converted network costs: what a run counts, and what the energy rests on besides."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from spiking_yolo.convert.converted import Converted
from spiking_yolo.graph import shapes
from spiking_yolo.graph.rewrites import constant_nodes
from spiking_yolo.metrics.energy import NetworkSize, Value, Work, charged, neurobench
from spiking_yolo.observe import Observation
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.counting import Counting, Counts
from spiking_yolo.snn.operations import spiking


@dataclass(frozen=True)
class NetworkCosts:
    """counting: in which the method's operations are reported. value: what events carry. streams:
    layers with analogue input compute in every step instead of once. exponentials: per neuron and
    step. weights, inputs, outputs, ann_exponentials: see NetworkSize.
    """

    counting: Counting = "spikes"
    value: Value = "none"
    streams: bool = False
    exponentials: int = 0
    weights: int = 0
    inputs: int = 0
    outputs: int = 0
    ann_exponentials: int = 0

    @classmethod
    def of(cls, converted: Converted) -> "NetworkCosts":
        graph, recipe = converted.graph, converted.recipe
        constant = constant_nodes(graph)
        sizes = shapes(graph, converted.spec.height, converted.spec.width)
        events = spiking(graph, [node.name for node in graph.activations])
        streams, weights, inputs, outputs = False, 0, 0, 0
        for node in graph.nodes:
            if node.weighted:
                streams = streams or (node.name not in constant and node.inputs[0] not in events)
                weights += graph.tensors[f"{node.name}.weight"].numel()
            if node.multiplies:
                inputs += sum(sizes[name].numel() for name in node.inputs)
                outputs += sizes[node.name].numel()
        ann_exponentials = 0
        for node in graph.activations:
            if not node.phi.monotone:
                ann_exponentials += sizes[node.name].numel()
        streams = streams and not recipe.differential
        per_neuron = exponentials(recipe, silu=ann_exponentials > 0)
        return cls(
            recipe.counting,
            spike_value(recipe),
            streams,
            per_neuron,
            weights,
            inputs,
            outputs,
            ann_exponentials,
        )

    def size(self, macs: float, neurons: float) -> NetworkSize:
        """macs, neurons: of one image."""
        return NetworkSize(
            macs, self.weights, self.inputs, self.outputs, neurons, self.ann_exponentials
        )

    def work(
        self,
        t: float,
        size: NetworkSize,
        operations: float,
        events: float,
        updates: float,
        analogue_macs: float,
    ) -> Work:
        """What was done in t steps; operations and events as `charged(value)`.

        analogue_macs: of one step.
        """
        if self.streams:
            analogue_macs *= t
        exponentials = self.exponentials * size.neurons * t
        return Work(t, operations, events, updates, analogue_macs, self.value, exponentials)

    def observed(self, seen: Observation, t: int) -> tuple[Work, NetworkSize]:
        """What was done for an image in t steps, and the size of the network."""
        step, counting = seen.steps[t], charged(self.value)
        size = self.size(seen.macs, seen.neurons)
        operations, events = step.operations[counting], step.events[counting]
        work = self.work(t, size, operations, events, step.updates, seen.analogue_macs)
        return work, size


def spike_value(recipe: Recipe) -> Value:
    """What the recipe's events carry: MSAT's threshold differs per neuron and step.

    Where a neuron sends several thetas at once they travel as signed digits. Schedules of all
    neurons scale weights instead.
    """
    if recipe.neuron_kind.msat:
        return "any"
    if recipe.neuron.gamma > 1:
        return "power of two"
    return recipe.neuron_kind.carries


def exponentials(recipe: Recipe, silu: bool = False) -> int:
    """Exponentials and logarithms per neuron and step: ln(1 + exp) of Eq. 15, exp of Eq. 16, and
    the sigmoid.

    silu: neurons compute SiLU or mish of their potential, one more:
    with e = exp(x), mish is x * (e^2 + 2 e) / (e^2 + 2 e + 2).
    """
    m = recipe.msat
    if not recipe.neuron_kind.msat or m.variant != "eq17" or not (m.dtt or m.det):
        return int(silu)
    return 2 * m.dtt + m.det * (1 + m.mu) + 1 + silu


def mean_size(seen: Sequence[Observation], model: NetworkCosts) -> NetworkSize:
    """Size of the network, per image."""
    return model.size(mean(one.macs for one in seen), mean(one.neurons for one in seen))


def mean_costs(
    seen: Sequence[Observation], t: int, model: NetworkCosts, size: NetworkSize
) -> tuple[dict[str, float], Work]:
    """What t steps cost per image, by column, and the work that energies are computed from."""
    each: dict[str, list[float]] = defaultdict(list)
    for one in seen:
        step = one.steps[t]
        each["messages"].append(step.sent["messages"])
        each["analogue"].append(one.analogue_macs)
        each["updates"].append(step.updates)
        each["spikes"].append(step.total_spikes)
        each["rate"].append(one.mean_rate(t))
        each["error"].append(step.error)
        each["seconds"].append(one.seconds.network + one.seconds.decode)
        for counting in Counts._fields:
            each[f"operations {counting}"].append(step.operations[counting])
            each[f"events {counting}"].append(step.events[counting])
            if step.products:
                each[f"products {counting}"].append(step.products[counting])
    means = {name: mean(values) for name, values in each.items()}
    charge = charged(model.value)
    operations = means[f"operations {model.counting}"]
    work = model.work(
        t,
        size,
        means[f"operations {charge}"],
        means[f"events {charge}"],
        means["updates"],
        means["analogue"],
    )
    costs = {
        "spikes_per_image": means["spikes"],
        "mean_rate": means["rate"],
        "sops_per_image": operations,
    }
    for counting in Counts._fields:
        costs[f"sops_per_mac_{counting}"] = means[f"operations {counting}"] / size.macs
    costs["output_error"] = means["error"]
    costs["worst_error"] = max(each["error"])
    costs["seconds"] = means["seconds"]
    if f"products {model.counting}" in means:
        costs["products_share"] = means[f"products {model.counting}"] / operations
    return {**costs, **neurobench(work, size, means["messages"])}, work


def mean(values: Iterable[float]) -> float:
    """Mean of plain numbers."""
    return float(np.mean(list(values)))
