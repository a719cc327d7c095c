"""Exact sums of whole numbers: convolutions and linear layers."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.graph import geometry
from spiking_yolo.integer.library import ZERO
from spiking_yolo.spikes.layout import channels_last

# Two numbers: of height and width.
Sides = Sequence[int]
# Whole numbers up to this are exact in float32.
EXACT = 1 << 24
# Outputs of a layer whose sums are checked, about: float64 takes milliseconds for them.
CHECKED = 8


def at_every_input(weight: Tensor, bias: Tensor, groups: int) -> Tensor:
    """The sum of each output, [out], where every input is the `bias`, [in], of its channel."""
    if weight.ndim == 2:
        return weight @ bias.repeat_interleave(weight.shape[1] // len(bias))
    taps = weight.sum((2, 3)).unflatten(0, (groups, -1))
    return torch.einsum("goi,gi->go", taps, bias.reshape(groups, -1)).flatten()


class Border:
    """What zero points bring less to sums near the border, where padding has none.

    A neuron sends k, and k * theta + zero point is its value. The share of the zero points in a sum
    is part of the bias of the next layer, as if there were no border; this is the difference. It is
    in the units of the sums, exact in multiples of 1 / PARTS and then rounded once, to whole
    numbers.

    Args:
        difference: What is added to each sum, [out, H, W].
    """

    def __init__(self, difference: Tensor):
        self.size = difference.shape[1:]
        flat = difference.float().flatten(1).T
        # The positions near the border, and what is added there: [n], [n, out].
        self.where = flat.any(1).nonzero().flatten()
        self.values = flat[self.where].contiguous()

    @classmethod
    def of(
        cls, levels: Tensor, attrs: Mapping[str, Any], zero_points: Tensor, size: Sequence[int]
    ) -> "Border | None":
        """The border of a convolution; None without padding or zero points.

        Args:
            levels: Its weights, float64.
            attrs: Its geometry.
            zero_points: Zero points of its inputs, [in], in the units of their events.
            size: Height and width of its input.
        """
        if levels.ndim != 4 or not zero_points.any() or not any(attrs["padding"]):
            return None
        everywhere = zero_points.reshape(1, -1, 1, 1).expand(1, -1, *size)
        sums = F.conv2d(everywhere, levels, None, *geometry(attrs))[0]
        inside = at_every_input(levels, zero_points, attrs["groups"]).reshape(-1, 1, 1)
        difference = (sums - inside).round_()
        return cls(difference) if difference.any() else None

    def add_to(self, sums: Tensor) -> Tensor:
        """Add it to sums, [N, out, H, W], in place."""
        for positions in sums.movedim(1, -1).flatten(1, 2):
            positions.index_add_(0, self.where, self.values.to(sums.dtype))
        return sums

    def whole(self) -> Tensor:
        """The border as a map, [1, out, H, W], since exported graphs write nothing in place."""
        maps = self.values.new_zeros(self.values.shape[1], self.size.numel())
        maps[:, self.where] = self.values.T
        return maps.unflatten(1, self.size)[None]


class WholeConvolution:
    """A convolution or linear layer of whole numbers, whose sums are exact below 2^24, and rounded
    once beyond.

    Args:
        levels: Weights, whole numbers of 8 bits, [out, in / groups, kh, kw] or [out, in].
        attrs: Geometry of a convolution.
        largest: Bound on what arrives.
        border: Added to the sums.
    """

    def __init__(
        self, levels: Tensor, attrs: Mapping[str, Any], largest: float, border: Border | None = None
    ):
        self.levels, self.border = levels.float(), border
        self.attrs, self.largest = attrs, largest
        each = levels.flatten(1)
        # Largest sum of an output where every input is 1 or -1, and where every input is 1.
        self.reach, lean = each.abs().sum(1).max().item(), each.sum(1).abs().max().item()
        self.most = self.reach * largest
        if border is not None:
            self.most += border.values.abs().max().item()
        self.wide = self.most >= EXACT
        # oneDNN makes floats of the sums of bytes, before it takes off what their zero brings.
        self._room = EXACT - ZERO * lean
        self._fits = self.most < self._room
        # The weights as oneDNN wants them.
        self._packed: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """The sums, float32, of [N, in, H, W] or [N, in]: whole numbers, or bytes n + ZERO."""
        return self.exact(x).float()

    def exact(self, x: Tensor) -> Tensor:
        """The sums, not rounded: float64 where they may be larger than 2^24."""
        sums = self._of_bytes(x) if x.dtype == torch.uint8 else self._in_floats(x)
        if self.border is not None:
            sums = self.border.add_to(sums)
        return sums

    def bytes_are_exact(self, size: Sides, images: int = 1) -> bool:
        """Whether oneDNN's sums of bytes are exact for this layer: random events, at up to
        CHECKED of its outputs, against float64. True where it is not used.

        oneDNN's sums were wrong on processors with AMX for some geometries, such as maps two wide,
        which `has_exact_int8` cannot all try.

        Args:
            size: Height and width of the maps that it reads.
            images: Images at once.
        """
        # Larger sums are left to floats, see _of_bytes.
        largest = min(127, int(self._room // max(self.reach, 1)))
        if not has_exact_int8() or largest < 1:
            return True
        generator = torch.Generator().manual_seed(0)
        groups = self.attrs["groups"]
        shape = images, self.levels.shape[1] * groups, *size
        ends = ZERO - largest, ZERO + largest + 1
        x = torch.randint(*ends, shape, generator=generator, dtype=torch.uint8)
        outputs = slice(None) if groups > 1 else slice(None, None, -(-len(self.levels) // CHECKED))
        levels = self.levels[outputs].double()
        exact = F.conv2d(x.double() - ZERO, levels, None, *geometry(self.attrs))
        return torch.equal(self._sums_of_bytes(x)[:, outputs].double(), exact)

    def _sums_of_bytes(self, x: Tensor) -> Tensor:
        if self._packed is None:
            self._packed = pack(self.levels, self.attrs)
        return convolve_bytes(channels_last(x), self._packed, len(self.levels), self.attrs)

    def _of_bytes(self, x: Tensor) -> Tensor:
        if self.levels.ndim == 4 and has_exact_int8():
            sums = self._sums_of_bytes(x)
            if self._fits or max(map(abs, sums.aminmax())) < self._room:
                return sums
        return self._in_floats(x.float() - ZERO)

    def _in_floats(self, x: Tensor) -> Tensor:
        weight = self.levels
        if self.wide or rounds_floats(x.device):
            x, weight = x.double(), weight.double()
        if weight.ndim == 2:
            return F.linear(x, weight)
        if x.device.type == "cpu":
            if x.shape[1] == 1:
                # oneDNN's sums were wrong with AVX-512 for narrow maps of one channel with the
                # strides of channels last, which `contiguous` leaves as they are.
                x = x.clone(memory_format=torch.contiguous_format)
            return F.conv2d(x, weight, None, *geometry(self.attrs))
        # A product of matrices: accelerators may convolve by transforms, which round.
        *size, groups = geometry(self.attrs)
        columns = unfolded(x, weight.shape[2:], *size)
        taps = columns.unflatten(1, (groups, -1)).flatten(2, 3)
        sums = weight.flatten(1).unflatten(0, (groups, -1)) @ taps.flatten(3)
        return sums.flatten(1, 2).unflatten(2, columns.shape[3:])


def unfolded(x: Tensor, kernel: Sides, stride: Sides, padding: Sides, dilation: Sides) -> Tensor:
    """What each tap of a kernel reads of a map: [N, C, kh * kw, H, W]."""
    x = F.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    spans = [(kernel[k] - 1) * dilation[k] for k in (0, 1)]
    height, width = ((x.shape[k + 2] - spans[k] - 1) // stride[k] * stride[k] + 1 for k in (0, 1))
    taps: list[Tensor] = []
    for top in range(0, spans[0] + 1, dilation[0]):
        for left in range(0, spans[1] + 1, dilation[1]):
            rows = x[:, :, top : top + height : stride[0]]
            taps.append(rows[:, :, :, left : left + width : stride[1]])
    return torch.stack(taps, 2)


def rounds_floats(device: torch.device) -> bool:
    """Whether PyTorch was told to round float32 to fewer bits in products, such as bfloat16."""
    backend: Any = torch.backends.mkldnn
    if device.type != "cpu":
        backend = torch.backends.cuda
    modes = (getattr(backend, name, None) for name in ("conv", "matmul"))
    precisions = {getattr(mode, "fp32_precision", "none") for mode in modes}
    return not precisions <= {"none", "ieee"} or torch.get_float32_matmul_precision() != "highest"


def pack(levels: Tensor, attrs: Mapping[str, Any]) -> Tensor:
    """Weights [out, in / groups, kh, kw] as `convolve_bytes` wants them."""
    ones, _ = _scales(len(levels))
    sizes = geometry(attrs)
    return torch.ops.onednn.qconv_prepack(levels.to(torch.int8), ones, 1.0, ZERO, *sizes, None)


def convolve_bytes(x: Tensor, packed: Tensor, outputs: int, attrs: Mapping[str, Any]) -> Tensor:
    """PyTorch's int8 convolution by oneDNN, whose sums are whole: float32 [N, out, H, W].

    The operator is PyTorch's own and not public, so that it is called here alone; `has_exact_int8`
    says whether it serves.

    Args:
        x: Bytes n + ZERO, channels last.
        packed: What `pack` returned.
    """
    given, scales = (x, 1.0, ZERO, packed, *_scales(outputs), None), (1.0, 0, torch.float32)
    convolve = torch.ops.onednn.qconv2d_pointwise
    return convolve(*given, *geometry(attrs), *scales, "none", [], "")


@cache
def _scales(outputs: int) -> tuple[Tensor, Tensor]:
    return torch.ones(outputs), torch.zeros(outputs, dtype=torch.int32)


@cache
def has_exact_int8() -> bool:
    """Whether `convolve_bytes` is here and exact.

    Processors without VNNI add pairs of products in 16 bits, which the largest values pass: sums
    are then wrong by far. Dense, with stride, and of a channel each are tried.
    """
    try:
        cases = (64, 1, 1), (64, 2, 1), (64, 1, 64)
        return all(_is_exact(*case) for case in cases)
    except (AttributeError, RuntimeError, TypeError):
        return False


def _is_exact(channels: int, stride: int, groups: int) -> bool:
    one = (1, 1)
    attrs = {"stride": (stride, stride), "padding": one, "dilation": one, "groups": groups}
    levels = torch.full((channels, channels // groups, 3, 3), 127.0)
    levels[1::2] = -127
    for k in (127, -127):
        x = channels_last(torch.full((1, channels, 9, 9), k + ZERO, dtype=torch.uint8))
        sums = convolve_bytes(x, pack(levels, attrs), channels, attrs)
        exact = F.conv2d(x.double() - ZERO, levels.double(), None, *geometry(attrs))
        if not torch.equal(sums.double(), exact):
            return False
    return True
