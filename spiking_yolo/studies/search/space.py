"""The numbers of a recipe that a search may change, and the range of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spiking_yolo.recipe import Recipe

LAYERS = "threshold.layers"


@dataclass(frozen=True)
class Number:
    """A setting, or the factor of one layer (`threshold.layers:NAME`), and where it is looked for.

    start: its value in the recipe. A whole start makes a whole number. mirror: what is searched is mirror - value, for
    percentiles, whose distance from 100 matters.
    """

    key: str
    low: float
    high: float
    start: float
    log: bool = True
    mirror: float = 0.0

    def __post_init__(self):
        object.__setattr__(self, "low", min(self.low, self.searched(self.start)))
        object.__setattr__(self, "high", max(self.high, self.searched(self.start)))

    @property
    def whole(self) -> bool:
        return type(self.start) is int

    def searched(self, value: float) -> float:
        """The place of a value in the search, and back."""
        return self.mirror - value if self.mirror else value


def numbers(recipe: Recipe) -> list[Number]:
    """What applies to a recipe besides the factors of layers. Never what makes it another method."""
    t, n, m, e = recipe.threshold, recipe.neuron, recipe.msat, recipe.encoding
    found: list[Number] = []
    if t.rule == "percentile":
        found.append(Number("threshold.percentile", 1e-3, 50.0, t.percentile, mirror=100.0))
    if t.rule == "mmse":
        found.append(Number("threshold.levels", 4, 128, t.levels))
    if recipe.calibration.kind != "fraction":  # which finds it itself
        found.append(Number("threshold.scale", t.scale / 8, t.scale * 8, t.scale))
    if n.gamma > 1:
        found.append(Number("neuron.gamma", 2, 32, n.gamma))
    if e.coding == "rate" and not n.shift:  # differential coding settles with rounding only, initial = 0.5
        found.append(Number("neuron.initial", 0.0, 1.0, n.initial, log=False))
    if e.coarse:
        found.append(Number("encoding.coarse", 1, 6, e.coarse, log=False))
    if e.refine:
        found.append(Number("encoding.refine_by", 0.3, 0.95, e.refine_by, log=False))
    if m.enabled and m.variant == "algorithm1":
        found.append(Number("msat.g", 0.01, 1.0, m.g, log=False))
    elif m.enabled:
        found += [*_tracking(recipe), *_evoked(recipe)]
    return found


def _tracking(recipe: Recipe) -> list[Number]:
    m = recipe.msat
    if not m.dtt:
        return []
    return [
        Number("msat.alpha", 0.0, 2.0, m.alpha, log=False),
        Number("msat.k_a", 0.0, 2.0, m.k_a, log=False),
        Number("msat.k_i", 0.1, 10.0, m.k_i),
        Number("msat.tau_mp", 0.0, 8.0, m.tau_mp, log=False),
    ]


def _evoked(recipe: Recipe) -> list[Number]:
    m = recipe.msat
    return [Number("msat.c", 0.2, 20.0, m.c), Number("msat.tau_rd", 0.0, 4.0, m.tau_rd, log=False)] if m.det else []


def layer_numbers(recipe: Recipe, sites: Sequence[str]) -> list[Number]:
    """The factor on theta of every activation site."""
    known = dict(recipe.threshold.layers)
    return [Number(f"{LAYERS}:{name}", 0.5, 2.0, known.get(name, 1.0)) for name in sites]


def settings(recipe: Recipe, values: Mapping[str, float]) -> dict[str, Any]:
    """Values by the keys of Numbers -> settings for `Recipe.with_settings`; factors join those of the recipe."""
    plain: dict[str, Any] = {key: value for key, value in values.items() if not key.startswith(LAYERS)}
    factors = {key.removeprefix(f"{LAYERS}:"): value for key, value in values.items() if key.startswith(LAYERS)}
    if factors:
        plain[LAYERS] = tuple({**dict(recipe.threshold.layers), **factors}.items())
    return plain


def changes(start: Recipe, found: Recipe) -> list[str]:
    """What --set would have to say to get from one recipe to the other, with four digits."""
    lines = []
    for slot in ("threshold", "neuron", "msat", "encoding"):
        before, after = vars(getattr(start, slot)), vars(getattr(found, slot))
        for name, value in after.items():
            if value != before[name]:
                lines.append(f"{slot}.{name}={_text(value)}")
    return lines


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(f"{name}:{factor:.4g}" for name, factor in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
