"""Positions of maps: which ones windows over changed positions reach, and what those windows see.

The functions in C are those of kernels.c. Maps lie channels last; a position is the index of its
row among those of all images.
"""

import ctypes
import math
from collections.abc import Sequence
from ctypes import c_int, c_int64, c_void_p

import torch
from torch import Tensor

from spiking_yolo.integer.kernels import library
from spiking_yolo.snn.layout import rows

# Rows are filled up to 2^k or 3 * 2^k of them: oneDNN prepares itself for every number anew.
LEAST_ROWS = 16
FIELDS = "h w out_h out_w kernel_h kernel_w stride_h stride_w top left"


class Geometry(ctypes.Structure):
    """Windows in kernels.c."""

    _fields_ = tuple((name, c_int64) for name in FIELDS.split())


class Windows:
    """The windows of a convolution or pooling over a map.

    Args:
        given, size: Height and width of the map, and of what the windows give.
        kernel, stride: Of a window, and from one to the next.
        before: How many rows and columns of padding lie above and to the left.

    Attributes:
        size: Height and width of what the windows give.
        outputs, inputs: Positions of it, and of the map.
    """

    def __init__(
        self,
        given: Sequence[int],
        size: Sequence[int],
        kernel: Sequence[int],
        stride: Sequence[int],
        before: Sequence[int],
    ):
        self._geometry = Geometry(*given, *size, *kernel, *stride, *before)
        self._taps = kernel[0] * kernel[1]
        # Outputs that an input reaches at most.
        self._most = math.prod(-(-kernel[k] // stride[k]) for k in (0, 1))
        self.size, self.outputs, self.inputs = tuple(size), math.prod(size), math.prod(given)
        functions = library()
        assert functions is not None
        self._reached, self._gather = functions.reached, functions.gather

    def reached(self, where: Tensor, images: int) -> Tensor:
        """The outputs that input positions reach, in order: int64."""
        if not len(where):
            return where
        total = images * self.outputs
        marks = torch.zeros(total + 8, dtype=torch.uint8)
        found = torch.empty(min(total, len(where) * self._most), dtype=torch.int64)
        given = c_void_p(where.data_ptr()), c_int64(len(where)), c_int64(total)
        results = c_void_p(marks.data_ptr()), c_void_p(found.data_ptr())
        count = self._reached(ctypes.byref(self._geometry), *given, *results)
        return found[:count]

    def gather(self, x: Tensor, where: Tensor, zero: int) -> Tensor:
        """What the windows of some outputs see: bytes [n or more, taps * C].

        Args:
            x: Bytes [N, C, H, W].
            where: Positions of the outputs.
            zero: The byte outside of the map.
        """
        given = rows(x)
        channels, n = given.shape[1], max(len(where), LEAST_ROWS)
        power = 1 << (n - 1).bit_length()
        padded = 3 * power // 4 if n <= 3 * power // 4 else power
        seen = torch.empty(padded, self._taps * channels, dtype=torch.uint8)
        seen[len(where) :] = zero
        self._gather(
            ctypes.byref(self._geometry),
            c_void_p(given.data_ptr()),
            c_int64(channels),
            c_void_p(where.data_ptr()),
            c_int64(len(where)),
            c_int(zero),
            c_int(torch.get_num_threads()),
            c_void_p(seen.data_ptr()),
        )
        return seen


def changed_values(new: Tensor, old: Tensor) -> Tensor:
    """How many values differ at each position of two maps [N, C, H, W]: float32 [N, 1, H, W]."""
    functions, bytewise = library(), new.dtype == old.dtype == torch.uint8
    if functions is None or not bytewise or new.device.type != "cpu":
        return (new != old).sum(1, keepdim=True).float()
    counts = torch.zeros(len(new), 1, *new.shape[2:])
    first, second = rows(new), rows(old)
    memory = [c_void_p(x.data_ptr()) for x in (first, second, counts)]
    functions.changed(*memory, c_int64(first.shape[1]), c_int64(len(first)))
    return counts


def positions_of(counts: Tensor) -> Tensor:
    """Where any of counts [N, any, H, W] is not 0, in order: int64."""
    if counts.shape[1] > 1:
        counts = counts.any(1)
    return counts.flatten().nonzero().flatten()


def upsampled(where: Tensor, width: int, factors: Sequence[int]) -> Tensor:
    """The positions that some of a map of this width take after nearest upsampling."""
    down, right = factors
    lines = where.div(width, rounding_mode="floor")[:, None] * down + torch.arange(down)
    columns = (where % width)[:, None] * right + torch.arange(right)
    places = lines[:, :, None] * (width * right) + columns[:, None]
    return places.flatten().sort().values


def in_pairs(where: Tensor, width: int) -> Tensor:
    """The four positions of each window of 2 x 2; where: windows, of a map of this width."""
    half = width // 2
    first = where.div(half, rounding_mode="floor") * (2 * width) + where % half * 2
    return (first[:, None] + torch.tensor([0, 1, width, width + 1])).flatten()


def united(places: Sequence[Tensor]) -> Tensor:
    """Positions that are in any of these, in order."""
    if len(places) == 1:
        return places[0]
    return torch.cat(list(places)).unique()
