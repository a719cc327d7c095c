"""What a run of the network gives: its state at chosen timesteps, and what it cost."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Snapshot:
    """The network after t steps. All tensors are per image, [N, ...].

    outputs: head tensors in the units of the ANN. spikes: layer -> spikes so far, float64 [N]. events: the same, or the
    switches that stand for them with neuron.events=switches.
    operations: synaptic operations so far, float64 [N]. maps: layer -> spikes so far per position, the mean over the
    channels, [N, h, w]; empty unless asked for.
    """

    t: int
    outputs: tuple[Tensor, ...]
    spikes: dict[str, Tensor]
    events: dict[str, Tensor]
    operations: Tensor
    maps: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """Snapshots by t; neurons: layer -> neurons of one image; steps: steps simulated (fewer than T when all settled).

    macs: multiply-accumulates of one ANN forward pass. analogue_macs: those of layers that receive analogue values, per
    run where they are constant or differential, else per step.
    """

    snapshots: dict[int, Snapshot]
    neurons: dict[str, int]
    steps: int
    macs: int
    analogue_macs: int
