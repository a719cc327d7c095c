"""The methods by name: a dict, filled by the files of `methods/`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spiking_yolo.errors import UserError
from spiking_yolo.io.near import did_you_mean
from spiking_yolo.recipe import Recipe

DEFAULT = "signed-digits"


@dataclass(frozen=True)
class Method:
    """A recipe and where it comes from. limits: what it cannot take, or what to know before using it.

    timesteps: with which Tiny-YOLOv3 has 85 % of the ANN's mAP50 on 49 COCO photographs, or on 8 (docs/results.md,
    docs/msat.md); None: more than the 256 that were tried.
    """

    recipe: Recipe
    timesteps: int | None
    year: int
    reference: str
    limits: str


METHODS: dict[str, Method] = {}


def register(name: str, *, year: int, reference: str, limits: str, timesteps: int | None = None, **slots: Any) -> None:
    """Add a method. slots: of its Recipe; the others: see Method."""
    METHODS[name] = Method(Recipe(name, **slots), timesteps, year, reference, limits)


def patience(name: str, T: int) -> str:
    """What to know about a method that had only T timesteps, fewer than it usually needs; empty where they suffice."""
    method, default = list_methods().get(name), list_methods()[DEFAULT]
    if method is None or (method.timesteps is not None and method.timesteps <= T):
        return ""
    needs = f"T >= {method.timesteps}" if method.timesteps else "T above 256"
    return f"{name} usually needs {needs}; the default, {DEFAULT}, needs {default.timesteps}"


def get_recipe(name: str | Path | Recipe) -> Recipe:
    """The recipe of a registered method, or of a .json file; a Recipe is itself. Raises UserError for anything else."""
    if isinstance(name, Recipe):
        return name
    if str(name).endswith(".json"):
        return Recipe.read(name)
    methods = list_methods()
    if str(name) not in methods:
        hint = did_you_mean(str(name), methods) or f": choose from {', '.join(methods)}, or give a recipe.json"
        raise UserError(f"unknown method {str(name)!r}{hint}")
    return methods[str(name)].recipe


def list_methods() -> dict[str, Method]:
    """All registered methods."""
    from spiking_yolo.convert import methods  # noqa: F401  (registers them)

    return dict(METHODS)
