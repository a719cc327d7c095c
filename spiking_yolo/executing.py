"""What a person asks of the execution, as far as this machine goes along with it."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import warnings
from pathlib import Path

import torch

from .errors import Notice
from .snn.execution import Execution, Precision, fast_bf16


def chosen(precision: Precision = "float32", compiled: bool = False, device: str | torch.device = "cpu") -> Execution:
    """The execution on a device; not compiled, with a Notice, where torch.compile lacks something.

    Another Notice says where bf16 is no faster. Raises UserError for an unknown precision.
    """
    execution = Execution(precision, compiled)
    if precision == "bf16" and not bf16_pays(device):
        warnings.warn("this processor has no instructions for bfloat16: bf16 is no faster here", Notice, stacklevel=2)
    if compiled and (reason := missing()):
        warnings.warn(f"nothing is compiled: {reason}", Notice, stacklevel=2)
        return Execution(precision)
    return execution


def bf16_pays(device: str | torch.device) -> bool:
    """Whether bf16 may be faster there than float32: on processors that have instructions for it, and on GPUs."""
    return str(device).partition(":")[0] != "cpu" or fast_bf16()


def missing() -> str:
    """What torch.compile lacks on this machine, and what to do about it; empty when nothing."""
    default = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")  # as torch.compile looks for it
    compiler = os.environ.get("CXX", default)
    if shutil.which(compiler) is None:
        return f"there is no C++ compiler {compiler!r}; install one, or set CXX to yours"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "Python.h is not installed; on Debian and Ubuntu it comes with python3-dev"
    return ""
