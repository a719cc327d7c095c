"""Convolution with weights that are laid out once for the processor, instead of anew in every timestep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .blocks import channels_last


class Convolution:
    """A convolution of many inputs by the same weights, channels last.

    On a CPU oneDNN wants the weights in an order of its own; PyTorch makes it in every call, which for the deep layers
    of Tiny-YOLO takes a fifth of the time. Here it is made in the first call. The result is the same to the bit. The
    two operators that this needs are those of PyTorch's compiler; where they are missing the plain ones serve.
    """

    def __init__(self, weight: Tensor, attrs: Mapping[str, Any]):
        """weight: [out, in / groups, kh, kw]; its dtype and device are those of the computation."""
        self.weight, self.attrs = channels_last(weight), attrs
        self.packed: Tensor | None = None
        self._pack_next = weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.bfloat16)

    def __call__(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """x: [N, C, H, W]. Returns the dtype of the weights."""
        a = self.attrs
        x = channels_last(x.to(self.weight.dtype))
        bias = None if bias is None else bias.to(self.weight.dtype)
        if self._pack_next:
            self._pack(x)
        if self.packed is None:
            return F.conv2d(x, self.weight, bias, a["stride"], a["padding"], a["dilation"], a["groups"])
        sizes = a["padding"], a["stride"], a["dilation"], a["groups"]
        return torch.ops.mkldnn._convolution_pointwise(x, self.packed, bias, *sizes, "none", [], "")

    def _pack(self, x: Tensor) -> None:
        self._pack_next = False
        a = self.attrs
        sizes = a["padding"], a["stride"], a["dilation"], a["groups"]
        if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):
            return
        try:
            packed = torch.ops.mkldnn._reorder_convolution_weight(self.weight, *sizes, list(x.shape))
            torch.ops.mkldnn._convolution_pointwise(x, packed, None, *sizes, "none", [], "")
        except (AttributeError, RuntimeError, TypeError):
            return
        self.packed = packed
