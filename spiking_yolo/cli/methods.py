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

from spiking_yolo.cli.listing import methods_text, settings_text
from spiking_yolo.settings import Options, setting


@dataclass(frozen=True)
class MethodsOptions(Options):
    """Which list."""

    method: str | None = setting(None, "a method or recipe.json, whose settings are listed")
    _: KW_ONLY
    settings: Mapping[str, Any] = setting({}, "change a setting")


OPTIONS = MethodsOptions


def main(options: MethodsOptions) -> None:
    print(
        settings_text(options.method, options.settings)
        if options.method or options.settings
        else methods_text()
    )
