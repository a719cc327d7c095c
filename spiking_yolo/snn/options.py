"""How a spiking network is computed: what may change its results by rounding, and its speed by a lot."""

import os
import shutil
import sys
import sysconfig
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch

from spiking_yolo.errors import Notice, UserError

Precision = Literal["float32", "bf16"]


@dataclass(frozen=True)
class SimulationOptions:
    """How a network is computed, which changes its results by rounding and its speed by a lot.

    precision: bf16 multiplies spikes and weights in bfloat16, which GPUs and processors with avx512_bf16 or AMX do at
    twice the speed; potentials, and convolutions of the image, stay in float32. Bursts of up to
    256 spikes are exact in bfloat16; weights, currents and graded spikes are rounded to 8 bits.
    compiled: fuse the arithmetic of the neurons with PyTorch's compiler, where there is one for C++.
    event_driven: in differential coding, after the first step, compute only what events reach, where they are few: the
    frames of a fixed camera. Not where anything is compiled.
    """

    precision: Precision = "float32"
    compiled: bool = False
    event_driven: bool = True

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise UserError(f"precision must be one of {', '.join(get_args(Precision))}, not {self.precision!r}")

    def synapses(self, dtype: torch.dtype) -> torch.dtype:
        """The dtype of the weights that receive spikes, in a network of this dtype."""
        return torch.bfloat16 if self.precision == "bf16" else dtype


def chosen(
    precision: Precision = "float32", compiled: bool = False, device: str | torch.device = "cpu"
) -> SimulationOptions:
    """The simulation on this machine's device; not compiled, with a Notice, where PyTorch's compiler lacks something.

    Another Notice says where bf16 is no faster. Raises UserError for an unknown precision.
    """
    simulation = SimulationOptions(precision, compiled)
    if precision == "bf16" and not bf16_pays(device):
        warnings.warn("this processor has no instructions for bfloat16: bf16 is no faster here", Notice, stacklevel=2)
    if compiled and (reason := missing()):
        warnings.warn(f"nothing is compiled: {reason}", Notice, stacklevel=2)
        return SimulationOptions(precision)
    return simulation


def bf16_pays(device: str | torch.device) -> bool:
    """Whether bf16 may be faster there than float32: on processors that have instructions for it, and on GPUs."""
    return str(device).partition(":")[0] != "cpu" or fast_bf16()


def missing() -> str:
    """What PyTorch's compiler lacks on this machine, and what to do about it; empty when nothing."""
    default = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")  # as PyTorch looks for it
    compiler = os.environ.get("CXX", default)
    if shutil.which(compiler) is None:
        return f"there is no C++ compiler {compiler!r}; install one, or set CXX to yours"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "Python.h is not installed; on Debian and Ubuntu it comes with python3-dev"
    return ""


def fast_bf16() -> bool:
    """Whether this processor multiplies bfloat16 faster than float32."""
    capable = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capable.get("avx512_bf16") or capable.get("amx_bf16"))
