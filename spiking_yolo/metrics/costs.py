"""What a converted network costs: what a run counts, and what the energy rests on besides; and what
a run did by the names and definitions of NeuroBench (Yik et al., Nature Communications 2025), so
that a row can be set beside theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from spiking_yolo.convert.load import Converted, Uncalibrated
from spiking_yolo.graph import shapes
from spiking_yolo.graph.rewrites import constant_nodes
from spiking_yolo.integer.plan import compile
from spiking_yolo.io.text import Size
from spiking_yolo.metrics.energy import EVERY_COST_MODEL, NetworkSize, Value, Work, charged
from spiking_yolo.observe import Observation
from spiking_yolo.recipe import Recipe
from spiking_yolo.spikes.counting import Counting, Counts
from spiking_yolo.spikes.operations import spiking


@dataclass(frozen=True)
class NetworkCosts:
    """What a network costs besides what a run counts.

    Attributes:
        counting: The unit in which the method's operations are reported.
        value: What events carry.
        streams: Layers with analogue input compute in every step instead of once.
        exponentials: Per neuron and step.
        passed: The size, apart from what a run says.
    """

    counting: Counting = "spikes"
    value: Value = "none"
    streams: bool = False
    exponentials: int = 0
    passed: NetworkSize = field(default_factory=lambda: NetworkSize(0))

    @classmethod
    def of(cls, converted: Converted | Uncalibrated, size: Size | None = None) -> "NetworkCosts":
        """The costs for images of this height and width, by default the network's."""
        graph, recipe, spec = converted.graph, converted.recipe, converted.spec
        constant = constant_nodes(graph)
        sizes = shapes(graph, *(size or (spec.height, spec.width)))
        events = spiking(graph, [node.name for node in graph.activations])
        streams, weights, inputs, outputs, ann_exponentials = False, 0, 0, 0, 0
        for node in graph.nodes:
            if node.weighted:
                streams = streams or (node.name not in constant and node.inputs[0] not in events)
                weights += graph.tensors[f"{node.name}.weight"].numel()
            if node.multiplies:
                inputs += sum(sizes[name].numel() for name in node.inputs)
                outputs += sizes[node.name].numel()
            if node.op == "activation" and not node.phi.monotone:
                ann_exponentials += sizes[node.name].numel()
        passed = NetworkSize(0, weights, inputs, outputs, 0, ann_exponentials)
        each = exponentials(recipe, silu=ann_exponentials > 0)
        streams = streams and not recipe.differential
        return cls(recipe.counting, spike_value(recipe), streams, each, passed)

    def work(self, seen: Observation, t: int) -> Work:
        """What was done for an image in t steps; a network that has settled does nothing more."""
        step, counting = seen.steps[t], charged(self.value)
        t = min(t, seen.settled or t)
        return Work(
            t,
            step.operations[counting],
            step.events[counting],
            step.updates,
            seen.analogue_macs * (t if self.streams else 1),
            self.value,
            self.exponentials * seen.neurons * t,
            seen.potential_bytes,
        )

    def energies(self, seen: Observation, t: int) -> dict[str, float]:
        """Key of a cost model -> mJ of t steps for an image."""
        work, size = self.work(seen, t), self.size(seen)
        return {model.key: model.snn(work, size) for model in EVERY_COST_MODEL}

    def ann_energies(self, seen: Observation) -> dict[str, float]:
        """Key of a cost model -> mJ of one pass of the ANN; nan where it does not run."""
        return {model.key: model.ann(self.size(seen)) for model in EVERY_COST_MODEL}

    def without_spikes(self, seen: Observation, t: int) -> dict[str, float]:
        """Key of a cost model -> mJ of a frame whose changes are sent without spikes.

        Each change is one message, and a multiplication of 8 bits where it arrives, as in EvNets
        and DeltaCNN.
        """
        step, size = seen.steps[t], self.size(seen)
        sent = {"operations": step.operations["messages"], "events": step.events["messages"]}
        work = replace(self.work(seen, t), **sent, value="any")
        return {model.key: model.snn(work, size) for model in EVERY_COST_MODEL}

    def size(self, seen: Observation) -> NetworkSize:
        """The size of the network for this image."""
        return replace(self.passed, macs=seen.macs, neurons=seen.neurons)


class CostsByShape:
    """What a network costs for images of several shapes: costs(seen) -> NetworkCosts."""

    def __init__(self, converted: Converted | Uncalibrated):
        self._converted = converted
        self._known: dict[Size, NetworkCosts] = {}

    def __call__(self, seen: Observation) -> NetworkCosts:
        if seen.size not in self._known:
            self._known[seen.size] = NetworkCosts.of(self._converted, seen.size)
        return self._known[seen.size]


def spike_value(recipe: Recipe) -> Value:
    """What the recipe's events carry.

    Where a neuron sends several thetas at once they travel as signed digits, unless its threshold
    differs per neuron and step. Schedules of all neurons scale weights instead.
    """
    carries = recipe.neuron_kind.carries
    if recipe.neuron.gamma > 1 and carries != "any":
        return "power of two"
    return carries


def exponentials(recipe: Recipe, silu: bool = False) -> int:
    """Exponentials and logarithms per neuron and step: ln(1 + exp) of Eq. 15, exp of Eq. 16, and
    the sigmoid.

    silu: neurons compute SiLU or mish of their potential, one more:
    with e = exp(x), mish is x * (e^2 + 2 e) / (e^2 + 2 e + 2).
    """
    dtt, det = bool(recipe.msat.tau_mp), bool(recipe.msat.tau_rd)
    if not recipe.neuron_kind.msat or not (dtt or det):
        return int(silu)
    return 2 * dtt + det + 1 + silu


def mean_costs(images: Sequence[Observation], t: int, model: CostsByShape) -> dict[str, float]:
    """What t steps cost per image, by column; energies in mJ."""
    rows = [_costs(seen, t, model(seen)) for seen in images]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _costs(seen: Observation, t: int, model: NetworkCosts) -> dict[str, float]:
    step = seen.steps[t]
    columns = {
        "spikes_per_image": step.total_spikes,
        "mean_rate": seen.mean_rate(t),
        "sops_per_image": step.operations[model.counting],
        "output_error": step.error,
        "seconds": seen.seconds.network + seen.seconds.decode,
    }
    for counting in Counts._fields:
        columns[f"sops_per_mac_{counting}"] = step.operations[counting] / seen.macs
    for key, energy in model.energies(seen, t).items():
        columns[f"energy_mJ_{key}"] = energy
    return columns


def neurobench(
    network: Converted, seen: Sequence[Observation], model: CostsByShape
) -> dict[str, Any]:
    """The static and workload metrics of a network, per image.

    A product counts as an AC where every value that arrives is 0, 1 or -1, else as a MAC, so that
    signed digits and bursts, which arrive as one value, are MACs. Dense counts all products. Here a
    product with a weight of 0 counts as effective, which NeuroBench leaves out: of all weights
    `connection_sparsity` are 0. A network of whole numbers has weights of 8 bits, all else is
    float32.

    Args:
        network: The network.
        seen: What was observed of each image, of videos of later frames.
        model: What the network costs.
    """
    rows: list[tuple[float, float, float, float, float]] = []
    valued = spike_value(network.recipe) != "none"
    for one in seen:
        step, work = one.last, model(one).work(one, one.T)
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
