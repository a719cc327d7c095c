"""Large pages for weights.

A pass over Tiny-YOLOv3 reads 35 MB of weights. In pages of 4 kB the processor forgets where most of
them are before the next pass, and looks each of them up again.
"""

import ctypes
import sys
from functools import cache
from typing import Any

# Of x86-64, and of 64-bit Arm with pages of 4 kB.
LARGE = 2**21
# Linux's advice: let the pages be large, and (Linux 6.1) make them so now.
HUGEPAGE, COLLAPSE = 14, 25


@cache
def _madvise() -> Any:
    """The function of the C library; None where there is no such thing."""
    if sys.platform != "linux":
        return None
    function = getattr(ctypes.CDLL(None), "madvise", None)
    if function is not None:
        function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return function


def use_large_pages(address: int, size: int) -> None:
    """Move what lies there into large pages, if the system has them; its values stay the same."""
    advise = _madvise()
    first, last = -(-address // LARGE) * LARGE, (address + size) // LARGE * LARGE
    if advise is None or first >= last:
        return
    for advice in (HUGEPAGE, COLLAPSE):
        # What the system refuses stays in small pages.
        advise(first, last - first, advice)
