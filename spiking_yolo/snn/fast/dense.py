"""Convolutions with their weights in the order that oneDNN wants, made once instead of in every
step, and pooled sums.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.graph import max_pool, reached_padding
from spiking_yolo.snn.fast.events import EventPool, Kernels
from spiking_yolo.snn.layout import channels_last, on_cpu, rows


class PackedConvolution:
    """A convolution, channels last.

    On a CPU oneDNN wants the weights in an order of its own; PyTorch makes it in every call, which
    for the deep layers of Tiny-YOLO takes a fifth of the time. Here it is made in the first call.
    The result is the same to the bit. The operators that this needs are those of PyTorch's
    compiler; where they are missing the plain ones serve.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, attrs: Mapping[str, Any]):
        """weight: [out, in / groups, kh, kw]; its dtype and device are those of the computation.
        bias: [out].
        """
        if bias is not None:
            bias = bias.to(weight)
        self.weight, self.bias = channels_last(weight), bias
        self.stride, self.padding = attrs["stride"], attrs["padding"]
        self.dilation, self.groups = attrs["dilation"], attrs["groups"]
        self._packed: Tensor | None = None
        self._pack_next = weight.device.type == "cpu" and weight.dtype == torch.float32

    def __call__(self, x: Tensor, biased: bool) -> Tensor:
        """x: [N, C, H, W]. biased: whether the bias is added. Returns the dtype of the weights."""
        x, bias = channels_last(x.to(self.weight.dtype)), None
        if biased:
            bias = self.bias
        if self._pack_next:
            self._pack(x)
        if self._packed is None:
            return F.conv2d(
                x, self.weight, bias, self.stride, self.padding, self.dilation, self.groups
            )
        return self._convolve(x, self._packed, bias)

    def __getstate__(self) -> dict[str, Any]:
        """What is copied or pickled: oneDNN's weights cannot be, and are packed again."""
        return {
            **self.__dict__,
            "_packed": None,
            "_pack_next": self._pack_next or self._packed is not None,
        }

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        sizes = self.padding, self.stride, self.dilation, self.groups
        return torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *sizes, "none", [], "")

    def _pack(self, x: Tensor) -> None:
        self._pack_next = False
        if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):
            return
        sizes = self.padding, self.stride, self.dilation, self.groups
        try:
            packed = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, *sizes, list(x.shape)
            )
            self._convolve(x, packed, None)
        except (AttributeError, RuntimeError, TypeError):
            return
        self._packed = packed


class PooledSum:
    """max_pool(sum over time of what arrives), one step at a time.

    Args:
        attrs: Geometry, see graph.max_pool.
        lasting: Whether nobody writes to what arrives, so that the first sum need not be a copy.
        kernels: In C.
    """

    def __init__(
        self, attrs: Mapping[str, Any], lasting: bool = False, kernels: Kernels | None = None
    ):
        self.attrs, self._lasting, self._kernels = attrs, lasting, kernels
        self._total: Tensor | None = None
        # Whether the sum is what arrived first, and not to be written to.
        self._borrowed = False
        self._pool: EventPool | None = None
        self._fresh = True

    def reset(self) -> None:
        """Nothing has arrived yet."""
        self._fresh = True
        if self._borrowed:
            self._total, self._borrowed = None, False

    def __call__(self, current: Tensor) -> Tensor:
        """current: [N, C, H, W], what arrives in this step. Returns [N, C, H', W'], valid until the
        next step.
        """
        n, c, h, w = current.shape
        in_tiles = tiles(h, w, **self.attrs)
        total, added = self._sum(current)
        if self._kernels is not None and total.dtype == torch.float32 and on_cpu(total):
            if self._pool is None or self._pool.shape != current.shape:
                self._pool = EventPool(self._kernels, self.attrs, current.shape, in_tiles)
            return self._pool(total, added)
        if added is not None:
            total.add_(added)
        self._pool, total = None, total.view(n, h, w, c)
        if in_tiles:
            return pool_in_pairs(total).movedim(-1, 1)
        return max_pool(total.movedim(-1, 1), **self.attrs)

    def _sum(self, current: Tensor) -> tuple[Tensor, Tensor | None]:
        """The sum, [N * H * W, C], and what is still to be added to it; None for nothing."""
        arrived = rows(current)
        if not self._fresh:
            assert self._total is not None
            if self._borrowed:
                self._total, self._borrowed = self._total.clone(), False
            return self._total, arrived
        self._fresh = False
        self._total, self._borrowed = arrived, self._lasting
        if not self._lasting:
            self._total = arrived.clone()
        return self._total, None


def pool_in_pairs(x: Tensor) -> Tensor:
    """Max pooling of [N, H, W, C] by 2 x 2: returns [N, H', W', C].

    It takes a third of the time of PyTorch's, which also finds where each maximum is.
    """
    n, h, w, c = x.shape
    a, b = x.view(n * h // 2, 2, w * c).unbind(1)
    a, b = torch.maximum(a, b).view(-1, 2, c).unbind(1)
    return torch.maximum(a, b).view(n, h // 2, w // 2, c)


def tiles(
    h: int, w: int, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], ceil: bool
) -> bool:
    """Whether windows of 2 x 2 lie side by side and cover the map exactly."""
    side_by_side = [*kernel, *stride] == [2, 2, 2, 2] and h % 2 == w % 2 == 0
    return side_by_side and not any(reached_padding(h, w, kernel, stride, padding, ceil))
