"""Convolution in C: in later steps only what an event reaches is computed.

setup.py builds events.c beside this file where there is a C compiler. The results are those of the
plain form, but for the order of sums. Float32 on a CPU alone.
"""

import ctypes
import zlib
from collections.abc import Mapping
from copy import copy
from ctypes import c_double, c_int, c_int64, c_void_p
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.snn.layout import SparseRows, rows

# PyTorch's names for what it uses of an x86-64 processor, each with the instructions of those
# before it. Other processors have the first one alone.
LEVELS = ("default", "avx2", "avx512")


def usable_levels() -> tuple[str, ...]:
    """The levels whose instructions PyTorch uses on this processor; ATEN_CPU_CAPABILITY may name a
    lower one.
    """
    capability = torch.backends.cpu.get_cpu_capability().lower()
    if capability not in LEVELS:
        return LEVELS[:1]
    return LEVELS[: LEVELS.index(capability) + 1]


def load(source: Path, level: str) -> ctypes.CDLL | None:
    """What setup.py made of a file in C for processors of a level.

    None if it was not built, does not load, or was made of another state of the file.
    """
    try:
        functions = ctypes.CDLL(str(source.with_name(f"{source.stem}_{level}.so")))
    except OSError:
        return None
    built = getattr(functions, "source", lambda: None)()
    if source.exists() and built != checksum(source):
        return None
    return functions


def checksum(source: Path) -> int:
    """Of a file in C, as a C int."""
    return zlib.crc32(source.read_bytes()) >> 1


@cache
def library() -> ctypes.CDLL | None:
    """The functions of events.c for this processor; None where no compiler was at hand when the
    package was built.
    """
    return load(Path(__file__).with_name("events.c"), usable_levels()[-1])


# Numbers of a vector in events.c.
LANES = 16
# Measured with AVX-512; see EventConvolution.
PRICE, VISIT = 4.0, 1000.0


# The fields of a struct of events.c.
WINDOWS = "n h w out_h out_w kernel_h kernel_w stride_h stride_w top left"


class Windows(ctypes.Structure):
    """See events.c."""

    _fields_ = tuple((name, c_int64) for name in WINDOWS.split())


class Rows(ctypes.Structure):
    """See events.c."""

    _fields_ = (("values", c_void_p), ("where", c_void_p), ("n", c_int64), ("stride", c_int64))

    @classmethod
    def of(cls, x: Tensor | SparseRows) -> tuple["Rows", Tensor]:
        """Also what must live as long: a map [N, C, ...] may have to be copied."""
        where, values = None, None
        if isinstance(x, SparseRows):
            values, where = x.values, x.where.data_ptr()
        else:
            values = rows(x)
        # C would read anything else as such, and beyond its end.
        values = values.to(torch.float32)
        if values.stride(-1) != 1:
            values = values.contiguous()
        return cls(values.data_ptr(), where, len(values), values.stride(0)), values


class Scratch:
    """Tensors that every call may write to, of the largest size that was asked for. They begin as
    zeros.
    """

    def __init__(self) -> None:
        self._flat: dict[str, Tensor] = {}

    def __call__(self, name: str, n: int, dtype: torch.dtype) -> int:
        """The address of room for n numbers."""
        if name not in self._flat or len(self._flat[name]) < n:
            self._flat[name] = torch.zeros(n, dtype=dtype)
        return self._flat[name].data_ptr()


class Kernels:
    """The functions of events.c for one network, if there is a `library`; a copy, or what is
    pickled, loads it anew.
    """

    def __init__(self) -> None:
        functions = library()
        assert functions is not None
        windows, given = ctypes.POINTER(Windows), ctypes.POINTER(Rows)
        weights = [c_void_p, c_int64, c_int64, c_double, c_double, c_double]
        self.convolve = functions.convolve
        self.convolve.argtypes = [windows, given, c_int64, *weights, c_int, *[c_void_p] * 7]
        self.convolve.restype = c_int64
        self.scratch = Scratch()

    def __reduce__(self) -> tuple[Any, ...]:
        return Kernels, ()


