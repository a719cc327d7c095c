"""The compiled form of events.c, which setup.py builds beside it where there is a C compiler."""

import ctypes
from functools import cache
from pathlib import Path

import torch

# PyTorch's names for what it uses of an x86-64 processor, each with the instructions of those before it. Other
# processors have the first one alone.
LEVELS = ("default", "avx2", "avx512")


def usable_levels() -> tuple[str, ...]:
    """The levels whose instructions PyTorch uses on this processor; ATEN_CPU_CAPABILITY may name a lower one."""
    capability = torch.backends.cpu.get_cpu_capability().lower()
    best = LEVELS.index(capability) if capability in LEVELS else 0
    return LEVELS[: best + 1]


def load(level: str) -> ctypes.CDLL | None:
    """The functions of events.c for processors of a level; None if they were not built, or do not load."""
    file = Path(__file__).with_name(f"events_{level}.so")
    try:
        return ctypes.CDLL(str(file))
    except OSError:
        return None


@cache
def library() -> ctypes.CDLL | None:
    """The functions of events.c for this processor; None where no compiler was at hand when the package was built."""
    return load(usable_levels()[-1])
