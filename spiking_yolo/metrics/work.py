"""What a network did for one image: what every account of energy.py charges.

Which counting: operations and events are signed digits, `+-2^k theta`, because a synapse that has no multiplier can add
one after a shift: n thetas that are sent at once cost as many additions as n has digits. Where spikes carry any value
they are messages, and a synaptic operation multiplies: see `charged`.
"""

from dataclasses import dataclass
from typing import Literal

Value = Literal["none", "power of two", "any"]


@dataclass(frozen=True)
class Size:
    """A network, per image. macs: multiply-accumulates of the ANN. weights: how many. inputs, outputs: values that its
    convolutions and linear layers read and write in one pass. neurons: a pair counts as two. exponentials: of the
    ANN, one per value of SiLU.
    """

    macs: float
    weights: float = 0
    inputs: float = 0
    outputs: float = 0
    neurons: float = 0
    exponentials: float = 0


@dataclass(frozen=True)
class Work:
    """What a spiking network did for one image in t steps.

    operations: synaptic operations. events: what neurons and max poolings emitted. Both as `charged`.
    updates: neurons touched, summed over the steps. analogue_macs: multiply-accumulates of layers that receive analogue
    values, once if cached, else t times as many. value: what an event carries besides its sign. exponentials: in all,
    with logarithms.
    """

    t: float
    operations: float
    events: float = 0
    updates: float = 0
    analogue_macs: float = 0
    value: Value = "none"
    exponentials: float = 0


def neurobench(work: Work, size: Size, messages: float) -> dict[str, float]:
    """The counts by NeuroBench's names (Yik 2025). Footprint: bytes of 8-bit weights and 16-bit potentials.

    messages: non-zero emissions.
    """
    return {
        "effective_ACs": work.operations,
        "effective_MACs": work.analogue_macs,
        "activation_sparsity": 1 - messages / (size.neurons * work.t) if size.neurons else 1.0,
        "membrane_updates": work.updates,
        "footprint_bytes": size.weights + 2 * size.neurons,
    }


def charged(value: Value) -> Literal["digits", "messages"]:
    """How operations and events are counted in all accounts."""
    return "messages" if value == "any" else "digits"
