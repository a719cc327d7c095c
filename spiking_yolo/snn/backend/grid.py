"""Which outputs of a convolution its inputs reach, as indices into flat maps."""

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """Where the inputs and outputs of a convolution lie in its padded map, flat.

    shape: n, height and width of the input. padded: its positions. places: of each input. windows: of each output,
    where its kernel begins. lines: of a kernel, from there. reaching, spread: see `reached_by`. framed: the place of
    each output in that frame; output_of: what is at each place, -1 for none. outputs: height and width.
    """

    shape: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    padded: int
    places: Tensor
    windows: Tensor
    lines: Tensor
    framed: Tensor
    output_of: Tensor
    reaching: Tensor
    spread: Tensor
    outputs: tuple[int, int]

    @property
    def pointwise(self) -> bool:
        return self.kernel == self.stride == (1, 1) and self.padding == (0, 0)

    def reached(self, where: Tensor) -> Tensor:
        """Outputs whose kernel lies on one of the inputs."""
        if self.pointwise:
            return where
        n, h, w = self.shape
        if self.stride != (1, 1):
            mask = torch.zeros(n * h * w, device=where.device).index_fill_(0, where, 1).view(n, 1, h, w)
            mask = F.pad(mask, (self.padding[1], self.padding[1], self.padding[0], self.padding[0]))
            return F.max_pool2d(mask, self.kernel, self.stride).flatten().nonzero().flatten()
        mask = torch.zeros(len(self.output_of), dtype=torch.bool, device=where.device)
        mask.index_fill_(0, self.reached_by(where).view(-1), True)
        outputs = self.output_of.index_select(0, mask.nonzero().view(-1))
        return outputs[outputs >= 0]

    def reached_by(self, where: Tensor) -> Tensor:
        """The outputs that each input reaches, [n, kh * kw], for stride 1, as places in a frame of kernels.

        Output (y, x) lies on the inputs (y..y + kh - 1, x..x + kw - 1) of the padded map. With a frame of outputs whose
        kernel would begin beyond the border, those of an input begin at its own place.
        """
        return self.reaching.index_select(0, where)[:, None] + self.spread

    def slots(self, where: Tensor) -> Tensor:
        """For each place in that frame its position in `where`, outputs; the number of these for all others."""
        slots = torch.full(self.output_of.shape, len(where), device=where.device)
        numbers = torch.arange(len(where), device=where.device)
        return slots.index_copy_(0, self.framed.index_select(0, where), numbers)


@lru_cache(maxsize=256)
def grid_of(
    n: int,
    h: int,
    w: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    device: torch.device,
) -> Grid:
    """The grid of a convolution of maps [n, C, h, w], without dilation."""
    hp, wp = h + 2 * padding[0], w + 2 * padding[1]
    oh, ow = (hp - kernel[0]) // stride[0] + 1, (wp - kernel[1]) // stride[1] + 1
    flat = torch.arange(n * hp * wp, device=device).view(n, hp, wp)
    places = flat[:, padding[0] : padding[0] + h, padding[1] : padding[1] + w].flatten()
    windows = flat[:, : (oh - 1) * stride[0] + 1 : stride[0], : (ow - 1) * stride[1] + 1 : stride[1]].flatten()
    lines, columns = (torch.arange(k, device=device) for k in kernel)
    width = wp + kernel[1] - 1
    framed = torch.arange(n * (hp + kernel[0] - 1) * width, device=device).view(n, -1, width)
    reaching = framed[:, padding[0] : padding[0] + h, padding[1] : padding[1] + w].flatten()
    spread = (lines[:, None] * width + columns).flatten()
    output_of = torch.full((framed.numel(),), -1, device=device)
    top, left = kernel[0] - 1, kernel[1] - 1
    framed = framed[:, top : top + oh, left : left + ow].flatten() if stride == (1, 1) else windows
    output_of[framed] = torch.arange(len(framed), device=device)
    return Grid(
        (n, h, w),
        kernel,
        stride,
        padding,
        n * hp * wp,
        places,
        windows,
        lines * wp,
        framed,
        output_of,
        reaching,
        spread,
        (oh, ow),
    )
