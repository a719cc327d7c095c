"""The slots of a method: thresholds, neuron and MSAT, calibration, encoding, readout."""

from dataclasses import dataclass
from typing import Any, Literal

from spiking_yolo.recipe.kinds import KINDS
from spiking_yolo.settings import setting, settings_of

# spikes per timestep: as many as needed.
MAX_GAMMA = 65536
# calibration.operations where nothing is trained, which takes finer thetas: 1.2 (here 1.6 per MAC)
# found as much as the ANN on 50 COCO train2017 photographs with yolov5n at 640 pixels, 0.7 (0.95)
# three quarters of it.
UNTRAINED_OPERATIONS = 1.2


@dataclass(frozen=True)
class Threshold:
    """(a) How the threshold theta of each neuron follows from the activation statistics."""

    rule: Literal["max", "percentile", "shared", "mmse", "excess", "balance", "sensitivity"] = (
        setting(
            "percentile",
            "what theta starts from: a statistic of the activations (max of one with a cap: the"
            " cap; shared: the percentile / gamma; excess: raised by twice the mean excess until it"
            " settles), balance: the largest input current of the layer while the layers before it"
            " spike, or sensitivity: how much an error matters to the output, and what an event"
            " costs, for calibration.operations",
        )
    )
    scope: Literal["channel", "layer"] = setting(
        "channel", "one statistic per channel, or one per layer"
    )
    percentile: float = setting(99.9, "in percent, over the positive values", 0.001, 100)
    levels: int = setting(16, "for rule=mmse: quantisation levels below theta", 1, 1024)
    scale: float = setting(1.0, "theta = scale * statistic", 1e-6, 1e6)


@dataclass(frozen=True)
class Neuron:
    """(b) What a neuron does with its input current in a timestep."""

    kind: str = setting(
        "if", "; ".join(f"{name}: {kind.doc}" for name, kind in KINDS.items()), choices=KINDS
    )
    reset: Literal["subtract", "zero"] = setting(
        "subtract", "for kind=if and msat: subtract the threshold, or reset to zero"
    )
    gamma: int = setting(1, "largest number of spikes per timestep", 1, MAX_GAMMA)
    initial: float = setting(
        0.0,
        "membrane potential at the start, in thresholds; 0.5 turns flooring into rounding",
        -10,
        10,
    )
    shift: int = setting(
        0,
        "for kind=if and msat: add theta / (2 * shift) to the potential in every step; 0: never",
        0,
    )
    events: Literal["spikes", "switches", "digits"] = setting(
        "spikes",
        "what travels along synapses: spikes, the switching on and off of runs of spikes, or for"
        " kind=sigma-delta the signed digits +-2^k of what is due",
    )
    slack: float = setting(
        0.0,
        "for events=digits: how much farther than half a threshold a value is rounded, in"
        " thresholds, where that saves a digit",
        0,
        0.5,
    )
    hysteresis: float = setting(
        0.0,
        "for kind=sigma-delta: how much more than half a threshold must be due before a neuron"
        " fires in a later frame of a video, in thresholds; then it sends all that is due",
        0,
        16,
    )
    busy: float = setting(
        0.0,
        "for hysteresis: the operations of the frame before, as a share of a first frame's, from"
        " which it is whole; below it is in proportion; 0: always whole",
        0,
        1,
    )
    pool_first: bool = setting(
        True, "for neurons that follow the sum of their input: put them behind their max pooling"
    )


@dataclass(frozen=True)
class Msat:
    """(b) The multi-stage adaptive threshold of neuron.kind=msat; see snn/neurons/msat.py."""

    variant: Literal["eq17", "algorithm1"] = setting(
        "eq17", "rule of the threshold: Eq. 17, or Algorithm 1 as we read it"
    )
    dtt: bool = setting(True, "dynamic tracking threshold, Eq. 15")
    det: bool = setting(True, "dynamic evoked threshold, Eq. 16")
    mu: bool = setting(False, "the term exp(-|mean potential|) of Eq. 16")
    gain: float = setting(
        1.0,
        "k: the rule takes Theta as k, and a potential U as k U / Theta; 0: chosen on the"
        " calibration images",
        0,
        100,
    )
    alpha: float = setting(0.03, "slope of the tracking threshold", 0, 100)
    k_a: float = setting(1.0, "weight of its logarithm", 0, 100)
    k_i: float = setting(1.0, "scale of its logarithm", 1e-6, 1e6)
    c: float = setting(5.0, "C, the scale of the evoked threshold", 1e-6, 1e6)
    tau_mp: float = setting(1.0, "weight of the tracking threshold", 0, 100)
    tau_rd: float = setting(1.0, "weight of the evoked threshold", 0, 100)
    g: float = setting(0.1, "for variant=algorithm1: gain", 0, 100)
    floor: float = setting(1e-3, "smallest threshold, in theta; the authors have none", 0, 1)


