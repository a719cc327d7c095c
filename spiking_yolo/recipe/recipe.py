"""A conversion method as data: a frozen Recipe of its slots, in and out of JSON, overridden key by
key.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import read_text
from spiking_yolo.io.json import json_text, read_json
from spiking_yolo.io.names import did_you_mean, plain_name
from spiking_yolo.recipe.conflicts import by_gradient, conflict
from spiking_yolo.recipe.slots import (
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


@dataclass(frozen=True)
class Recipe:
    """One conversion method. Raises UserError for values out of range and for slots that do not fit
    together.
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
        for slot, cls in SLOTS.items():
            given = getattr(self, slot)
            values = {
                n: checked(f"{slot}.{n}", entry, getattr(given, n))
                for n, entry in settings_of(cls).items()
            }
            object.__setattr__(self, slot, cls(**values))
        if reason := conflict(
            self.threshold, self.neuron, self.msat, self.calibration, self.encoding, self.readout
        ):
            raise UserError(reason)

    @property
    def runs_network(self) -> bool:
        """Whether this recipe must run the network on calibration images; the result is kept in a
        file.
        """
        adapts = (
            (self.msat.enabled and not self.msat.gain)
            or self.msat.confidence != "off"
            or self.by_gradient
        )
        return self.threshold.rule == "balance" or self.calibration.kind != "none" or adapts

    @property
    def keeps_frames(self) -> bool:
        """Whether the state stays from frame to frame of a video."""
        return self.encoding.coding == "differential" and self.encoding.frames == "keep"

    @property
    def events_per_step(self) -> int:
        """How many events a neuron may send in a step: the spikes of a burst, signed digits, or
        binary ones.
        """
        n, bits = self.neuron, self.neuron.gamma.bit_length()
        if n.events == "digits":
            return min(n.digits or bits, (bits + 2) // 2)
        return bits if n.kind == "few-spikes" else n.gamma

    def latency(self, T: int, layers: int) -> tuple[int, int]:
        """Sub-steps of one event per neuron that T steps take: all layers in each step, and
        pipelined.

        In a pipeline a layer takes a value only when it is complete, and works on the next while
        others go on.
        """
        return T * self.events_per_step, (T + layers - 1) * self.events_per_step

    @property
    def by_gradient(self) -> bool:
        """Whether what is learned holds for every setting but those of its calibration."""
        return by_gradient(self.threshold, self.calibration)

    def bias_share(self, spike_weight: float) -> float:
        """How much of a calibrated bias holds where a spike is worth so many thetas.

        One that gradient descent has learned makes up for what rounding to whole thetas loses, and
        shrinks with that.
        """
        return spike_weight if self.by_gradient else 1.0

    @property
    def counting(self) -> Literal["spikes", "digits"]:
        """In which of the countings (see snn/counting.py) the events of this method are what they
        say they are.
        """
        return (
            "digits"
            if self.neuron.events == "digits" or self.neuron.kind == "few-spikes"
            else "spikes"
        )

    def with_settings(self, settings: Mapping[str, Any]) -> "Recipe":
        """A copy with some keys changed, e.g. {"neuron.gamma": "4"}; strings are parsed to the
        key's type.
        """
        slots: dict[str, dict[str, Any]] = {}
        for path, value in settings.items():
            slot, _, name = path.partition(".")
            known = settings_of(SLOTS[slot]) if slot in SLOTS else {}
            if name not in known:
                keys = [key for key, _, _ in settings_table()]
                hint = did_you_mean(path, keys) or f": the keys are {', '.join(keys)}"
                raise UserError(f"unknown setting {path!r}{hint}")
            slots.setdefault(slot, {})[name] = parse(path, known[name].type, value)
        return replace(
            self, **{slot: replace(getattr(self, slot), **new) for slot, new in slots.items()}
        )

    def changes(self, start: "Recipe") -> dict[str, Any]:
        """Key -> value of what differs from another recipe, but for the readout: it needs no
        calibration of its own.
        """
        pairs = {
            slot: (vars(getattr(self, slot)), vars(getattr(start, slot)))
            for slot in SLOTS
            if slot != "readout"
        }
        return {
            f"{slot}.{k}": v
            for slot, (own, old) in pairs.items()
            for k, v in own.items()
            if v != old[k]
        }

    def to_json(self) -> str:
        return json_text(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        try:
            data = read_json(text, dict[str, Any])
            flat = {f"{s}.{k}": v for s in SLOTS for k, v in data.get(s, {}).items()}
            unknown = set(data) - {"name", *SLOTS}
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
