"""A conversion method as data."""

from spiking_yolo.recipe.recipe import TUNED_REMARK, Recipe
from spiking_yolo.recipe.slots import (
    MAX_GAMMA,
    UNTRAINED_OPERATIONS,
    Calibration,
    Encoding,
    Msat,
    Neuron,
    Readout,
    Threshold,
    settings_table,
)

__all__ = [
    "MAX_GAMMA",
    "TUNED_REMARK",
    "UNTRAINED_OPERATIONS",
    "Calibration",
    "Encoding",
    "Msat",
    "Neuron",
    "Readout",
    "Recipe",
    "Threshold",
    "settings_table",
]