@dataclass(frozen=True)
class Calibration:
    """(c) What is corrected by running the network on the calibration images."""

    name: str = setting("default", "of the calibration in its file; see --calibration")
    kind: Literal["none", "light", "advanced", "trained", "tuned"] = setting(
        "none",
        "light: bias; advanced: initial potential; trained: both, theta and a value at rest, by"
        " gradient descent without labels, for events=digits; tuned: the same for longer, on random"
        " crops",
    )
    T: int = setting(
        32,
        "timesteps of the calibration, and of threshold.rule=balance; does not follow --T",
        1,
        65536,
    )
    operations: float = setting(
        0.8,
        "for rule=sensitivity and kind=trained or tuned: the digits to aim at, as operations per"
        " MAC of the ANN; a third more in networks of more than 40 layers, a half more in those of"
        " more than 80, twice as many where a quarter of them are depthwise",
        0.01,
        100,
    )
    steps: int = setting(400, "for kind=trained or tuned: steps of the descent", 1, 65536)
    weights: bool = setting(
        False,
        "for kind=tuned: the network's weights are trained as well, against the ANN's outputs",
    )
    frames: int = setting(
        1,
        "for kind=tuned: more than 1 to train on clips of so many frames, whose last ones count,"
        " made of photographs",
        1,
        64,
    )

    @property
    def by_gradient(self) -> bool:
        """Whether gradient descent decides what is learned."""
        return self.kind in ("trained", "tuned")


@dataclass(frozen=True)
class Encoding:
    """(d) What travels: the image into the network, and values between layers."""

    input: Literal["analogue", "poisson"] = setting(
        "analogue", "the image itself, or random spikes at its intensities"
    )
    frames: Literal["keep", "reset"] = setting(
        "keep",
        "in a video, keep: the state stays from frame to frame, and neurons that send changes send"
        " what changes; reset: each frame is a new image",
    )
    tau: float = setting(
        0.0,
        "for frames=keep: a pixel of a later frame is sent if a channel differs by more than this"
        " from what was sent for it, of 1",
        0,
        1,
    )
    denoise: bool = setting(
        False,
        "for frames=keep: the camera's noise is measured on the first frames of a video, and"
        " averaged out of the pixels that do not move",
    )
    seed: int = setting(0, "of the Poisson spikes", 0)
    coarse: int = setting(
        0,
        "for kind=sigma-delta: a spike of a layer's first step is worth 2^coarse thetas, halved"
        " in each step down to 1, and each layer starts one step after the layer before it; 0: a"
        " spike is worth a theta, and all layers send in every step",
        0,
        16,
    )


@dataclass(frozen=True)
class Readout:
    """(d) How the head's potential becomes the output tensor.

    With skip > 0 the mean is taken over the steps after a warm-up: output(t) = (sum of z over skip
    < k <= t) / (t - skip). The conservation identities (sum of z = what was emitted + potential)
    then no longer tie the output to the whole run.
    """

    skip: int = setting(
        0, "leave out the first steps of the head's mean; below T; rate coding only", 0
    )


SLOTS: dict[str, type] = {
    "threshold": Threshold,
    "neuron": Neuron,
    "msat": Msat,
    "calibration": Calibration,
    "encoding": Encoding,
    "readout": Readout,
}


def settings_table() -> list[tuple[str, Any, str]]:
    """Every key of --set with its default and documentation: the one list of them."""
    entries = [(slot, entry) for slot, cls in SLOTS.items() for entry in settings_of(cls).values()]
    return [(f"{slot}.{entry.name}", entry.default, entry.documentation) for slot, entry in entries]
