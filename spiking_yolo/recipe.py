"""A conversion method as data: a frozen Recipe of slots, read and written as JSON; its settings,
which are fields of the slots with documentation and range, and the kinds of neurons that it can
have.

The layers of neurons are in rate/neurons, whose `register` adds a new kind to the table here, which
is what can be known without torch.
"""

import sys
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field, asdict, dataclass, field, fields, replace
from functools import cache
from typing import Annotated, Any, Literal

import msgspec

from spiking_yolo.errors import UserError
from spiking_yolo.io import text

Bound = float | None


def setting(
    default: Any, doc: str, low: Bound = None, high: Bound = None, choices: Iterable[str] = ()
) -> Any:
    """A field of a slot, with its documentation and range; its type is bool, int, float, str or a
    Literal.

    Args:
        default: Default of the field.
        doc: Meaning.
        low: Smallest value.
        high: Largest value.
        choices: Allowed texts of a str; may grow later.
    """
    metadata = {"doc": doc, "low": low, "high": high, "choices": choices}
    return field(default=default, metadata=metadata)


@cache
def types_of(slot: type) -> dict[str, Any]:
    """The type of each field of a slot."""
    return typing.get_type_hints(slot)


def choices_of(one: Field[Any], kind: Any) -> list[str]:
    """The allowed texts of a field of this type; empty: any value of it."""
    if typing.get_origin(kind) is Literal:
        return list(typing.get_args(kind))
    return list(one.metadata["choices"])


def checked(name: str, one: Field[Any], kind: Any, value: Any) -> Any:
    """The value of a field in its type, `kind`, also from the text of a command line.

    Raises:
        UserError: It has another type, or is out of range; the message calls it `name`.
    """
    if choices := choices_of(one, kind):
        if value in choices:
            return value
        raise UserError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    low, high = one.metadata["low"], one.metadata["high"]
    if kind in (int, float):
        # The largest float is below infinity.
        highest = text.LARGEST_INTEGER if kind is int else sys.float_info.max
        lowest = -highest if low is None else low
        kind = Annotated[kind, msgspec.Meta(ge=lowest, le=highest if high is None else high)]
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        said = str(error).replace("Expected", "must be").replace("`", "")
        raise UserError(f"{name} {said}, not {value!r:.60}") from None


@dataclass(frozen=True)
class Kind:
    """The properties of a kind of neuron.

    Attributes:
        doc: What it does, in a few words.
        signed: One neuron sends spikes of both signs. For leaky ReLU other kinds form a pair, whose
            OFF neuron has a threshold of its own.
        differential: Image and biases enter once, and a neuron remembers the net value that it has
            sent, which follows phi of the sum of its input in whatever order that arrives: it sends
            changes (sigma-delta neurons). It can stand behind its max pooling, and its threshold
            covers the activations of both signs. Other kinds work in rate coding: image and biases
            enter in every step.
        msat: Its threshold adapts by the rules of MSAT, so that its spikes are graded.
        events: "digits" if it sends the binary digits of its value whatever neuron.events says.
        carries: What an event carries besides its sign, for estimates of energy.
        follows: The activations other than ReLU that it can follow: "slope" (leaky ReLU), "cap"
            (ReLU6), "silu", "mish" and "softmax" (attention). Networks with others are refused.
        supports: The settings that it reads; others are refused: "gamma", "initial", "reset",
            "shift", "digits" and "schedule". "digits" is
            neuron.events=digits, "schedule" encoding.coarse (spikes that are worth
            clock.spike_weight thetas).
        plain: For ReLU it is integrate and fire as NIR defines it.
    """

    doc: str = ""
    signed: bool = False
    differential: bool = False
    msat: bool = False
    events: Literal["spikes", "digits"] = "spikes"
    carries: Literal["none", "power of two", "any"] = "none"
    follows: tuple[str, ...] = ()
    supports: tuple[str, ...] = ("gamma", "initial")
    plain: bool = False


_RATE = ("gamma", "initial", "reset", "shift")
_CHANGES: Any = {"signed": True, "differential": True, "follows": ("slope", "cap")}
KINDS: dict[str, Kind] = {
    "if": Kind("integrate and fire", follows=("slope", "cap"), supports=_RATE, plain=True),
    "ibt": Kind("signed, imbalanced threshold", signed=True, follows=("slope", "cap"), plain=True),
    "msat": Kind(
        "as if, with the threshold of MSAT",
        msat=True,
        follows=("slope", "cap"),
        supports=_RATE,
        carries="any",
    ),
    "sigma-delta": Kind(
        "sends changes of its activation",
        signed=True,
        differential=True,
        follows=("slope", "cap", "silu", "mish", "softmax"),
        supports=("gamma", "initial", "digits", "schedule"),
    ),
    "dcgs": Kind(
        "signed, one of 8 powers of two per step", carries="power of two", supports=(), **_CHANGES
    ),
    "few-spikes": Kind(
        "binary digits of a value", events="digits", carries="power of two", **_CHANGES
    ),
    "multi-level": Kind("a value as one message", carries="any", **_CHANGES),
}

