"""What is computed in C: the neurons of a layer in one pass (scale, pooling, activation, rounding,
counting), and for frames of a video which positions of maps have changed, what they reach, and what
the windows of a convolution see there.

setup.py builds kernels.c where there is a compiler; the results are those of neuron.py to the bit.
Maps lie channels last; a position is the index of its row among those of all images.
"""

import ctypes
import math
import zlib
from collections.abc import Sequence
from ctypes import c_float, c_int, c_int32, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.integer.neuron import NeuronLayer
from spiking_yolo.snn.layout import channels_last, empty, rows

# Neurons of a vector in kernels.c, the most summands, and what a byte of 0 events is.
LANES, TERMS, ZERO = 16, 3, 128


class Layer(ctypes.Structure):
    """See kernels.c."""

    _fields_ = (
        ("channels", c_int64),
        ("scales", c_void_p * TERMS),
        *((name, c_void_p) for name in ("bias", "per_value", "offset", "ceiling")),
        ("slope", c_float),
        ("slack", c_float),
        ("silu", c_int32),
    )


class Input(ctypes.Structure):
    """See kernels.c."""

    _fields_ = (
        ("rows", c_int64),
        ("width", c_int64),
        ("terms", c_int64),
        ("sums", c_void_p * TERMS),
        ("events", c_void_p * TERMS),
        ("before", c_void_p),
        ("where", c_void_p),
        ("due", c_float),
    )


class Output(ctypes.Structure):
    """See kernels.c."""

    _fields_ = (
        ("positions", c_int64),
        ("segments", c_int64),
        ("ends", c_void_p),
        ("sent", c_void_p),
        ("spent", c_void_p),
    )


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


@cache
def library() -> Any:
    """The functions of kernels.c for this processor, which take addresses and whole numbers.

    None where they were not built, do not load, or are of another state of the file.
    """
    source = Path(__file__).with_name("kernels.c")
    try:
        functions = ctypes.CDLL(str(source.with_name(f"kernels_{usable_levels()[-1]}.so")))
    except OSError:
        return None
    built = getattr(functions, "source", lambda: None)()
    if source.exists() and built != checksum(source):
        return None
    address, number = c_void_p, c_int64
    functions.neurons.argtypes = address, address, address, c_int
    functions.events.argtypes = number, address, address, c_int
    functions.changed.argtypes = address, address, address, number, number
    functions.reached.argtypes = address, address, number, number, address, address
    functions.gather.argtypes = address, address, number, address, number, c_int, c_int, address
    functions.reached.restype = number
    functions.values.argtypes = address, address, c_int, address, address
    functions.gradients.argtypes = address, address, c_int, address, address, address, address
    return functions


def checksum(source: Path) -> int:
    """Of a file in C, as a C int."""
    return zlib.crc32(source.read_bytes()) >> 1


