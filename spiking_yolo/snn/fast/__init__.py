"""Speed alone: convolutions of few events in C, and packed ones.

A reader can skip this folder: its results differ from the plain formulas by rounding at most.
"""

from spiking_yolo.snn.fast.dense import PackedConvolution, pool_in_pairs, tiles
from spiking_yolo.snn.fast.events import (
    PRICE,
    EventConvolution,
    Kernels,
    library,
    load,
    usable_levels,
)

__all__ = [
    "PRICE",
    "EventConvolution",
    "Kernels",
    "PackedConvolution",
    "library",
    "load",
    "pool_in_pairs",
    "tiles",
    "usable_levels",
]