# This many spikes per timestep are as many as needed.
MAX_GAMMA = 65536
# The calibration.operations of thresholds that are not trained, which have to be finer. On 50 COCO
# train2017 photographs with yolov5n at 640 pixels, 1.2 (there 1.6 per MAC) found as many objects as
# the ANN, and 0.7 (0.95 per MAC) three quarters of them.
UNTRAINED_OPERATIONS = 1.2


# What threshold.rule takes -> what it is; `convert.thresholds.register` adds one.
RULES: dict[str, str] = {
    "max": "the largest activation, or the cap",
    "percentile": "a percentile of the activations",
    "shared": "the percentile / gamma",
    "mmse": "the least squared error",
    "excess": "raised by twice the mean excess until it settles",
    "balance": "the largest current while the layers before spike",
    "sensitivity": "what an error matters to the output, and what an event costs",
}


@dataclass(frozen=True)
class Threshold:
    """(a) How the threshold theta of each neuron follows from the activation statistics.

    rule: max and percentile are statistics (max of an activation with a cap: the cap), shared is
    the percentile / gamma, excess is raised by twice the mean excess until it settles. balance
    measures the largest input current while the layers before spike; sensitivity weighs how much
    an error matters to the output and what an event costs, for calibration.operations.
    """

    rule: str = setting(
        "percentile",
        "what theta starts from, such as a statistic of the activations",
        choices=RULES,
    )
    scope: Literal["channel", "layer"] = setting("channel", "one statistic per channel, or layer")
    percentile: float = setting(99.9, "in percent, over the positive values", 0.001, 100)
    scale: float = setting(1.0, "theta = scale * statistic", 1e-6, 1e6)


_KINDS = "; ".join(f"{name}: {kind.doc}" for name, kind in KINDS.items())


@dataclass(frozen=True)
class Neuron:
    """(b) What a neuron does with its input current in a timestep.

    In a later frame of a video a neuron fires if half a threshold and `dead_zone` more is due, and
    then sends all of it.
    """

    kind: str = setting("if", _KINDS, choices=KINDS)
    reset: Literal["subtract", "zero"] = setting("subtract", "for kind=if and msat: after a spike")
    gamma: int = setting(1, "largest number of spikes per timestep", 1, MAX_GAMMA)
    initial: float = setting(0.0, "potential at the start, in thresholds; 0.5: rounding", -10, 10)
    shift: int = setting(0, "for kind=if and msat: theta / (2 * shift) more in every step", 0)
    events: Literal["spikes", "switches", "digits"] = setting(
        "spikes", "what travels: spikes, the ends of runs of spikes, or signed digits +-2^k"
    )
    slack: float = setting(0.0, "for events=digits: saves digits, in thresholds of error", 0, 0.49)
    dead_zone: float = setting(0.0, "in later frames of a video, in thresholds", 0, 16)
    pool_first: bool = setting(True, "neurons that send changes stand behind their max pooling")


@dataclass(frozen=True)
class Msat:
    """(b) The multi-stage adaptive threshold of neuron.kind=msat; see rate/neurons/msat.py."""

    gain: float = setting(1.0, "k: a potential U counts as k U / Theta; 0: chosen", 0, 100)
    alpha: float = setting(0.03, "slope of the tracking threshold", 0, 100)
    tau_mp: float = setting(1.0, "weight of the tracking threshold (DTT, Eq. 15); 0: none", 0, 100)
    tau_rd: float = setting(1.0, "weight of the evoked threshold (DET, Eq. 16); 0: none", 0, 100)


@dataclass(frozen=True)
class Calibration:
    """(c) What is corrected by running the network on the calibration images.

    kind: light corrects biases, advanced initial potentials. trained and tuned change both, theta
    and a value at rest by gradient descent without labels, for events=digits; tuned for longer, on
    random crops. operations are a third more in networks of more than 40 layers, a half more above
    80, and twice as many where a quarter of the layers is depthwise.
    """

    name: str = setting("default", "of the calibration in its file; see --calibration")
    kind: Literal["none", "light", "advanced", "trained", "tuned"] = setting(
        "none", "light: bias; advanced: initial potential; trained, tuned: both, by descent"
    )
    T: int = setting(32, "timesteps of the calibration; does not follow --T", 1, 65536)
    operations: float = setting(0.8, "digits to aim at, per MAC of the ANN", 0.01, 100)
    steps: int = setting(400, "for kind=trained or tuned: steps of the descent", 1, 65536)
    frames: int = setting(1, "for kind=tuned: train on clips of so many frames", 1, 64)

    @property
    def by_gradient(self) -> bool:
        """Whether gradient descent decides what is learned."""
        return self.kind in ("trained", "tuned")


