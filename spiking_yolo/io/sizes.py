"""Input sizes: how they are written and which are allowed.

Imports nothing heavy, so that --help answers at once.
"""

from collections.abc import Sequence
from numbers import Integral

from spiking_yolo.errors import UserError
from spiking_yolo.io.names import whole

STRIDE = 32  # pixels of the input per cell of the coarsest map, in all detectors here
LARGEST = 4096  # pixels; a typing error should not ask for terabytes
Size = tuple[int, int]  # height, width in pixels


def input_size(given: int | str | Sequence[int]) -> Size:
    """(height, width) in pixels from the side of a square, a pair, or text: 416, (288, 416), "416" or "288x416".

    Raises UserError unless both are multiples of STRIDE, up to LARGEST.
    """
    if isinstance(given, str):
        sides: list[int] = [whole(part) or 0 for part in given.split("x")]
    else:
        sides = list(given) if isinstance(given, Sequence) else [given, given]
    fit = all(isinstance(s, Integral) and 0 < s <= LARGEST and s % STRIDE == 0 for s in sides)
    if not fit or (len(sides) != 2 and not (isinstance(given, str) and len(sides) == 1)):
        raise UserError(
            f"each side of the input must be a multiple of {STRIDE} pixels, at most {LARGEST}: give 416 for a square, "
            f"or height x width as in 288x416, not {given!r:.40}"
        )
    return int(sides[0]), int(sides[-1])


def size_name(size: Size) -> str:
    """(416, 416) to "416", (288, 416) to "288x416"; `input_size` reads it back."""
    height, width = size
    return str(height) if height == width else f"{height}x{width}"
