"""What a run of the network gives: its state at chosen timesteps, and what it cost."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from spiking_yolo.snn.counting import Counts


@dataclass(frozen=True)
class Snapshot:
    """The network after t steps with an image. All tensors are per image, [N, ...].

    outputs: head tensors in the units of the ANN. spikes: layer -> spikes so far, float64 [N].
    sent: events that neurons, poolings and the image have sent so far; operations: synaptic operations so far, each
    event times the outputs that it reaches; both float64 [N] in each counting. With neuron.events=switches the events
    are switches. updates: neurons that were updated, summed over the steps, float64 [N]: all of a layer in each step in
    which it received something.
    maps: layer -> spikes so far per position, the mean over the channels, [N, h, w]; empty unless asked for.
    """

    t: int
    outputs: tuple[Tensor, ...]
    spikes: dict[str, Tensor]
    sent: Counts
    operations: Counts
    updates: Tensor
    maps: dict[str, Tensor] = field(default_factory=dict)

    def since(self, before: "Snapshot") -> "Snapshot":
        """The same with the costs since a snapshot of the same run."""
        return replace(
            self,
            spikes={name: spikes - before.spikes[name] for name, spikes in self.spikes.items()},
            sent=Counts.of(torch.sub, self.sent, before.sent),
            operations=Counts.of(torch.sub, self.operations, before.operations),
            updates=self.updates - before.updates,
            maps={name: m - before.maps[name] if name in before.maps else m for name, m in self.maps.items()},
        )


@dataclass(frozen=True)
class Quiet:
    """Outputs and counts stay as they are from step `since` of an image on.

    until: the step in which spikes become finer, so that more may be sent; None: nothing ever changes again.
    """

    since: int
    until: int | None = None

    @property
    def settled(self) -> int | None:
        """The step after which no later one changes anything, however long the run; None if one may."""
        return self.since if self.until is None else None

    def __str__(self) -> str:
        if self.until is None:
            return f"settled after {self.since}"
        return f"quiet since {self.since}, refines at {self.until}"


@dataclass(frozen=True)
class Run:
    """Snapshots by t; neurons: layer -> neurons of one image; steps: steps simulated.

    They are fewer than T where the rest is quiet, which is not asked of a GPU.
    quiet: since when nothing changes; None if the step after the last one may change something, as in rate coding.
    activations: of the ANN, of one image; neurons behind their pooling are fewer, ON/OFF pairs more.
    macs: multiply-accumulates of one ANN forward pass. analogue_macs: those of layers that receive analogue values, per
    run where they are constant or differential, else per step.
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
