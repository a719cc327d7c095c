"""One file per method: a recipe of the four slots, with the paper, the equation and what it needs.

The order of the imports is the order of every list of methods.
"""

# ruff: noqa: I001
from spiking_yolo.convert.methods import (
    p_norm,
    channel_norm,
    spike_norm,
    rmp,
    tsc,
    opt,
    calibration_light,
    calibration_advanced,
    burst,
    msat,
    msat_plus,
    fixed_fraction,
    signed_memory,
    differential,
    coarse_to_fine,
)

__all__ = [
    "burst",
    "calibration_advanced",
    "calibration_light",
    "channel_norm",
    "coarse_to_fine",
    "differential",
    "fixed_fraction",
    "msat",
    "msat_plus",
    "opt",
    "p_norm",
    "rmp",
    "signed_memory",
    "spike_norm",
    "tsc",
]
