"""States and parameters are dataclasses of tensors, some of which hold others: what treats all their tensors alike."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

T = TypeVar("T")


def map_tree(f: Callable[[Any], Any], tree: T) -> T:
    """The same dataclass with f(leaf) for every leaf but None; f is called once for what is one object."""
    return _mapped(f, tree, {})


def leaves(tree: Any) -> list[Any]:
    """Every leaf but None, once."""
    result: list[Any] = []
    map_tree(result.append, tree)
    return result


def _mapped(f: Callable[[Any], Any], tree: Any, known: dict[int, Any]) -> Any:
    if tree is None:
        return None
    if is_dataclass(tree) and not isinstance(tree, type):
        return type(tree)(**{field.name: _mapped(f, getattr(tree, field.name), known) for field in fields(tree)})
    if id(tree) not in known:
        known[id(tree)] = f(tree)
    return known[id(tree)]
