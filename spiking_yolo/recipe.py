"""A conversion method as data: a frozen Recipe of four slots, in and out of JSON, overridden key by key.

Slots: (a) thresholds, (b) neuron, (c) calibration, (d) input encoding and readout.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import json_text, read_text
from spiking_yolo.io.names import plain_name
from spiking_yolo.io.near import did_you_mean
from spiking_yolo.io.typed_json import read_json
from spiking_yolo.settings import Factors, allow, checked, parse, provided_by, setting, settings_of

MOST = 65536  # spikes per timestep: as many as needed
SIGNED = ("memory", "dcgs", "few-spikes")  # kinds of neurons that follow the sum of their input, of either sign


@dataclass(frozen=True)
class Threshold:
    """(a) How the threshold theta of each neuron follows from the activation statistics."""

    rule: Literal["max", "percentile", "shared", "divided", "clamped", "mmse", "balance", "sensitivity"] = setting(
        "percentile",
        "what theta starts from: a statistic of the activations (max of one with a cap: the cap; shared: the "
        "percentile / gamma; divided, clamped: the percentile with activations above 1 divided by gamma, or with all "
        "clamped at gamma), balance: the largest input current of the layer while the layers before it spike, or "
        "sensitivity: how much an error matters to the output, and what an event costs, for calibration.operations",
    )
    scope: Literal["channel", "layer"] = setting("channel", "one statistic per channel, or one per layer")
    percentile: float = setting(99.9, "in percent, over the positive values; divided, clamped: over all", 0.001, 100)
    levels: int = setting(16, "for rule=mmse: quantisation levels below theta", 1, 1024)
    scale: float = setting(1.0, "theta = scale * statistic", 1e-6, 1e6)
    layers: Factors = setting((), "factors on the theta of single layers, NAME:0.5,NAME2:2", 1e-6, 1e6)


@dataclass(frozen=True)
class Neuron:
    """(b) What a neuron does with its input current in a timestep."""

    kind: Literal["if", "ibt", "memory", "dcgs", "few-spikes"] = setting(
        "if",
        "if: integrate and fire, an ON/OFF pair on leaky ReLU; ibt: signed, imbalanced threshold; memory: signed, "
        "remembers what it sent; dcgs: signed, one of 8 powers of two per step; few-spikes: binary digits of a value",
    )
    reset: Literal["subtract", "zero"] = setting("subtract", "for kind=if: subtract the threshold, or reset to zero")
    gamma: int = setting(1, "largest number of spikes per timestep", 1, MOST)
    initial: float = setting(
        0.0, "membrane potential at the start, in thresholds; 0.5 turns flooring into rounding", -10, 10
    )
    shift: int = setting(0, "for kind=if: add theta / (2 * shift) to the potential in every step; 0: never", 0)
    events: Literal["spikes", "switches", "digits"] = setting(
        "spikes",
        "what travels along synapses: spikes, the switching on and off of runs of spikes, or for kind=memory the "
        "signed digits +-2^k of what is due",
    )
    digits: int = setting(0, "for events=digits: how many a neuron may send in a step; 0: as many as needed", 0, 16)
    slack: float = setting(
        0.0,
        "for events=digits: how much farther than half a threshold a value is rounded, in thresholds, where that saves "
        "a digit",
        0,
        0.5,
    )
    hysteresis: float = setting(
        0.0,
        "for kind=memory: how much more than half a threshold must be due before a neuron fires in a later frame of a "
        "video, in thresholds; then it sends all that is due",
        0,
        16,
    )
    pool_first: bool = setting(
        True, "for memory, dcgs, few-spikes: pool potentials, and put the neuron behind its max pooling"
    )


@dataclass(frozen=True)
class Msat:
    """(b) The multi-stage adaptive threshold of the draft paper, Eq. 14 to 17; see snn/msat.py."""

    enabled: bool = setting(False, "the threshold of each neuron adapts in every step")
    variant: Literal["eq17", "algorithm1"] = setting(
        "eq17", "rule of the threshold: Eq. 17, or Algorithm 1 as we read it"
    )
    units: Literal["normalised", "raw"] = setting("normalised", "potentials as fractions of theta, or as they are")
    dtt: bool = setting(True, "dynamic tracking threshold, Eq. 15")
    det: bool = setting(True, "dynamic evoked threshold, Eq. 16")
    mu: bool = setting(False, "the term exp(-|mean potential|) of Eq. 16")
    gain: float = setting(
        1.0,
        "k: the rule takes Theta as k, and a potential U as k U / Theta; 0: chosen on the calibration images",
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
    stages: int = setting(0, "for variant=eq17: thresholds are theta / 2^k, k = 0..stages; 0: any value", 0, 16)
    confidence: Literal["off", "after", "before"] = setting(
        "off", "drop spikes of the first 16 steps by the layer's spike confidence, after or before the reset"
    )
    unsure: Literal["all", "last"] = setting(
        "all", "for confidence: layers that may drop spikes, all of them or only those that the outputs read"
    )


@dataclass(frozen=True)
class Calibration:
    """(c) What is corrected by running the network on the calibration images."""

    kind: Literal["none", "light", "advanced", "fraction", "trained"] = setting(
        "none",
        "light: bias; advanced: initial potential; fraction: theta, as the fraction of the statistic that serves best; "
        "trained: all three and a value at rest, by gradient descent without labels, for events=digits",
    )
    T: int = setting(32, "timesteps of the calibration, and of threshold.rule=balance; does not follow --T", 1, 65536)
    operations: float = setting(
        0.8,
        "for rule=sensitivity and kind=trained: the digits to aim at, as operations per MAC of the ANN; a third more "
        "in networks of more than 40 layers, twice as many in those with depthwise convolutions",
        0.01,
        100,
    )
    steps: int = setting(400, "for kind=trained: steps of the descent", 1, 65536)


@dataclass(frozen=True)
class Encoding:
    """(d) What travels: the image into the network, and values between layers."""

    coding: Literal["rate", "differential"] = setting(
        "rate", "rate: image and bias in every step; differential: once, and layers send changes"
    )
    input: Literal["analogue", "poisson"] = setting("analogue", "the image itself, or random spikes at its intensities")
    frames: Literal["keep", "reset"] = setting(
        "keep",
        "in a video, keep: the state stays from frame to frame, and what changes is sent, with coding=differential; "
        "reset: each frame is a new image",
    )
    tau: float = setting(
        0.0,
        "for frames=keep: a pixel of a later frame is sent if a channel differs by more than this from what was sent "
        "for it, of 1",
        0,
        1,
    )
    seed: int = setting(0, "of everything that is random: Poisson spikes, spike confidence", 0)
    coarse: int = setting(
        0,
        "for coding=differential: a spike of the first step is worth 2^coarse thetas, halved in each step down to 1",
        0,
        16,
    )
    refine: int = setting(
        0,
        "for coding=differential: after this step, and again whenever t has doubled, spikes become finer; 0: never",
        0,
    )
    refine_by: float = setting(0.75, "for refine: what the value of a spike is multiplied by", 0.01, 1)
    refinements: int = setting(3, "for refine: how often at most", 0, 16)


@dataclass(frozen=True)
class Readout:
    """(d) How the head's potential becomes the output tensor.

    With skip > 0 the mean is taken over the steps after a warm-up: output(t) = (sum of z over skip < k <= t) / (t -
    skip). The conservation identities (sum of z = what was emitted + potential) then no longer tie the output to the
    whole run.
    """

    skip: int = setting(0, "leave out the first steps of the head's mean; below T; rate coding only", 0)


_SLOTS: dict[str, type] = {
    "threshold": Threshold,
    "neuron": Neuron,
    "msat": Msat,
    "calibration": Calibration,
    "encoding": Encoding,
    "readout": Readout,
}


for _name, _module in (("kind", "neurons"), ("reset", "step")):
    provided_by(Neuron, _name, f"spiking_yolo.snn.{_module}")
for _name in ("coding", "input"):
    provided_by(Encoding, _name, "spiking_yolo.snn.encoding")


def allow_choices(key: str, choices: Iterable[str]) -> None:
    """Let a setting such as "neuron.kind" take these values too; for code that brings a new neuron, reset or coding."""
    slot, _, name = key.partition(".")
    for choice in choices:
        allow(_SLOTS[slot], name, choice)


@dataclass(frozen=True)
class Recipe:
    """One conversion method. Raises UserError for values out of range and for slots that do not fit together."""

    name: str
    threshold: Threshold = Threshold()
    neuron: Neuron = Neuron()
    msat: Msat = Msat()
    calibration: Calibration = Calibration()
    encoding: Encoding = Encoding()
    readout: Readout = Readout()

    def __post_init__(self):
        plain_name(self.name, "a method")
        for slot, cls in _SLOTS.items():
            for name, entry in settings_of(cls).items():
                checked(f"{slot}.{name}", entry, getattr(getattr(self, slot), name))
        if reason := self._conflict():
            raise UserError(reason)

    def _conflict(self) -> str | None:
        """Why the slots do not fit together, and what to set."""
        n, e = self.neuron, self.encoding
        if e.coding == "differential" and n.kind not in SIGNED:
            return (
                "encoding.coding=differential needs signed neurons: --set neuron.kind=memory, or a rate-coded --method"
            )
        if e.coding == "rate" and n.kind in SIGNED[1:]:
            return f"neuron.kind={n.kind} needs encoding.coding=differential: it sends a value, and then its changes"
        if e.coding == "differential" and self.readout.skip:
            return "readout.skip needs encoding.coding=rate: differential coding has no mean to take"
        if e.coding == "differential" and e.input == "poisson":
            return "encoding.input=poisson needs encoding.coding=rate: differential coding sends the image once"
        if e.coding == "rate" and (e.refine or e.coarse):
            return "encoding.coarse and encoding.refine need encoding.coding=differential"
        if n.kind != "memory" and (e.refine or e.coarse):
            return f"encoding.coarse and encoding.refine need neuron.kind=memory: the spikes of {n.kind} have values"
        if n.kind == "dcgs" and (n.gamma > 1 or n.initial):
            return "neuron.kind=dcgs has thresholds of its own: leave out neuron.gamma and neuron.initial"
        if n.shift and (n.initial or n.kind != "if"):
            return "neuron.shift needs neuron.kind=if and neuron.initial=0: it takes the place of the initial potential"
        if n.events == "switches" and (self.msat.enabled or e.coding == "differential"):
            return "neuron.events=switches needs spikes of one value: --set msat.enabled=false, encoding.coding=rate"
        if n.events == "digits" and n.kind != "memory":
            return f"neuron.events=digits needs neuron.kind=memory, not {n.kind}: only its neurons send signed values"
        if n.events == "digits" and self.msat.enabled:
            return "neuron.events=digits has stages of its own: --set msat.enabled=false"
        if n.hysteresis and not (n.kind == "memory" and e.coding == "differential"):
            return "neuron.hysteresis needs neuron.kind=memory and encoding.coding=differential, which keep the state"
        if e.tau and e.coding == "rate":
            return "encoding.tau needs encoding.coding=differential, in which an image is sent once"
        if n.events != "digits" and (n.digits or n.slack):
            return "neuron.digits and neuron.slack need neuron.events=digits"
        if self.by_gradient and not (n.events == "digits" and e.coding == "differential"):
            return (
                "threshold.rule=sensitivity and calibration.kind=trained need complete values: "
                "--set neuron.events=digits, encoding.coding=differential"
            )
        if n.reset == "zero" and n.kind != "if":
            return f"neuron.reset=zero needs neuron.kind=if, not {n.kind}"
        if self.msat.enabled and n.kind not in ("if", "memory"):
            return f"msat.enabled needs neuron.kind=if or memory: the threshold of {n.kind} cannot adapt"
        if self.msat.enabled and self.msat.variant == "algorithm1" and e.coding == "differential":
            return "msat.variant=algorithm1 needs encoding.coding=rate: its threshold never comes to rest"
        if self.msat.enabled and not self.msat.floor and (n.kind != "if" or n.gamma > 1):
            return "msat.floor=0 needs neuron.kind=if and neuron.gamma=1: the others divide by the threshold"
        if self.msat.confidence != "off" and not (self.msat.enabled and n.kind == "if"):
            return "msat.confidence needs msat.enabled=true and neuron.kind=if"
        if self.threshold.rule == "balance" and e.coding == "differential":
            return "threshold.rule=balance needs encoding.coding=rate"
        return None

    @property
    def runs_network(self) -> bool:
        """Whether this recipe must run the network on calibration images; the result is kept in a file."""
        adapts = (self.msat.enabled and not self.msat.gain) or self.msat.confidence != "off" or self.by_gradient
        return self.threshold.rule == "balance" or self.calibration.kind != "none" or adapts

    @property
    def keeps_frames(self) -> bool:
        """Whether the state stays from frame to frame of a video."""
        return self.encoding.coding == "differential" and self.encoding.frames == "keep"

    @property
    def events_per_step(self) -> int:
        """How many events a neuron may send in a step: the spikes of a burst, signed digits, or binary ones."""
        n, bits = self.neuron, self.neuron.gamma.bit_length()
        if n.events == "digits":
            return min(n.digits or bits, (bits + 2) // 2)
        return bits if n.kind == "few-spikes" else n.gamma

    def latency(self, T: int, layers: int) -> tuple[int, int]:
        """Sub-steps of one event per neuron that T steps take: all layers in each step, and pipelined.

        In a pipeline a layer takes a value only when it is complete, and works on the next while others go on.
        """
        return T * self.events_per_step, (T + layers - 1) * self.events_per_step

    @property
    def by_gradient(self) -> bool:
        """Whether what is learned holds for every setting but those of its calibration."""
        return self.threshold.rule == "sensitivity" or self.calibration.kind == "trained"

    @property
    def counting(self) -> Literal["spikes", "digits"]:
        """In which of the countings (see snn/counting.py) the events of this method are what they say they are."""
        return "digits" if self.neuron.events == "digits" or self.neuron.kind == "few-spikes" else "spikes"

    def with_settings(self, settings: Mapping[str, Any]) -> "Recipe":
        """A copy with some keys changed, e.g. {"neuron.gamma": "4"}; strings are parsed to the key's type."""
        slots: dict[str, dict[str, Any]] = {}
        for path, value in settings.items():
            slot, _, name = path.partition(".")
            known = settings_of(_SLOTS[slot]) if slot in _SLOTS else {}
            if name not in known:
                keys = [key for key, _, _ in settings_table()]
                hint = did_you_mean(path, keys) or f": the keys are {', '.join(keys)}"
                raise UserError(f"unknown setting {path!r}{hint}")
            slots.setdefault(slot, {})[name] = parse(path, known[name].type, value)
        return replace(self, **{slot: replace(getattr(self, slot), **new) for slot, new in slots.items()})

    def changes(self, start: "Recipe") -> dict[str, Any]:
        """Key -> value of what differs from another recipe, but for the readout: it needs no calibration of its own."""
        pairs = {slot: (vars(getattr(self, slot)), vars(getattr(start, slot))) for slot in _SLOTS if slot != "readout"}
        return {f"{slot}.{k}": v for slot, (own, old) in pairs.items() for k, v in own.items() if v != old[k]}

    def to_json(self) -> str:
        return json_text(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        try:
            data = read_json(text, dict[str, Any])
            flat = {f"{s}.{k}": v for s in _SLOTS for k, v in data.get(s, {}).items()}
            unknown = set(data) - {"name", *_SLOTS}
        except (ValueError, AttributeError) as error:
            raise UserError(f"not a recipe: {error}") from error
        if unknown or not isinstance(data.get("name"), str):
            raise UserError(f"not a recipe: it needs a name and the slots {', '.join(_SLOTS)}, and nothing else")
        return cls(data["name"]).with_settings(flat)

    @classmethod
    def read(cls, path: str | Path) -> "Recipe":
        return cls.from_json(read_text(path))


def settings_table() -> list[tuple[str, Any, str]]:
    """Every key of --set with its default and documentation: the one list of them."""
    entries = [(slot, entry) for slot, cls in _SLOTS.items() for entry in settings_of(cls).values()]
    return [(f"{slot}.{entry.name}", entry.default, entry.documentation) for slot, entry in entries]
