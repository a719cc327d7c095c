"""Exact sums of whole numbers: convolutions and linear layers."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.graph import geometry

# Two numbers: of height and width.
Sides = Sequence[int]
# Whole numbers up to this are exact in float32.
EXACT = 1 << 24


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
        # Largest sum of an output where every input is 1 or -1.
        self.reach = levels.flatten(1).abs().sum(1).max().item()
        self.most = self.reach * largest
        if border is not None:
            self.most += border.values.abs().max().item()
        self.wide = self.most >= EXACT

    def __call__(self, x: Tensor) -> Tensor:
        """The sums, float32, of whole numbers [N, in, H, W] or [N, in]."""
        return self.exact(x).float()

    def exact(self, x: Tensor) -> Tensor:
        """The sums, not rounded: float64 where they may be larger than 2^24."""
        sums = self._sums(x)
        if self.border is not None:
            sums = self.border.add_to(sums)
        return sums

    def _sums(self, x: Tensor) -> Tensor:
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
