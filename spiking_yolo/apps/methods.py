"""List the conversion methods, or the settings of one.

    spiking-yolo methods
    spiking-yolo methods msat  # every setting; * marks those that differ from the default
    spiking-yolo methods msat --set msat.det=false

A method is also a recipe.json. Its settings are changed with --set KEY=VALUE in every verb that
converts.
"""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from spiking_yolo.convert.methods import DEFAULT, get_recipe, list_methods
from spiking_yolo.recipe import Recipe, settings_table
from spiking_yolo.settings import Options, setting

NOTE = (
    "T: timesteps with which Tiny-YOLOv3 keeps 85 % of the ANN's mAP50 on 49 COCO photographs, some"
    " on 8"
)


def methods_text() -> str:
    rows = [("method", "year", "T", "thresholds", "neuron", "events/step", "calibration", "limits")]
    for name, method in list_methods().items():
        mark = f"{name} (default)" if name == DEFAULT else name
        thresholds, neuron, calibration = describe(method.recipe)
        events = str(method.recipe.events_per_step)
        needs = str(method.timesteps or "> 256")
        rows.append(
            (mark, str(method.year), needs, thresholds, neuron, events, calibration, method.limits)
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    lines = [
        "  ".join(cell.ljust(w) for cell, w in zip(row, [*widths, 0], strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, NOTE])


def describe(recipe: Recipe) -> tuple[str, str, str]:
    """Thresholds, neuron and calibration of a recipe in a few words."""
    t, n = recipe.threshold, recipe.neuron
    shown = {
        "percentile": f"{t.percentile:g} %",
        "shared": f"{t.percentile:g} % / gamma",
        "mmse": f"mmse({t.levels})",
    }
    rule = shown.get(t.rule, t.rule)
    scale = "" if t.scale == 1 else f" x {t.scale:.3g}"
    coding = "" if recipe.encoding.coding == "rate" else f", {recipe.encoding.coding}"
    reset = " to zero" if n.kind == "if" and n.reset == "zero" else ""
    return (
        f"{t.scope} {rule}{scale}",
        f"{n.kind}{reset}, gamma {n.gamma}{coding}",
        recipe.calibration.kind,
    )


def settings_text(method: str | None = None, settings: Mapping[str, Any] | None = None) -> str:
    """Every key of --set with its meaning and default; of a method also its own value, with a *
    where that differs.
    """
    rows = settings_table()
    width = max(len(key) for key, _, _ in rows)
    if method is None and not settings:
        return "\n".join(
            f"{key.ljust(width)}  {doc} (default {default})" for key, default, doc in rows
        )
    recipe = get_recipe(method or DEFAULT).with_settings(settings or {})
    values = {
        key: getattr(getattr(recipe, key.partition(".")[0]), key.partition(".")[2])
        for key, _, _ in rows
    }
    column = max(len(str(value)) for value in values.values())
    lines = [f"  {'setting'.ljust(width)}  {recipe.name}"]
    for key, default, doc in rows:
        mark = "*" if values[key] != default else " "
        lines.append(
            f"{mark} {key.ljust(width)}  {str(values[key]).ljust(column)}  {doc} (default"
            f" {default})"
        )
    return "\n".join([*lines, "* differs from the default"])


@dataclass(frozen=True)
class MethodsOptions(Options):
    """Which list."""

    method: str | None = setting(None, "a method or recipe.json, whose settings are listed")
    _: KW_ONLY
    settings: Mapping[str, Any] = setting({}, "change a setting")


def main(options: MethodsOptions) -> None:
    print(
        settings_text(options.method, options.settings)
        if options.method or options.settings
        else methods_text()
    )
