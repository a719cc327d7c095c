"""Convolutions with their weights in the order that oneDNN wants, made once instead of in every
step.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.graph import max_pool, reached_padding
from spiking_yolo.snn.fast.events import EventPool, Kernels
from spiking_yolo.snn.fast.steps import Fused
from spiking_yolo.snn.layout import Active, channels_last, rows


class PackedConvolution:
    """A convolution, channels last.

    On a CPU oneDNN wants the weights in an order of its own; PyTorch makes it in every call, which
    for the deep layers of Tiny-YOLO takes a fifth of the time. Here it is made in the first call.
    The result is the same to the bit. The two operators that this needs are those of PyTorch's
    compiler; where they are missing the plain ones serve.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, attrs: Mapping[str, Any]):
        """weight: [out, in / groups, kh, kw]; its dtype and device are those of the computation.
        bias: [out].
        """
        self.weight, self.bias = channels_last(weight), None if bias is None else bias.to(weight)
        self.stride, self.padding, self.dilation = (
            attrs["stride"],
            attrs["padding"],
            attrs["dilation"],
        )
        self.groups = attrs["groups"]
        self._packed: Tensor | None = None
        self._pack_next = weight.device.type == "cpu" and weight.dtype in (
            torch.float32,
            torch.bfloat16,
        )

    def __call__(self, x: Tensor, biased: bool) -> Tensor:
        """x: [N, C, H, W]. biased: whether the bias is added. Returns the dtype of the weights."""
        x, bias = channels_last(x.to(self.weight.dtype)), self.bias if biased else None
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
    """max_pool(sum over time of what arrives), one step at a time. attrs: geometry, see
    graph.max_pool.

    compiled: the addition, the conversion of what arrives in bf16 and pooling of 2 x 2 are fused.
    kernels: for few rows.
    """

    def __init__(
        self, attrs: Mapping[str, Any], compiled: bool = False, kernels: Kernels | None = None
    ):
        self.attrs, self._compiled, self._kernels = attrs, compiled, kernels
        self._add: Callable[..., Any]
        self._fused: dict[tuple[Any, ...], Fused] = {}
        self._sums: list[Tensor] = []
        self._events: EventPool | None = None
        self._fresh = True

    def reset(self) -> None:
        """Nothing has arrived yet."""
        self._fresh = True

    def __call__(self, current: Tensor) -> Tensor:
        """current: [N, C, H, W], what arrives in this step. Returns [N, C, H', W'], valid until the
        next step.
        """
        n, c, h, w = current.shape
        # The sum is exact where the current is rounded.
        dtype = torch.promote_types(current.dtype, torch.float32)
        in_tiles = tiles(h, w, **self.attrs)
        by_corners = self._compiled and in_tiles
        shape = (n * h // 2, w // 2, c) if by_corners else (n * h * w, c)
        kept = self._sums[0] if self._sums else None
        if kept is None or (kept.shape, kept.dtype, kept.device) != (shape, dtype, current.device):
            self._sums = [
                current.new_empty(shape, dtype=dtype) for _ in range(4 if by_corners else 1)
            ]
            add = add_to_corners_ if by_corners else add_
            self._add = (
                self._fused.setdefault((current.device, *shape), Fused(add))
                if self._compiled
                else add
            )
            self._fresh = True
        first, self._fresh = self._fresh, False
        if by_corners:
            if first:
                for total in self._sums:
                    total.zero_()
            windows = rows(current).view(n * h // 2, 2, w // 2, 2, c)
            return self._add(*self._sums, windows).view(n, h // 2, w // 2, c).movedim(-1, 1)
        (total,) = self._sums
        (torch.Tensor.copy_ if first else self._add)(total, rows(current))
        total = total.view(n, h, w, c)
        pooled = (
            pool_in_pairs(total).movedim(-1, 1)
            if in_tiles
            else max_pool(total.movedim(-1, 1), **self.attrs)
        )
        self._shape, self._pooled, self._events = current.shape, channels_last(pooled), None
        return self._pooled

    def at(self, current: Active) -> tuple[Active, Tensor] | None:
        """The same for a few rows, after a first call: the maxima that they may change, and what
        these were before.

        What that call returned is changed too. None for what is not computed so.
        """
        total, *corners = self._sums
        if (
            self._kernels is None
            or corners
            or total.dtype != torch.float32
            or total.device.type != "cpu"
        ):
            return None
        if self._events is None:
            self._events = EventPool(self._kernels, self.attrs, self._shape, total, self._pooled)
        return self._events(current)


def add_(total: Tensor, x: Tensor) -> None:
    """total += x."""
    total.add_(x)


def add_to_corners_(*given: Tensor) -> Tensor:
    """Add what arrives in windows of 2 x 2 to the sum at each corner, and take the maxima: one pass
    when compiled.

    given: four tensors [N * H', W', C], the sums, and the windows, [N * H', 2, W', 2, C]. Returns
    [N * H', W', C].
    """
    *corners, windows = given
    for i, total in enumerate(corners):
        total.add_(windows[:, i // 2, :, i % 2])
    a, b, c, d = corners
    return torch.maximum(torch.maximum(a, b), torch.maximum(c, d))


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
