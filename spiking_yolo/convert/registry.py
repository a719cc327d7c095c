"""The methods by name: a dict, filled by the files of `methods/`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spiking_yolo.errors import UserError
from spiking_yolo.recipe import Recipe

DEFAULT = "signed-digits"


@dataclass(frozen=True)
class Method:
    """A recipe and where it comes from. limits: what it cannot take, or what to know before using it."""

    recipe: Recipe
    year: int
    reference: str
    limits: str


METHODS: dict[str, Method] = {}


def register(name: str, *, year: int, reference: str, limits: str, **slots: Any) -> None:
    """Add a method. slots: of its Recipe; the others: see Method."""
    METHODS[name] = Method(Recipe(name, **slots), year, reference, limits)


def get_recipe(name: str | Path | Recipe) -> Recipe:
    """The recipe of a registered method, or of a .json file; a Recipe is itself. Raises UserError for anything else."""
    if isinstance(name, Recipe):
        return name
    if str(name).endswith(".json"):
        return Recipe.read(name)
    methods = list_methods()
    if str(name) not in methods:
        raise UserError(f"unknown method {str(name)!r}: choose from {', '.join(methods)}, or give a recipe.json")
    return methods[str(name)].recipe


def list_methods() -> dict[str, Method]:
    """All registered methods."""
    from spiking_yolo.convert import methods  # noqa: F401  (registers them)

    return dict(METHODS)
