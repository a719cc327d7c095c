"""List the conversion methods, or the settings of one."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from spiking_yolo.arguments import Options, Settings
from spiking_yolo.convert.methods import DEFAULT, get_recipe, list_methods
from spiking_yolo.recipe import Recipe, settings_table

NOTE = (
    "T: timesteps with which Tiny-YOLOv3 keeps 85 % of the ANN's mAP50 on 206 COCO photographs"
    " (above 64: on fewer photographs)"
)


@dataclass(frozen=True)
class ListOptions(Options):
    """Which list."""

    method: str | None = None
    """A method or recipe.json, whose settings are listed."""
    _: KW_ONLY
    settings: Settings = field(default_factory=dict)
    """Change a setting."""


def main(options: ListOptions = ListOptions()) -> None:
    """List the conversion methods, or the settings of one.

    ```
    spiking-yolo methods
    spiking-yolo methods msat  # every setting; * marks those that differ from the default
    spiking-yolo methods msat --set msat.det=false
    ```

    A method is also a recipe.json. Its settings are changed with --set KEY=VALUE in every verb that
    converts.
    """
    if options.method or options.settings:
        print(settings_text(options.method, options.settings))
    else:
        print(methods_text())


def methods_text() -> str:
    """A table of the conversion methods, as --list-methods prints it."""
    rows = [("method", "year", "T", "thresholds", "neuron", "events/step", "calibration", "limits")]
    for name, method in list_methods().items():
        recipe = method.recipe
        title = f"{name} (default)" if name == DEFAULT else name
        events = str(recipe.events_per_step)
        cells = (_threshold(recipe), _neuron(recipe), events, recipe.calibration.kind)
        rows.append((title, str(method.year), method.needs, *cells, method.limits))
    return f"{_aligned(rows)}\n{NOTE}"


def _threshold(recipe: Recipe) -> str:
    """The thresholds of a recipe in a few words."""
    threshold = recipe.threshold
    rules = {
        "percentile": f"{threshold.percentile:g} %",
        "shared": f"{threshold.percentile:g} % / gamma",
        "mmse": f"mmse({threshold.levels})",
    }
    text = f"{threshold.scope} {rules.get(threshold.rule, threshold.rule)}"
    return text if threshold.scale == 1 else f"{text} x {threshold.scale:.3g}"


def _neuron(recipe: Recipe) -> str:
    """The neurons of a recipe in a few words."""
    neuron = recipe.neuron
    reset = " to zero" if neuron.reset == "zero" else ""
    return f"{neuron.kind}{reset}, gamma {neuron.gamma}"


def settings_text(method: str | None = None, settings: Mapping[str, Any] | None = None) -> str:
    """The keys of --set with meaning and default, as --list-settings prints them.

    With a method or settings also the values of its recipe, with a * where they differ.
    """
    table = settings_table()
    if method is None and not settings:
        return _aligned([(key, f"{doc} (default {default})") for key, default, doc in table])
    recipe = get_recipe(method or DEFAULT).with_settings(settings or {})
    rows = [("  setting", recipe.name, "")]
    for key, default, doc in table:
        slot, _, name = key.partition(".")
        value = getattr(getattr(recipe, slot), name)
        mark = " " if value == default else "*"
        rows.append((f"{mark} {key}", str(value), f"{doc} (default {default})"))
    return f"{_aligned(rows)}\n* differs from the default"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns of text, flush left, with two spaces between them."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines: list[str] = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
