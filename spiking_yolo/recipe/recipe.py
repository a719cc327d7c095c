"""A conversion method as data: a frozen Recipe of slots, read and written as JSON."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import read_text
from spiking_yolo.io.json import json_text, read_json
from spiking_yolo.io.names import did_you_mean, plain_name
from spiking_yolo.recipe.kinds import KINDS, Kind
from spiking_yolo.recipe.slots import (
    MAX_GAMMA,
    SLOTS,
    Calibration,
    Encoding,
    Msat,
    Neuron,
    Readout,
    Threshold,
    settings_table,
)
from spiking_yolo.settings import checked, parse, settings_of

# Neurons of which a value that is out of reach is clipped, and not sent later.
CLIPPED = ("few-spikes", "multi-level")
# Of methods whose weights move.
TUNED_REMARK = "weights tuned without labels"


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
        plain_name(self.name, "a method")
        plain_name(self.calibration.name, "a calibration")
        for slot, cls in SLOTS.items():
            values = getattr(self, slot)
            changes = {}
            for name, entry in settings_of(cls).items():
                value = getattr(values, name)
                # Defaults are sound, and most values are defaults.
                if type(value) is not type(entry.default) or value != entry.default:
                    changes[name] = checked(f"{slot}.{name}", entry, value)
            if changes:
                object.__setattr__(self, slot, replace(values, **changes))
        for reason in _conflicts(self):
            raise UserError(reason)

    @property
    def neuron_kind(self) -> Kind:
        """What the neurons of this method are and can do."""
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
    def events_per_step(self) -> int:
        """The largest number of events of a neuron in one step: spikes of a burst, digits, or one
        message of any value.
        """
        kind = self.neuron_kind
        if kind.carries == "any" and kind.events != "digits":
            return 1
        bits = self.neuron.gamma.bit_length()
        if self.neuron.events == "digits":
            return (bits + 2) // 2
        if kind.events == "digits":
            return bits
        return self.neuron.gamma

    @property
    def remark(self) -> str:
        """What to say wherever its figures stand; empty for methods that leave the weights."""
        return TUNED_REMARK if self.calibration.weights else ""

    @property
    def title(self) -> str:
        """Its label, with the remark."""
        if not self.remark:
            return self.label
        return f"{self.label} ({self.remark})"

    @property
    def label(self) -> str:
        """The method, and its calibration if that is not the default one: "signed-digits-tuned"."""
        if self.calibration.name == "default":
            return self.name
        return f"{self.name}-{self.calibration.name}"

    def facts(self) -> dict[str, Any]:
        """Method, remark if any, and recipe, for a record of figures; of JSON's types."""
        facts: dict[str, Any] = {"method": self.label}
        if self.remark:
            facts["remark"] = self.remark
        facts["recipe"] = json.loads(self.to_json())
        return facts

    @property
    def counting(self) -> Literal["spikes", "digits"]:
        """How the events of this method are counted, see snn/counting.py."""
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
            if slot not in SLOTS or name not in settings_of(SLOTS[slot]):
                keys = [key for key, _, _ in settings_table()]
                hint = did_you_mean(key, keys) or f": the keys are {', '.join(keys)}"
                raise UserError(f"unknown setting {key!r}{hint}")
            expected = settings_of(SLOTS[slot])[name].type
            changes.setdefault(slot, {})[name] = parse(key, expected, value)
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
        return json_text(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        try:
            data = read_json(text, dict[str, Any])
            slots = {slot: values for slot, values in data.items() if slot != "name"}
            flat = {f"{slot}.{k}": v for slot, values in slots.items() for k, v in values.items()}
            unknown = set(slots) - set(SLOTS)
        except (ValueError, AttributeError) as error:
            raise UserError(f"not a recipe: {error}") from error
        if unknown or not isinstance(data.get("name"), str):
            raise UserError(
                f"not a recipe: it needs a name and the slots {', '.join(SLOTS)}, and nothing else"
            )
        return cls(data["name"]).with_settings(flat)

    @classmethod
    def read(cls, path: str | Path) -> "Recipe":
        return cls.from_json(read_text(path))


def _conflicts(recipe: Recipe) -> Iterator[str]:
    """Why the slots of a recipe do not fit together, and what to set instead."""
    neuron, encoding, calibration = recipe.neuron, recipe.encoding, recipe.calibration
    kind = recipe.neuron_kind
    read_by_some = (
        ("gamma", "neuron.gamma above 1", neuron.gamma > 1),
        ("initial", "neuron.initial", neuron.initial),
        ("reset", f"neuron.reset={neuron.reset}", neuron.reset != "subtract"),
        ("shift", "neuron.shift", neuron.shift),
        ("digits", "neuron.events=digits", neuron.events == "digits"),
        ("schedule", "encoding.coarse", encoding.coarse),
    )
    for option, setting, is_set in read_by_some:
        if is_set and option not in kind.supports:
            names = " or ".join(name for name, kind in KINDS.items() if option in kind.supports)
            yield f"{setting} needs neuron.kind={names}, not {neuron.kind}"
    rate_only = (
        ("readout.skip", recipe.readout.skip),
        ("encoding.input=poisson", encoding.input == "poisson"),
        ("threshold.rule=balance", recipe.threshold.rule == "balance"),
        ("neuron.events=switches", neuron.events == "switches"),
        (f"calibration.kind={calibration.kind}", calibration.kind in ("light", "advanced")),
    )
    for setting, is_set in rate_only:
        if is_set and kind.differential:
            yield f"{setting} needs rate coding, and neuron.kind={neuron.kind} sends changes"
    complete_only = (
        ("neuron.slack", neuron.slack),
        ("neuron.hysteresis", neuron.hysteresis),
        ("threshold.rule=sensitivity", recipe.threshold.rule == "sensitivity"),
        (f"calibration.kind={calibration.kind}", calibration.by_gradient),
    )
    for setting, is_set in complete_only:
        if is_set and not (recipe.complete and neuron.kind == "sigma-delta"):
            yield (
                f"{setting} needs complete values: --set neuron.kind=sigma-delta,"
                f" neuron.events=digits, neuron.gamma={MAX_GAMMA}"
            )
    if kind.msat and neuron.events == "switches":
        yield "neuron.events=switches needs spikes of one value: neuron.kind=if"
    if kind.msat and not recipe.msat.floor and neuron.gamma > 1:
        yield "msat.floor=0 needs neuron.gamma=1: bursts are divided by the threshold"
