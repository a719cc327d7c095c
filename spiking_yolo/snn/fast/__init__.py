"""Speed alone: event-driven kernels, blocks that stay in the cache, packed weights.

Packed convolutions, pooled sums and the loop over blocks run always; the event-driven kernels are
optional. A reader can skip this folder: its results differ from the plain formulas by rounding at
most.
"""

from spiking_yolo.snn.fast.dense import PackedConvolution, PooledSum, tiles
from spiking_yolo.snn.fast.events import PRICE, EventConvolution, Kernels, library, usable_levels
from spiking_yolo.snn.fast.steps import BlockedStep, Scratch

__all__ = [
    "PRICE",
    "Backend",
    "BlockedStep",
    "EventConvolution",
    "Kernels",
    "PackedConvolution",
    "PooledSum",
    "library",
    "tiles",
    "usable_levels",
]


class Backend:
    """What the parts of one network share.

    Attributes:
        kernels: Those in C, with which what few events reach is computed alone; results differ by
            rounding. None unless `event_driven`, or where they were not built.
        scratch: Room for what a step of a layer computes on the way.
    """

    def __init__(self, event_driven: bool = False):
        self.kernels: Kernels | None = None
        if event_driven and library() is not None:
            self.kernels = Kernels()
        self.scratch = Scratch()
