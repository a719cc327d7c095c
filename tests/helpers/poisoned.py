"""Lets AddressSanitizer report what lies beyond the memory of maps, sums and events: a plug-in of
pytest for .ci/sanitizers, as in `pytest -p helpers.poisoned`.

Each of them is memory of its own, with SLACK behind it, of which C reads the bytes of one vector.
"""

import ctypes

import torch

from spiking_yolo.integer.memory import Memory
from spiking_yolo.integer.packing import SLACK

# Bytes behind the end that may be read: fifteen channels of 16 bits.
READ = 32
_poison = getattr(ctypes.CDLL(None), "__asan_poison_memory_region")
_poison.argtypes = ctypes.c_void_p, ctypes.c_size_t
_zeros = Memory._zeros


def poisoned(memory: Memory, *shape: int, dtype: torch.dtype) -> torch.Tensor:
    """Memory as `Memory._zeros` gives it, whose last bytes nobody may touch."""
    result = _zeros(memory, *shape, dtype=dtype)
    size = SLACK * dtype.itemsize - READ
    _poison(result.data_ptr() + result.nbytes - size, size)
    return result


Memory._zeros = poisoned