@dataclass(frozen=True)
class Encoding:
    """(d) What travels: the image into the network, and values between layers.

    coarse, for kind=sigma-delta: a spike of a layer's first step is worth 2^coarse thetas, halved
    in each step down to 1, and each layer starts one step after the layer before it; with 0 a
    spike is worth a theta, and all layers send in every step.
    """

    input: Literal["analogue", "poisson"] = setting(
        "analogue", "the image itself, or random spikes at its intensities"
    )
    frames: Literal["keep", "reset"] = setting(
        "keep", "in a video the state stays, and changes are sent; or each frame is a new image"
    )
    denoise: bool = setting(False, "a camera's noise is averaged out of pixels that do not move")
    seed: int = setting(0, "of the Poisson spikes", 0)
    coarse: int = setting(0, "spikes of a layer begin with the value 2^coarse thetas", 0, 16)


@dataclass(frozen=True)
class Readout:
    """(d) How the head's potential becomes the output tensor.

    With skip > 0 the mean is taken over the steps after a warm-up: output(t) = (sum of z over skip
    < k <= t) / (t - skip). The conservation identities (sum of z = what was emitted + potential)
    then no longer tie the output to the whole run.
    """

    skip: int = setting(0, "first steps that the head's mean leaves out; rate coding only", 0)


def settings_table() -> list[tuple[str, Any, str]]:
    """List every key of --set with its default and documentation."""
    table: list[tuple[str, Any, str]] = []
    for slot, cls in SLOTS.items():
        for one in fields(cls):
            doc = one.metadata["doc"]
            if choices := choices_of(one, types_of(cls)[one.name]):
                doc = f"{doc} [{'|'.join(choices)}]"
            table.append((f"{slot}.{one.name}", one.default, doc))
    return table


# The neurons that clip a value which is out of reach, and do not send the rest later.
CLIPPED = ("few-spikes", "multi-level")


@dataclass(frozen=True)
class Recipe:
    """One conversion method.

    Raises:
        UserError: A value is out of range, or two slots do not fit together.

    Example:
        >>> Recipe("mine", neuron=Neuron(gamma=4)).with_settings({"neuron.gamma": "5"}).neuron.gamma
        5
    """

    name: str
    threshold: Threshold = Threshold()
    neuron: Neuron = Neuron()
    msat: Msat = Msat()
    calibration: Calibration = Calibration()
    encoding: Encoding = Encoding()
    readout: Readout = Readout()

    def __post_init__(self):
        text.plain_name(self.name, "a method")
        text.plain_name(self.calibration.name, "a calibration")
        for slot, cls in SLOTS.items():
            values = vars(getattr(self, slot)).copy()
            for one in fields(cls):
                name, kind = one.name, types_of(cls)[one.name]
                values[name] = checked(f"{slot}.{name}", one, kind, values[name])
            object.__setattr__(self, slot, cls(**values))
        for reason in _conflicts(self):
            raise UserError(reason)

    @property
    def neuron_kind(self) -> Kind:
        """The properties of the neurons of this method."""
        return KINDS[self.neuron.kind]

    @property
    def runs_network(self) -> bool:
        """Whether it runs the network on calibration images; what it learns is kept in a file."""
        corrects = self.threshold.rule == "balance" or self.calibration.kind != "none"
        return self.chooses_gain or corrects or self.by_gradient

    @property
    def chooses_gain(self) -> bool:
        """Whether MSAT's gains are chosen on the calibration images."""
        return self.neuron_kind.msat and not self.msat.gain

    @property
    def differential(self) -> bool:
        """Whether the image enters once and layers send changes; otherwise it is rate coding."""
        return self.neuron_kind.differential

    @property
    def by_gradient(self) -> bool:
        """Whether gradients decide the thresholds.

        They then hold for every setting but those of the calibration.
        """
        return self.threshold.rule == "sensitivity" or self.calibration.by_gradient

    @property
    def keeps_frames(self) -> bool:
        """Whether the state stays from frame to frame of a video."""
        return self.complete and self.encoding.frames == "keep"

    @property
    def complete(self) -> bool:
        """Whether a layer sends all that is due in every step, so that one step is enough."""
        neuron = self.neuron
        if neuron.kind in CLIPPED:
            return True
        unbounded = neuron.events == "digits" and neuron.gamma == MAX_GAMMA
        return neuron.kind == "sigma-delta" and unbounded and not self.encoding.coarse

    @property
    def label(self) -> str:
        """The method, and its calibration if that is not the default one: "signed-digits-tuned"."""
        if self.calibration.name == "default":
            return self.name
        return f"{self.name}-{self.calibration.name}"

    @property
    def counting(self) -> Literal["spikes", "digits"]:
        """How the events of this method are counted, see spikes/counting.py."""
        if "digits" in (self.neuron.events, self.neuron_kind.events):
            return "digits"
        return "spikes"

    def with_settings(self, settings: Mapping[str, Any]) -> "Recipe":
        """A copy with some keys changed; text is parsed to the type of the key.

        Args:
            settings: Values by key, e.g. {"neuron.gamma": "4"}.

        Raises:
            UserError: A key is unknown, or a value does not fit.
        """
        changes: dict[str, dict[str, Any]] = {}
        for key, value in settings.items():
            slot, _, name = key.partition(".")
            if slot not in SLOTS or name not in types_of(SLOTS[slot]):
                keys = [key for key, _, _ in settings_table()]
                hint = text.did_you_mean(key, keys) or f": the keys are {', '.join(keys)}"
                raise UserError(f"unknown setting {key!r}{hint}")
            changes.setdefault(slot, {})[name] = value
        slots = {slot: replace(getattr(self, slot), **new) for slot, new in changes.items()}
        return replace(self, **slots)

    def changes(self, start: "Recipe") -> dict[str, Any]:
        """The settings in which this differs from another recipe, by key.

        The readout is left out: it needs no calibration of its own.
        """
        changes = {}
        for slot in SLOTS:
            values, others = vars(getattr(self, slot)), vars(getattr(start, slot))
            for name, value in values.items():
                if value != others[name] and slot != "readout":
                    changes[f"{slot}.{name}"] = value
        return changes

    def to_json(self) -> str:
        return text.json_text(asdict(self))

    @classmethod
    def from_json(cls, content: str) -> "Recipe":
        """The inverse of `to_json`. Raises ValueError, LookupError or AttributeError for others."""
        slots = text.read_json(content, dict[str, Any])
        return cls(slots.pop("name")).with_settings(text.flat(slots))


