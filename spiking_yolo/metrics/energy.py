"""Energy estimates in several cost models, each with its formula; plain numbers in and out.

A cost model charges the network's computations, and some of its memory traffic, at costs of 45 nm
(Horowitz, ISSCC 2014, figure 1.1.9). None of them is the energy of a chip, and they differ about
whether the spiking network saves energy. A `ChipCostModel` has costs that were fitted to a chip, on
which the ANN does not run.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

Value = Literal["none", "power of two", "any"]


@dataclass(frozen=True)
class NetworkSize:
    """What a network computes and holds, per image.

    Attributes:
        macs: Multiply-accumulates of the ANN.
        weights: Number of weights.
        inputs: Values that convolutions and linear layers read in one pass.
        outputs: Values that they write.
        neurons: Spiking neurons; a pair counts as two.
        exponentials: Exponentials in the ANN, one per value of SiLU.
    """

    macs: float
    weights: float = 0
    inputs: float = 0
    outputs: float = 0
    neurons: float = 0
    exponentials: float = 0


@dataclass(frozen=True)
class Work:
    """The work of a spiking network for one image in t steps.

    Attributes:
        t: Timesteps.
        operations: Synaptic operations, counted as `charged` says.
        events: Emissions of neurons and max poolings, counted likewise.
        updates: Neurons touched, summed over the steps.
        analogue_macs: Multiply-accumulates of layers that receive analogue values: once if cached,
            else t times as many.
        value: What an event carries besides its sign.
        exponentials: Exponentials and logarithms.
        potential_bytes: Width of a potential: whole bytes that hold the widest sum of the run.
    """

    t: float
    operations: float
    events: float = 0
    updates: float = 0
    analogue_macs: float = 0
    value: Value = "none"
    exponentials: float = 0
    potential_bytes: int = 4


def charged(value: Value) -> Literal["digits", "messages"]:
    """How operations and events are counted in all cost models."""
    return "messages" if value == "any" else "digits"


PJ_PER_MJ = 1e9
ADD = {"int32": 0.1, "fp32": 0.9}
MULTIPLY = {"int8": 0.2, "int32": 3.1, "fp32": 3.7}
# A shift by k: an 8-bit addition to an exponent, or moving the weight.
SHIFT = 0.03
# pJ per byte of SRAM: 10 pJ for 64 bits of 8 KB, 100 pJ for those of 1 MB.
SRAM_8_KB, SRAM_1_MB = 1.25, 12.5
# An event has an address, a sign and an exponent.
EVENT_BYTES = 4
# Multiply-accumulates per exponential or logarithm.
EXPONENTIAL = 10


@dataclass(frozen=True)
class CostModel:
    """What is charged, in pJ; bytes cost `sram` each, the price of a memory of some size.

    ANN = macs * mac + exponentials * exponential + once, with
        mac = multiply + add + 2 * sram: a value and a weight of 8 bits are read;
        exponential = 10 multiply-accumulates, of 32 bits where there is no float.
    SNN = operations * operation + analogue_macs * mac + updates * update + events * event +
    exponentials * exponential + once, with
        operation = sram + update, and a shift or a multiplication where events carry a value: a
        weight of 8 bits is read, a potential is read, added to and written; update = 2 *
        potential_bytes * sram + accumulate * potential_bytes / 4: each neuron that was touched is
        compared with its threshold; event = 2 * EVENT_BYTES * sram + 2 MACs of 32 bits: a queue is
        written and read, and two coordinates become an address (Lemaire 2022, Eq. 16), where
        memory is charged; counters that walk along outputs are free for both.
    A network with ideal reuse pays once instead of for each access: ANN (weights + inputs +
    outputs) * sram; SNN (t * weights + 2 * 4 * updates) * sram, and the queue: every weight, value
    and 32-bit potential moves once per pass, and registers do the rest.

    Attributes:
        meaning: What is charged, in a few words.
        ann_reuse: Whether the ANN has ideal reuse, as a dense convolution nearly has.
        snn_reuse: Whether the spiking network has, which scattered events hardly do.
    """

    key: str
    name: str
    meaning: str
    multiply: float
    add: float
    accumulate: float
    sram: float = 0
    ann_reuse: bool = False
    snn_reuse: bool = False

    def mac(self, reuse: bool) -> float:
        """pJ of a multiply-accumulate of a network with or without reuse."""
        return self.multiply + self.add + (0.0 if reuse else 2 * self.sram)

    def operation(self, value: Value = "none", potential_bytes: int = 4) -> float:
        """pJ of a synaptic operation."""
        carried = {"none": 0.0, "power of two": SHIFT, "any": self.multiply}[value]
        weight = 0.0 if self.snn_reuse else self.sram
        return weight + self.update(potential_bytes) + carried

    def update(self, potential_bytes: int = 4) -> float:
        """pJ of adding to a potential, or comparing it."""
        if not self.sram or self.snn_reuse:
            return self.accumulate
        return 2 * potential_bytes * self.sram + self.accumulate * potential_bytes / 4

    @property
    def event(self) -> float:
        if not self.sram:
            return 0.0
        return 2 * (EVENT_BYTES * self.sram + MULTIPLY["int32"] + ADD["int32"])

    @property
    def exponential(self) -> float:
        if self.multiply == MULTIPLY["fp32"]:
            return EXPONENTIAL * self.mac(self.ann_reuse)
        return EXPONENTIAL * (MULTIPLY["int32"] + ADD["int32"])

    def ann(self, size: NetworkSize) -> float:
        """mJ of one pass of the ANN."""
        once = 0.0
        if self.ann_reuse:
            once = (size.weights + size.inputs + size.outputs) * self.sram
        macs = size.macs * self.mac(self.ann_reuse)
        return (macs + size.exponentials * self.exponential + once) / PJ_PER_MJ

    def snn(self, work: Work, size: NetworkSize) -> float:
        """mJ of the spiking network."""
        events = work.events * self.event
        operations = work.operations * self.operation(work.value, work.potential_bytes)
        return (self.fixed(work, size) + operations + events) / PJ_PER_MJ

    def fixed(self, work: Work, size: NetworkSize) -> float:
        """pJ that do not depend on how many events there are."""
        once = 0.0
        if self.snn_reuse:
            once = (work.t * size.weights + 2 * 4 * work.updates) * self.sram
        updates = work.updates * self.update(work.potential_bytes)
        analogue = work.analogue_macs * self.mac(self.snn_reuse)
        return once + updates + work.exponentials * self.exponential + analogue


@dataclass(frozen=True)
class ChipCostModel(CostModel):
    """Energies per event that were fitted to a neuromorphic chip, in pJ; the ANN has none (nan).

    SNN = (operations + analogue_macs) * synapse + t * neurons * access + updates * soma + events *
    (spike + message): every neuron is visited in every step, and every event is one message to one
    core. Hops between cores, copies to further cores, chips beyond the first, the barrier at the
    end of a step, and idle power are not charged: a lower bound. A product with an analogue value
    is charged as a synaptic operation.
    """

    multiply: float = math.nan
    add: float = math.nan
    accumulate: float = math.nan
    synapse: float = 0
    access: float = 0
    soma: float = 0
    spike: float = 0
    message: float = 0

    def ann(self, size: NetworkSize) -> float:
        return math.nan

    def operation(self, value: Value = "none", potential_bytes: int = 4) -> float:
        return self.synapse

    @property
    def event(self) -> float:
        return self.spike + self.message

    def fixed(self, work: Work, size: NetworkSize) -> float:
        neurons = work.t * size.neurons * self.access + work.updates * self.soma
        return neurons + work.analogue_macs * self.synapse


# The first Loihi, 14 nm: SANA-FE's coefficients (sanafe/examples/loihi.yaml, version 2.2.9;
# synapses of convolutions), which predict the energy of three applications within 12 % (Boyle et
# al., IEEE TCAD 2025, doi 10.1109/TCAD.2025.3537971).
LOIHI = ChipCostModel(
    "loihi",
    "Loihi",
    "events, as fitted to a chip",
    synapse=24.0,
    access=51.2,
    soma=21.6,
    spike=69.3,
    message=111.0,
)

FP32 = CostModel("fp32", "fp32", "float32 arithmetic", MULTIPLY["fp32"], ADD["fp32"], ADD["fp32"])
# The ANN computes in 8 bits here, and in all models that follow from this one.
INT8 = CostModel("int8", "8 bit", "8-bit arithmetic", MULTIPLY["int8"], ADD["int32"], ADD["int32"])
_EVERY_ACCESS = "8 bits and every access to"
SRAM = replace(
    INT8, key="sram", name="SRAM 8 KB", meaning=f"{_EVERY_ACCESS} 8 KB of SRAM", sram=SRAM_8_KB
)
LARGE_SRAM = replace(
    SRAM, key="sram1m", name="SRAM 1 MB", meaning=f"{_EVERY_ACCESS} 1 MB of SRAM", sram=SRAM_1_MB
)
_ONCE = "8 bits and each value fetched from memory once"
REUSE = replace(SRAM, key="reuse", name="reuse", meaning=_ONCE, ann_reuse=True, snn_reuse=True)
_ANN_ONCE = "the ANN's values fetched once, every access of events"
DATAFLOW = replace(SRAM, key="dataflow", name="dataflow", meaning=_ANN_ONCE, ann_reuse=True)
COST_MODELS = (FP32, INT8, SRAM, LARGE_SRAM, REUSE, DATAFLOW)
# These are all of them, with that of a chip.
EVERY_COST_MODEL = (*COST_MODELS, LOIHI)
BY_KEY = {model.key: model for model in EVERY_COST_MODEL}
