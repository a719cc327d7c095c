"""What every page says: which network and method, by which command, and the colours of classes."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

from spiking_yolo.convert.converted import Converted
from spiking_yolo.draw.palette import class_colour, hexadecimal, text_colour
from spiking_yolo.io.sizes import size_name
from spiking_yolo.metrics.energy import Account, accounts
from spiking_yolo.studies.versions import command_line, versions

ACCOUNTS = {
    "fp32": "32-bit float, and its ANN; computing alone",
    "int8": "8-bit weights and an 8-bit ANN, 32-bit sums; computing alone",
    "sram16": "8 bit, every access to memory paid, 16-bit potentials",
    "sram32": "8 bit, every access to memory paid, 32-bit potentials",
    "reuse": "8 bit, each byte moved once per pass",
}


def facts(converted: Converted, charged: Sequence[Account] = accounts()) -> dict[str, Any]:
    """Network, method, accounts of energy, and what made the page."""
    spec, recipe = converted.spec, converted.recipe
    return {
        "network": converted.provenance.get("weights", "a network"),
        "input": size_name((spec.height, spec.width)),
        "method": recipe.name,
        "counting": recipe.counting,
        "settings": asdict(recipe),
        "accounts": [{"key": a.key, "name": a.name, "meaning": ACCOUNTS[a.key]} for a in charged],
        "date": date.today().isoformat(),
        "command": command_line(),
        "versions": versions(),
    }


def legend(used: Iterable[int], names: Sequence[str]) -> dict[str, Any]:
    """Class id -> its name, its colour, and the colour of text on that."""
    colours = {c: class_colour(c) for c in sorted(set(used))}
    return {
        str(c): {"name": names[c], "colour": hexadecimal(rgb), "ink": hexadecimal(text_colour(rgb))}
        for c, rgb in colours.items()
    }
