"""The tables that --list-methods and --list-settings print."""

from __future__ import annotations

from spiking_yolo.convert.registry import DEFAULT, list_methods
from spiking_yolo.recipe import Recipe, settings_table


def methods_text() -> str:
    rows = [("method", "year", "thresholds", "neuron", "calibration", "limits")]
    for name, method in list_methods().items():
        mark = f"{name} (default)" if name == DEFAULT else name
        rows.append((mark, str(method.year), *describe(method.recipe), method.limits))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, [*widths, 0], strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def describe(recipe: Recipe) -> tuple[str, str, str]:
    """Thresholds, neuron and calibration of a recipe in a few words."""
    t, n = recipe.threshold, recipe.neuron
    rule = {"percentile": f"{t.percentile:g} %", "mmse": f"mmse({t.levels})"}.get(t.rule, t.rule)
    scale = "" if t.scale == 1 else f" x {t.scale:.3g}"
    coding = "" if recipe.encoding.coding == "rate" else f", {recipe.encoding.coding}"
    reset = " to zero" if n.kind == "if" and n.reset == "zero" else ""
    return f"{t.scope} {rule}{scale}", f"{n.kind}{reset}, gamma {n.gamma}{coding}", recipe.calibration.kind


def settings_text() -> str:
    rows = settings_table()
    width = max(len(key) for key, _, _ in rows)
    return "\n".join(f"{key.ljust(width)}  {doc} (default {default})" for key, default, doc in rows)