class EventConvolution:
    """A convolution without bias of what few events bring.

    weight: [out, in, kh, kw], float32, of one group. price, visit: what an event's
    multiply-accumulate takes, and an output that an input position reaches, in multiply-accumulates
    of a dense convolution.
    """

    def __init__(
        self,
        kernels: Kernels,
        weight: Tensor,
        attrs: Mapping[str, Any],
        price: float = PRICE,
        visit: float = VISIT,
    ):
        self._kernels, self._outputs, self._price, self._visit = kernels, len(weight), price, visit
        self._kernel = tuple(weight.shape[2:])
        self._stride, self._padding = attrs["stride"], attrs["padding"]
        self._given, self._width = weight, -(-len(weight) // LANES) * LANES
        self._block = next(LANES * k for k in (4, 2, 1) if self._width % (LANES * k) == 0)
        self._shape: torch.Size | None = None

    @cached_property
    def _weight(self) -> Tensor:
        """[width / block, kh, kw, in, block]; a photograph at T = 1 does not need it."""
        padded = F.pad(self._given, (0, 0, 0, 0, 0, 0, 0, self._width - self._outputs))
        return padded.unflatten(0, (-1, self._block)).permute(0, 3, 4, 2, 1).contiguous()

    def of_network(self, kernels: Kernels) -> "EventConvolution":
        """The same weights, which are held once, for another network with these kernels."""
        # Else both would make it.
        _ = self._weight
        other = copy(self)
        other._kernels, other._shape = kernels, None
        return other

    @staticmethod
    def serves(weight: Tensor, attrs: Mapping[str, Any]) -> bool:
        """Whether a convolution with these weights and attributes can be computed so."""
        plain = attrs["groups"] == 1 and tuple(attrs["dilation"]) == (1, 1)
        return plain and weight.dtype == torch.float32 and weight.device.type == "cpu"

    def __call__(self, x: Tensor | SparseRows) -> SparseRows | None:
        """The outputs that are reached; None if there is so much that a dense convolution is
        faster.

        x: [N, in, H, W], float32. Returns tensors that the next call overwrites.
        """
        if x.shape != self._shape:
            self._bind(x.shape)
        given, _alive = Rows.of(x)
        scratch = self._kernels.scratch
        channels, outputs = x.shape[1], len(self._reached)
        size = given.n * channels
        count = self._kernels.convolve(
            self._windows,
            given,
            channels,
            self._weight.data_ptr(),
            self._width,
            self._block,
            self._price,
            self._visit,
            self._dense,
            torch.get_num_threads(),
            scratch("channel", size, torch.int32),
            scratch("value", size, torch.float32),
            scratch("ends", 2 * given.n, torch.int64),
            scratch("ranges", x.shape[2] + x.shape[3], torch.int64),
            scratch("slot", outputs, torch.int32),
            self._reached.data_ptr(),
            self._sums.data_ptr(),
        )
        if count < 0:
            return None
        return SparseRows(self._sums[:count, : self._outputs], self._reached[:count], self._result)

    def _bind(self, shape: torch.Size) -> None:
        (kh, kw), (sh, sw), (ph, pw) = self._kernel, self._stride, self._padding
        out = (shape[2] + 2 * ph - kh) // sh + 1, (shape[3] + 2 * pw - kw) // sw + 1
        self._windows = Windows(
            shape[0], *shape[2:], *out, *self._kernel, *self._stride, *self._padding
        )
        positions = shape[0] * out[0] * out[1]
        self._dense = float(positions) * kh * kw * shape[1] * self._width
        self._reached = torch.empty(positions, dtype=torch.int64)
        self._sums = torch.empty((positions, self._width))
        self._shape, self._result = shape, torch.Size((shape[0], self._outputs, *out))