# Name of a slot -> its type.
SLOTS: dict[str, type] = {slot.name: type(slot.default) for slot in fields(Recipe)[1:]}


def _conflicts(recipe: Recipe) -> Iterator[str]:
    """Why the slots of a recipe do not fit together, and what to set instead."""
    neuron, encoding, calibration = recipe.neuron, recipe.encoding, recipe.calibration
    kind = recipe.neuron_kind
    by_gradient = {"threshold.rule=sensitivity": recipe.threshold.rule == "sensitivity"}
    by_gradient[f"calibration.kind={calibration.kind}"] = calibration.by_gradient
    read_by_some = (
        ("gamma", "neuron.gamma above 1", neuron.gamma > 1),
        ("initial", "neuron.initial", neuron.initial),
        ("reset", f"neuron.reset={neuron.reset}", neuron.reset != "subtract"),
        ("shift", "neuron.shift", neuron.shift),
        ("digits", "neuron.events=digits", neuron.events == "digits"),
        ("schedule", "encoding.coarse", encoding.coarse),
    )
    for option, what, is_set in read_by_some:
        if is_set and option not in kind.supports:
            names = " or ".join(name for name, kind in KINDS.items() if option in kind.supports)
            yield f"{what} needs neuron.kind={names}, not {neuron.kind}"
    rate_only = {
        "readout.skip": recipe.readout.skip,
        "encoding.input=poisson": encoding.input == "poisson",
        "threshold.rule=balance": recipe.threshold.rule == "balance",
        "neuron.events=switches": neuron.events == "switches",
        f"calibration.kind={calibration.kind}": calibration.kind in ("light", "advanced"),
    }
    for what, is_set in rate_only.items():
        if is_set and kind.differential:
            yield f"{what} needs rate coding, and neuron.kind={neuron.kind} sends changes"
    complete_only = {"neuron.slack": neuron.slack, "neuron.dead_zone": neuron.dead_zone}
    for what, is_set in (complete_only | by_gradient).items():
        if is_set and not (recipe.complete and neuron.kind == "sigma-delta"):
            keys = f"neuron.kind=sigma-delta, neuron.events=digits, neuron.gamma={MAX_GAMMA}"
            yield f"{what} needs complete values: --set {keys}"
    if kind.carries == "any" and neuron.events == "switches":
        yield "neuron.events=switches needs spikes of one value: neuron.kind=if"
