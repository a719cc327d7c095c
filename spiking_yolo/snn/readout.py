"""Where the output of a network is read: the mean over time of what arrives at the linear end of
the graph.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from spiking_yolo.snn.counting import Counts
from spiking_yolo.snn.layout import Active, beside, dense, per_channel
from spiking_yolo.snn.plan import NetworkPlan, readout_sources
from spiking_yolo.snn.synapses import Synapses


class OutputSum:
    """Sums what arrives at the nodes that need not be computed in every step, and computes them
    where a run is read.

    skip: steps at the start that are not read. corrections: output -> bias [C], added to it.
    """

    def __init__(
        self, plan: NetworkPlan, synapses: Synapses, skip: int, corrections: Mapping[str, Tensor]
    ):
        self._plan, self._synapses, self._skip, self._given = plan, synapses, skip, corrections
        self._sources = readout_sources(plan.graph, plan.readout)
        self.reset()

    def reset(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._corrections = {
            name: beside(bias, self._synapses.like) for name, bias in self._given.items()
        }
        # As they were read last, while nothing has arrived since.
        self._outputs: tuple[Tensor, ...] | None = None
        # Of the corrections, when they were read last.
        self._share = 1.0

    def add(self, values: Mapping[str, Tensor | Active | None], t: int) -> None:
        """values: of all nodes in step t; None for silence, but never in the first step."""
        for name in self._sources:
            value = values[name]
            if t == 1 and isinstance(value, Tensor):
                self._sums[name] = torch.zeros_like(value, dtype=self._synapses.like.dtype)
            if t > self._skip and value is not None:
                self._outputs = None
                self._sums[name].add_(dense(value))

    def read(self, t: int, shapes: dict[str, torch.Size], share: float = 1.0) -> tuple[Tensor, ...]:
        """After t steps, in the units of the ANN; 0 while no step has been read.

        Shapes of the nodes go to `shapes`. share: of the corrections that is added.
        """
        if self._outputs is not None and self._plan.coding.once and share == self._share:
            return self._outputs
        self._share = share
        steps = t - self._skip
        divisor = max(self._plan.coding.activations(steps), 1)
        values: dict[str, Tensor] = {name: total / divisor for name, total in self._sums.items()}
        for node in self._plan.readout:
            value = self._synapses(node, [values[name] for name in node.inputs], 1.0, True)
            # With biases nothing is left out.
            assert isinstance(value, Tensor)
            values[node.name], shapes[node.name] = (
                value if steps > 0 else torch.zeros_like(value),
                value.shape,
            )
        self._outputs = tuple(self._output(name, values[name]) for name in self._plan.graph.outputs)
        return self._outputs

    def _output(self, name: str, value: Tensor) -> Tensor:
        value, bias = self._synapses.analogue(name, value), self._corrections.get(name)
        return value if bias is None else value + self._share * per_channel(bias, value)


@dataclass(frozen=True)
class Snapshot:
    """The network after t steps with an image. All tensors are per image, [N, ...].

    outputs: head tensors in the units of the ANN. spikes: layer -> spikes so far, float64 [N].
    sent: events that neurons, poolings and the image have sent so far; operations: synaptic
    operations so far, each event times the outputs that it reaches; both float64 [N] in each
    counting. With neuron.events=switches the events are switches. updates: neurons that were
    updated, summed over the steps, float64 [N]: all of a layer in each step in which it received
    something. maps: layer -> spikes so far per position, the mean over the channels, [N, h, w];
    empty unless asked for. sent_by_layer: `sent` of each sender; operations_by_layer: `operations`
    of each convolution and linear layer that receives events.
    """

    t: int
    outputs: tuple[Tensor, ...]
    spikes: dict[str, Tensor]
    sent: Counts
    operations: Counts
    updates: Tensor
    maps: dict[str, Tensor] = field(default_factory=dict)
    sent_by_layer: dict[str, Counts] = field(default_factory=dict)
    operations_by_layer: dict[str, Counts] = field(default_factory=dict)

    def since(self, before: "Snapshot") -> "Snapshot":
        """The same with the costs since a snapshot of the same run."""
        return replace(
            self,
            spikes={name: spikes - before.spikes[name] for name, spikes in self.spikes.items()},
            sent=Counts.of(torch.sub, self.sent, before.sent),
            operations=Counts.of(torch.sub, self.operations, before.operations),
            updates=self.updates - before.updates,
            sent_by_layer=_less(self.sent_by_layer, before.sent_by_layer),
            operations_by_layer=_less(self.operations_by_layer, before.operations_by_layer),
            maps={
                name: m - before.maps[name] if name in before.maps else m
                for name, m in self.maps.items()
            },
        )


def _less(counts: dict[str, Counts], before: dict[str, Counts]) -> dict[str, Counts]:
    return {name: Counts.of(torch.sub, count, before[name]) for name, count in counts.items()}


@dataclass(frozen=True)
class Quiet:
    """Outputs and counts stay as they are from step `since` of an image on.

    until: the step in which spikes become finer, so that more may be sent; None: nothing ever
    changes again.
    """

    since: int
    until: int | None = None

    @property
    def settled(self) -> int | None:
        """The step after which no later one changes anything, however long the run; None if one
        may.
        """
        return self.since if self.until is None else None

    def __str__(self) -> str:
        if self.until is None:
            return f"settled after {self.since}"
        return f"quiet since {self.since}, refines at {self.until}"


@dataclass(frozen=True)
class Run:
    """Snapshots by t; neurons: layer -> neurons of one image; steps: steps simulated.

    They are fewer than T where the rest is quiet, which is not asked of a GPU. quiet: since when
    nothing changes; None if the step after the last one may change something, as in rate coding.
    activations: of the ANN, of one image; neurons behind their pooling are fewer, ON/OFF pairs
    more. macs: multiply-accumulates of one ANN forward pass. analogue_macs: those of layers that
    receive analogue values, per run where they are constant or differential, else per step.
    """

    snapshots: dict[int, Snapshot]
    neurons: dict[str, int]
    activations: int
    steps: int
    macs: int
    analogue_macs: int
    quiet: Quiet | None = None

    @property
    def settled(self) -> int | None:
        """See Quiet.settled."""
        return self.quiet and self.quiet.settled
