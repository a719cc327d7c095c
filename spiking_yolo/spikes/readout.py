"""The output of a run: snapshots of it, and what it cost."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph
from spiking_yolo.recipe import Recipe
from spiking_yolo.spikes.counting import Counts
from spiking_yolo.spikes.operations import EventCosts, operations_by_layer


def checked_times(T: int, steps: Iterable[int], skip: int) -> list[int]:
    """The timesteps at which snapshots are taken, sorted, with T.

    Raises:
        UserError: One lies outside of 1..T, or `skip` steps that are left out leave none.
    """
    times = sorted({*steps, T})
    if T < 1 or times[0] < 1 or times[-1] > T:
        raise UserError(f"steps must lie in 1..T={T}, not {', '.join(map(str, times))}")
    if skip >= T:
        raise UserError(f"readout.skip={skip} leaves no step to read: it must be below T={T}")
    return times


@dataclass(frozen=True)
class Snapshot:
    """The network after t steps with an image. All tensors are per image, [N, ...].

    Attributes:
        t: Steps with this image.
        outputs: Head tensors in the units of the ANN.
        spikes: Layer -> spikes so far, float64 [N].
        sent: Events that the neurons have sent so far, float64 [N] in each counting. With
            neuron.events=switches the events are switches, else those counted as spikes are the sum
            of `spikes`.
        operations: Synaptic operations so far: each event times the outputs that it reaches;
            float64 [N] in each counting.
        updates: Updated neurons, summed over the steps, float64 [N]: all neurons of a layer in each
            step in which the layer received input.
        active_steps: Steps until nothing was sent any more, int64 [N]: the last one in which a
            neuron sent something, at least 1, with those of a preparation; in rate coding all.
        pooled: Events that max poolings have sent so far, as `sent`: those of neurons, merged.
        encoded: Events of the image, which encoding.input=poisson makes spikes.
        maps: Layer -> spikes so far at each position, averaged over its neurons, [N, h, w]; empty
            unless asked for.
        sent_by_layer: Events so far of each sender: neurons, max poolings and the image.
        products: `operations` of the products of attention; empty where there are none.
        operations_by_layer: operations_by_layer(), `operations` of each layer that receives events.
    """

    t: int
    outputs: tuple[Tensor, ...]
    spikes: dict[str, Tensor]
    sent: Counts
    operations: Counts
    updates: Tensor
    active_steps: Tensor
    pooled: Counts
    encoded: Counts
    maps: dict[str, Tensor] = field(default_factory=dict)
    sent_by_layer: dict[str, Counts] = field(default_factory=dict)
    products: Counts | dict[str, float] = field(default_factory=dict)
    operations_by_layer: Callable[[], dict[str, Counts]] = dict

    @classmethod
    def of(
        cls,
        t: int,
        outputs: tuple[Tensor, ...],
        counts: Mapping[str, Tensor],
        costs: EventCosts,
        updates: Tensor,
        active_steps: Tensor,
        neurons: Mapping[str, int],
        first: bool = False,
        spikes: Mapping[str, Tensor] | None = None,
        maps: bool = False,
        spent: Mapping[str, Tensor] | None = None,
    ) -> "Snapshot":
        """Compute a snapshot from the counts so far.

        Args:
            t: Steps with this image.
            outputs: See the attributes.
            counts: Sender -> Counts so far at each position, stacked.
            costs: The costs of events in the network as simulated.
            updates: See the attributes.
            active_steps: See the attributes.
            neurons: Layer -> its neurons.
            first: Whether these are the events of the first step, see
                `operations.product_operations`.
            spikes: Layer -> spikes so far of each neuron, where its events are something else.
            maps: Whether to make maps.
            spent: What EventCosts.of makes of the counts, where that is known without them.
        """
        graph = costs.graph
        if spent is None:
            spent = costs.of(counts, first)
        every = torch.stack(list(spent.values()))
        # [senders, 3, N]: few operations for a hundred senders.
        sums = every[:, :, 0].unflatten(1, (3, -1))
        rows = sums.flatten(0, 1).unbind()
        by_sender = {name: Counts(*rows[3 * k : 3 * k + 3]) for k, name in enumerate(spent)}
        own = {node.name: by_sender[node.name].spikes for node in graph.activations}
        if spikes is not None:
            own = {name: count.double().flatten(1).sum(1) for name, count in spikes.items()}
        kinds: dict[str, list[int]] = {"activation": [], "max_pool": [], "input": []}
        for k, name in enumerate(spent):
            kinds[graph[name].op].append(k)
        total = every.sum(0)
        spike_maps: dict[str, Tensor] = {}
        for node in graph.activations if maps else ():
            count = (spikes or {}).get(node.name)
            if count is None:
                count = Counts.unstacked(counts[node.name]).spikes
            # There is no map of neurons without a place, nor of a softmax, whose neurons belong to
            # pairs of places.
            if count.ndim == 4 and not node.phi.softmax:
                per_position = neurons[node.name] / count[0, 0].numel()
                spike_maps[node.name] = (count.sum(1) / per_position).float()
        return cls(
            t=t,
            outputs=outputs,
            spikes=own,
            sent=_total(sums, kinds["activation"]),
            operations=Counts.unstacked(total[:, 1]),
            updates=updates.clone(),
            active_steps=active_steps.clone(),
            pooled=_total(sums, kinds["max_pool"]),
            encoded=_total(sums, kinds["input"]),
            maps=spike_maps,
            sent_by_layer=by_sender,
            products=Counts.unstacked(total[:, 2]) if costs.attention else {},
            operations_by_layer=partial(operations_by_layer, graph, counts, costs.shapes, first),
        )


def _total(sums: Tensor, senders: Iterable[int]) -> Counts:
    """Add up the counts of some senders, of [senders, 3, N]."""
    chosen = [sums[k] for k in senders]
    return Counts(*torch.stack([torch.zeros_like(sums[0]), *chosen]).sum(0))


@dataclass(frozen=True)
class Run:
    """A run of the network.

    Attributes:
        snapshots: Timestep -> snapshot.
        neurons: Layer -> neurons of one image.
        steps: Simulated steps: fewer than T if nothing changed any more.
        macs: Multiply-accumulates of one forward pass of the ANN.
        analogue_macs: MACs of layers with analogue input: per run where that is constant or
            differential, else per step.
        settled: The last step that changed anything, however long the run; None if that is not
            certain, as in rate coding.
        fresh: Whether the network's state started anew.
        cut: Whether this frame of a video shows another scene.
        potential_bytes: Width of a potential that holds the widest sum since the state started, in
            whole numbers; potentials of the simulator are float32.
    """

    snapshots: dict[int, Snapshot]
    neurons: dict[str, int]
    steps: int
    macs: int
    analogue_macs: int
    settled: int | None = None
    fresh: bool = True
    cut: bool = False
    potential_bytes: int = 4


class Network(Protocol):
    """A spiking network of either engine: an IntegerNetwork or a SpikingNetwork."""

    recipe: Recipe
    graph: Graph

    @property
    def run(self) -> Callable[..., Run]:
        """run(x, T, steps) simulates T timesteps with images [N, C, H, W]; see SpikingNetwork."""
        ...
