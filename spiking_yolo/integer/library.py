"""The functions of program.c and training.c, which setup.py builds where there is a compiler: one
library for each set of instructions.
"""

import ctypes
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_int, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import torch

from spiking_yolo.errors import notice

# Sets of instructions of x86-64, each with those of the sets before it. Other processors have the
# first one alone.
LEVELS = ("default", "avx2", "avx512", "vnni")
# Vectors are padded to so many numbers, the most of any set.
LANES = 16
# The byte of no events.
ZERO = 128


def usable_levels() -> tuple[str, ...]:
    """The sets of instructions that PyTorch uses on this processor. ATEN_CPU_CAPABILITY may name a
    lower one, for PyTorch too, and SPIKING_YOLO_KERNELS, for these functions alone.
    """
    capability = torch.backends.cpu.get_cpu_capability().lower()
    if capability == "avx512" and torch.cpu.get_capabilities().get("avx512_vnni"):
        capability = "vnni"
    levels = LEVELS[: LEVELS.index(capability) + 1] if capability in LEVELS else LEVELS[:1]
    lower = os.environ.get("SPIKING_YOLO_KERNELS", "")
    return levels[: levels.index(lower) + 1] if lower in levels else levels


@cache
def library() -> Any:
    """The functions for this processor, which take addresses and whole numbers.

    None where they were not built, do not load, or are of another state of their sources. A Notice
    tells of that, once, and what to run.
    """
    folder = Path(__file__).parent
    try:
        functions = ctypes.CDLL(str(folder / f"kernels_{usable_levels()[-1]}.so"))
    except OSError:
        notice(
            "the compiled kernels are missing, which makes networks many times slower: with a C"
            " compiler run python setup.py build_ext --inplace in a checkout, or install anew"
        )
        return None
    built = getattr(functions, "source", lambda: None)()
    if (folder / "program.c").exists() and built != checksum(folder):
        notice(
            "the kernels are not used, which makes networks slower: their sources have changed"
            " since they were built; run python setup.py build_ext --inplace"
        )
        return None
    address, number = c_void_p, c_int64
    functions.run.argtypes = address, number
    functions.run.restype = number
    functions.receive.argtypes = address, address, address
    functions.layout.argtypes = (address,)
    functions.values.argtypes = address, address, c_int, address, address
    functions.gradients.argtypes = address, address, c_int, address, address, address, address
    return functions


@cache
def block_sizes() -> tuple[int, int, int]:
    """The most outputs of a block in the kernel of events, the outputs of a vector, and the
    channels of a run, which the kernels that compute anew read together.
    """
    sizes = (c_int64 * 3)()
    library().layout(sizes)
    return sizes[0], sizes[1], sizes[2]


def has_cells_of_bytes() -> bool:
    """Whether the kernels that compute anew read bytes as they were sent, and not k as 16 bits."""
    return library() is not None and block_sizes()[2] == 4


@contextmanager
def threads(count: int) -> Iterator[None]:
    """PyTorch computes with so many threads for this caller, and for no other thread.

    Operations on small tensors take many times longer beside a program that uses a core, because
    they wait for a thread that has none. Where PyTorch has no OpenMP nothing changes.
    """
    use, before = getattr(ctypes.pythonapi, "omp_set_num_threads", None), torch.get_num_threads()
    if use is None:
        yield
        return
    use(count)
    try:
        yield
    finally:
        use(before)


def checksum(folder: Path) -> int:
    """A number for the state of the sources in C, as a C int."""
    sources = sorted(folder.glob("*.[ch]"))
    return zlib.crc32(b"".join(source.read_bytes() for source in sources)) >> 1