class NeuronKernel:
    """The neurons of one layer.

    Args:
        layer: Its parameters.
        ends: Where each segment of channels ends, whose events are counted apart.
    """

    def __init__(self, layer: NeuronLayer, ends: Sequence[int]):
        channels, ceiling = len(layer.bias), layer.ceiling
        if ceiling is None:
            ceiling = torch.full((channels,), torch.inf)
        values = *layer.scales, layer.bias, layer.per_value, layer.offset, ceiling
        self._values = [F.pad(value, (0, LANES)).contiguous() for value in values]
        self._ends, self._terms = torch.tensor(ends, dtype=torch.int32), len(layer.scales)
        addresses = list(map(Tensor.data_ptr, self._values))
        scales = (c_void_p * TERMS)(*addresses[: self._terms])
        own = layer.phi.slope, layer.settings.slack, layer.phi.silu
        self._layer = Layer(channels, scales, *addresses[self._terms :], *own)

    @staticmethod
    def serves(layer: NeuronLayer) -> bool:
        """Whether kernels.c has such neurons."""
        phi = layer.phi
        plain = layer.settings.kind == "sigma-delta" and len(layer.scales) <= TERMS
        return plain and not (phi.softmax or phi.mish) and library() is not None

    @staticmethod
    def takes(sums: Sequence[Tensor], before: Tensor | None) -> bool:
        """Whether sums and bytes are as C reads them."""
        for x in (*sums, before):
            if x is None:
                continue
            if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.uint8):
                return False
            if x.dtype == torch.uint8 and x.ndim != 4:
                return False
        return before is None or before.dtype == torch.uint8

    def __call__(
        self,
        sums: Sequence[Tensor],
        before: Tensor | None,
        pool: bool,
        dead_zone: Tensor | float,
        where: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """What the neurons have sent, bytes k + 128, [N, C, H, W], and the events of this step,
        Counts.stacked of float32 [N, segments, H, W].

        Args:
            sums: float32 [N, C, H, W], and bytes of what neurons have sent.
            before: What was sent by the frame before, bytes.
            pool: Whether the maxima of 2 x 2 sums count.
            dead_zone: In a later frame.
            where: Positions that alone may have changed since the frame before, int64; then sums
                are those of these positions, [n, C], or [4 * n, C] before pooling.
        """
        sums = list(map(channels_last, sums))
        if where is None or before is None:
            n, c, h, w = sums[0].shape
            width = 0
            if pool:
                width, h, w = w, h // 2, w // 2
            size = n * h * w
            out = empty(torch.Size((n, c, h, w)), sums[0], torch.uint8)
            spent = torch.empty(3 * n, h, w, len(self._ends))
        else:
            size, width, out = len(where), int(pool), before.clone()
            spent = torch.zeros(3 * len(out), *out.shape[2:], len(self._ends))
        floats, events = (c_void_p * TERMS)(), (c_void_p * TERMS)()
        for k, x in enumerate(sums):
            of_its_kind = events if x.dtype == torch.uint8 else floats
            of_its_kind[k] = x.data_ptr()
        old, places = (None if x is None else x.data_ptr() for x in (before, where))
        due = 0.5 + float(dead_zone) if dead_zone else 0.0
        given = Input(size, width, self._terms, floats, events, old, places, due)
        result = output(out, self._ends, spent)
        structures = map(ctypes.byref, (self._layer, given, result))
        library().neurons(*structures, torch.get_num_threads())
        return out, spent.movedim(-1, 1)


def output(sent: Tensor, ends: Tensor, spent: Tensor) -> Output:
    """Where C writes; spent: [3 * N, ..., segments]."""
    memory = [tensor.data_ptr() for tensor in (ends, sent, spent)]
    return Output(spent.numel() // (3 * len(ends)), len(ends), *memory)


def events(sent: Tensor, before: Tensor | None, ends: Sequence[int]) -> Tensor:
    """The events of this step, as those of `NeuronKernel`, of a layer that sends bytes.

    Args:
        sent: What it has sent, bytes k + 128, [N, C, H, W].
        before: By the frame before.
        ends: Where each segment of channels ends.
    """
    sent, last, old = channels_last(sent), torch.tensor(ends, dtype=torch.int32), before
    if old is not None:
        old = channels_last(old)
    n, channels, *places = sent.shape
    spent = torch.empty(3 * n, *places, len(ends))
    earlier = None if old is None else old.data_ptr()
    result = output(sent, last, spent)
    library().events(channels, earlier, ctypes.byref(result), torch.get_num_threads())
    return spent.movedim(-1, 1)


# Rows are filled up to 2^k or 3 * 2^k of them: oneDNN prepares itself for every number anew.
LEAST_ROWS = 16
# Two numbers: of height and width.
Sides = Sequence[int]
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

    def __init__(self, given: Sides, size: Sides, kernel: Sides, stride: Sides, before: Sides):
        self._geometry = Geometry(*given, *size, *kernel, *stride, *before)
        self._taps = kernel[0] * kernel[1]
        # Outputs that an input reaches at most.
        self._most = math.prod(-(-kernel[k] // stride[k]) for k in (0, 1))
        self.size, self.outputs, self.inputs = tuple(size), math.prod(size), math.prod(given)

    def reached(self, where: Tensor, images: int) -> Tensor:
        """The outputs that input positions reach, in order: int64."""
        if not len(where):
            return where
        total = images * self.outputs
        marks = torch.zeros(total + 8, dtype=torch.uint8)
        found = torch.empty(min(total, len(where) * self._most), dtype=torch.int64)
        given, results = (where.data_ptr(), len(where), total), (marks.data_ptr(), found.data_ptr())
        return found[: library().reached(ctypes.byref(self._geometry), *given, *results)]

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
        source, places = (given.data_ptr(), channels), (where.data_ptr(), len(where))
        options = zero, torch.get_num_threads(), seen.data_ptr()
        library().gather(ctypes.byref(self._geometry), *source, *places, *options)
        return seen


def changed_values(new: Tensor, old: Tensor) -> Tensor:
    """How many values differ at each position of two maps [N, C, H, W]: float32 [N, 1, H, W]."""
    bytewise = new.dtype == old.dtype == torch.uint8
    if library() is None or not bytewise or new.device.type != "cpu":
        return (new != old).sum(1, keepdim=True).float()
    counts = torch.zeros(len(new), 1, *new.shape[2:])
    first, second = rows(new), rows(old)
    memory = map(Tensor.data_ptr, (first, second, counts))
    library().changed(*memory, first.shape[1], len(first))
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
    return places[0] if len(places) == 1 else torch.cat(list(places)).unique()
