"""Convolutions with their weights in the order that oneDNN wants, made once instead of in every
step, and pooling by pairs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.graph import reached_padding
from spiking_yolo.snn.layout import channels_last


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
