"""The numbers of a recipe that a search may change, and the range of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spiking_yolo.recipe import Recipe

LAYERS = "threshold.layers"


@dataclass(frozen=True)
class Number:
    """A setting, or the factor of one layer (`threshold.layers:NAME`), and where it is looked for.

    start: its value in the recipe. A whole start makes a whole number. mirror: what is searched is
    mirror - value, for percentiles, whose distance from 100 matters.
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
    """What applies to a recipe besides the factors of layers. Never what makes it another
    method.
    """
    t, n, m, e = recipe.threshold, recipe.neuron, recipe.msat, recipe.encoding
    tracking = m.enabled and m.variant != "algorithm1" and m.dtt
    evoked = m.enabled and m.variant != "algorithm1" and m.det
    found_by_method = recipe.calibration.kind == "fraction"
    settles_by_rounding = e.coding != "rate" or bool(n.shift)  # then initial is 0.5
    table = [
        (
            t.rule == "percentile",
            Number("threshold.percentile", 1e-3, 50.0, t.percentile, mirror=100.0),
        ),
        (t.rule == "mmse", Number("threshold.levels", 4, 128, t.levels)),
        (not found_by_method, Number("threshold.scale", t.scale / 8, t.scale * 8, t.scale)),
        (n.gamma > 1, Number("neuron.gamma", 2, 32, n.gamma)),
        (not settles_by_rounding, Number("neuron.initial", 0.0, 1.0, n.initial, log=False)),
        (bool(e.coarse), Number("encoding.coarse", 1, 6, e.coarse, log=False)),
        (bool(e.refine), Number("encoding.refine_by", 0.3, 0.95, e.refine_by, log=False)),
        (m.enabled and m.variant == "algorithm1", Number("msat.g", 0.01, 1.0, m.g, log=False)),
        (tracking, Number("msat.alpha", 0.0, 2.0, m.alpha, log=False)),
        (tracking, Number("msat.k_a", 0.0, 2.0, m.k_a, log=False)),
        (tracking, Number("msat.k_i", 0.1, 10.0, m.k_i)),
        (tracking, Number("msat.tau_mp", 0.0, 8.0, m.tau_mp, log=False)),
        (evoked, Number("msat.c", 0.2, 20.0, m.c)),
        (evoked, Number("msat.tau_rd", 0.0, 4.0, m.tau_rd, log=False)),
    ]
    return [number for applies, number in table if applies]


def layer_numbers(recipe: Recipe, sites: Sequence[str]) -> list[Number]:
    """The factor on theta of every activation site."""
    factors = dict(recipe.threshold.layers)
    return [Number(f"{LAYERS}:{name}", 0.5, 2.0, factors.get(name, 1.0)) for name in sites]


def settings(recipe: Recipe, values: Mapping[str, float]) -> dict[str, Any]:
    """Values by the keys of Numbers -> settings for `Recipe.with_settings`; factors join those of
    the recipe.
    """
    plain: dict[str, Any] = {
        key: value for key, value in values.items() if not key.startswith(LAYERS)
    }
    factors = {
        key.removeprefix(f"{LAYERS}:"): value
        for key, value in values.items()
        if key.startswith(LAYERS)
    }
    if factors:
        plain[LAYERS] = tuple({**dict(recipe.threshold.layers), **factors}.items())
    return plain


def changes(start: Recipe, other: Recipe) -> list[str]:
    """What --set would have to say to get from one recipe to the other, with four digits."""
    return [f"{key}={_text(value)}" for key, value in other.changes(start).items()]


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(f"{name}:{factor:.4g}" for name, factor in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
