"""Speed alone: convolutions over small maps as one matrix product.

A convolution over maps of 2 x 2 or 4 x 4 gives the kernels of a CPU library few rows per image to work on. The patches
of a whole batch are one matrix of many rows (im2col). Whoever skips this file misses nothing but time.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

LARGEST = 16  # pixels of a map; from 8 x 8 on a plain convolution is faster, and patches are many


def by_patches(x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
    """conv2d of x [N, C, H, W] with stride 1 and zero padding (rows, columns) that keeps H and W, up to rounding."""
    n, _, h, w = x.shape
    rows, columns = weight.shape[2:]
    padded = F.pad(x, (padding[1], padding[1], padding[0], padding[0])).permute(0, 2, 3, 1)
    patches = torch.cat([padded[:, i : i + h, j : j + w] for i in range(rows) for j in range(columns)], 3)
    kernels = weight.permute(0, 2, 3, 1).flatten(1)
    return F.linear(patches.flatten(0, 2), kernels, bias).reshape(n, h, w, -1).permute(0, 3, 1, 2)


class SmallMaps(TorchFunctionMode):
    """Within this context, convolutions on the CPU that `by_patches` can do faster are done by it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.conv2d and not kwargs and len(args) == 7 and fits(*args):
            x, weight, bias, _, padding, *_ = args
            return by_patches(x, weight, bias, padding)
        return func(*args, **(kwargs or {}))


def fits(x: Tensor, weight: Tensor, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> bool:
    """Whether these arguments of conv2d, as nn.Conv2d passes them, are a small map whose size is kept."""
    same = tuple(2 * p + 1 for p in padding) == tuple(weight.shape[2:]) if isinstance(padding, tuple) else False
    plain = stride == (1, 1) and dilation == (1, 1) and groups == 1
    return x.device.type == "cpu" and x.ndim == 4 and x[0, 0].numel() <= LARGEST and same and plain
