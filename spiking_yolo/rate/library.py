"""The functions of neurons.c and synapses.c, which setup.py builds where there is a compiler, and
the layers of neurons that they compute.

Kinds of neurons are defined by their `step` in neurons/; what is here computes the same in one pass
over input and state.
"""

import ctypes
from collections.abc import Sequence
from ctypes import Structure, byref, c_float, c_int64, c_void_p
from functools import cache
from math import gcd
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.errors import notice
from spiking_yolo.integer.library import LANES, checksum, usable_levels

# Digits of larger bursts are not counted in C.
MOST = 2**14


@cache
def library() -> Any:
    """The functions for this processor; None where they were not built, do not load, or are of
    another state of their sources, of which a Notice tells.
    """
    folder = Path(__file__).parent
    try:
        functions = ctypes.CDLL(str(folder / f"kernels_{usable_levels()[-1]}.so"))
    except OSError:
        return None
    built = getattr(functions, "source", lambda: None)()
    if (folder / "neurons.c").exists() and built != checksum(folder):
        notice(
            "the kernels of spikes are not used, which makes rate coding slower: their sources"
            " have changed since they were built; run python setup.py build_ext --inplace"
        )
        return None
    functions.integrate.argtypes = c_void_p, c_int64
    for function in functions.find, functions.convolve, functions.pool_all:
        function.argtypes = (c_void_p,)
    functions.together.argtypes = (c_int64,)
    for function in functions.integrate, functions.find, functions.pool_all, functions.together:
        function.restype = c_int64
    return functions


class Side(Structure):
    """The neurons of one sign: see neurons.c."""

    _fields_ = (
        *((name, c_void_p) for name in ("theta", "shift", "cap", "inverse", "potential", "count")),
        *((name, c_void_p) for name in ("sent", "total", "ratio", "switches", "previous")),
        ("events", c_void_p),
        *((name, c_float) for name in ("sign", "gamma", "top", "alpha", "tracking", "evoked")),
        ("zero", c_int64),
    )


class Neurons(Structure):
    """A layer of neurons: see neurons.c."""

    _fields_ = (
        *((name, c_int64) for name in ("numbers", "channels", "period", "sides", "threads")),
        *((name, c_void_p) for name in ("z", "bias", "weight", "value", "out")),
        ("side", Side * 2),
    )


class Pooling(Structure):
    """A max pooling of sums: see neurons.c."""

    _fields_ = (
        *((name, c_int64) for name in ("images", "h", "w", "channels", "out_h", "out_w")),
        *((name, c_int64) for name in ("kernel_h", "kernel_w", "stride_h", "stride_w")),
        *((name, c_int64) for name in ("top", "left", "threads", "bursts")),
        *((name, c_void_p) for name in ("x", "total", "sent", "out", "totals", "events")),
        *((name, c_float) for name in ("weight", "rounding")),
    )


def rows(x: Tensor) -> Tensor:
    """The same numbers as they lie in memory, [N, ..., C], copied where they lie otherwise."""
    return x.movedim(1, -1).contiguous()


class OnePass:
    """A layer of neurons, computed in C.

    Args:
        out: What is sent, [N, C, ...] with the channels last in memory.
        sides: For each sign of neurons the fields of `Side`: numbers, state of the shape of `out`,
            and parameters that broadcast against it.
        bias, weight: Parameters of the layer, or None.
        value: A number for each neuron, or None.
        constant: The current of every step, in place of the one that arrives, or None.
    """

    def __init__(
        self,
        out: Tensor,
        sides: Sequence[dict[str, Any]],
        bias: Tensor | None = None,
        weight: Tensor | None = None,
        value: Tensor | None = None,
        constant: Tensor | None = None,
    ):
        self.out = out
        self.constant = None if constant is None else rows(constant)
        channels = out.shape[1]
        period = channels * (LANES // gcd(channels, LANES))
        # Tensors whose memory is in use.
        self._kept: list[Tensor] = []
        self._neurons = Neurons(out.numel(), channels, period, len(sides), 1)
        self._neurons.out = self._address(out)
        for name, parameter in (("bias", bias), ("weight", weight)):
            setattr(self._neurons, name, self._repeated(parameter))
        self._neurons.value = None if value is None else self._address(rows(value))
        for side, fields in zip(self._neurons.side, sides, strict=False):
            for name, given in fields.items():
                if name in ("theta", "shift", "cap", "inverse"):
                    setattr(side, name, self._repeated(given))
                elif isinstance(given, Tensor):
                    setattr(side, name, self._address(given))
                elif given is not None:
                    setattr(side, name, given)

    def __call__(self, z: Tensor, t: int) -> Tensor:
        """Compute the timestep after t others, in which z arrives, [N, C, ...]."""
        given = rows(z.float()) if self.constant is None else self.constant
        self._neurons.z = given.data_ptr()
        self._neurons.threads = torch.get_num_threads()
        if not library().integrate(byref(self._neurons), t):
            raise MemoryError("for a block of neurons")
        return self.out

    def _address(self, tensor: Tensor) -> int:
        self._kept.append(tensor)
        return tensor.data_ptr()

    def _repeated(self, parameter: Tensor | None) -> int | None:
        """The address of a period of a parameter."""
        if parameter is None:
            return None
        period, channels = self._neurons.period, self._neurons.channels
        values = parameter.flatten().to(torch.float32).expand(channels)
        self._kept.append(values.repeat(period // channels))
        return self._kept[-1].data_ptr()
