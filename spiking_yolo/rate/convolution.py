"""Convolutions of few spikes: synapses.c adds up the weights of what arrives, and nothing else."""

from ctypes import Structure, byref, c_int64, c_void_p

import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.graph import Node
from spiking_yolo.rate.library import library, rows

# Where more of the pairs are not zero, or where there are fewer channels, multiplying everything
# takes no longer (measured on the layers of Tiny-YOLOv3).
MOST_EVENTS = 0.75
FEWEST_CHANNELS = 32


class Events(Structure):
    """What arrives at pairs of positions: see synapses.c."""

    _fields_ = (
        *((name, c_int64) for name in ("rows", "columns", "channels", "apart", "threads")),
        *((name, c_void_p) for name in ("x", "counts", "channel", "first", "second")),
    )


_GEOMETRY = ("images", "in_h", "out_h", "out_w", "outs", "kernel_h", "kernel_w")
_SHIFTS = ("stride_h", "top", "left", "lanes")


class Convolution(Structure):
    """A convolution of events: see synapses.c."""

    _fields_ = (
        ("events", Events),
        *((name, c_int64) for name in (*_GEOMETRY, *_SHIFTS)),
        *((name, c_void_p) for name in ("weights", "bias", "out")),
    )


class EventConvolution:
    """A convolution that takes as long as what arrives is much.

    Args:
        node: The convolution.
        weight: [O, C, kh, kw].
        bias: [O], or None.
    """

    def __init__(self, node: Node, weight: Tensor, bias: Tensor | None):
        self.stride, self.padding = node.attrs["stride"], node.attrs["padding"]
        self.kernel, self.outs = weight.shape[2:], len(weight)
        # Outputs that are computed together.
        self.lanes = library().together(self.outs)
        missing = -self.outs % self.lanes
        blocks = F.pad(weight.permute(2, 3, 1, 0), (0, missing)).unflatten(3, (-1, self.lanes))
        self.weight = blocks.permute(3, 0, 1, 2, 4).contiguous()
        self.bias = None if bias is None else F.pad(bias, (0, missing))

    @staticmethod
    def takes(node: Node, weight: Tensor) -> bool:
        """Whether it computes this layer."""
        on_cpu = weight.dtype == torch.float32 and weight.device.type == "cpu"
        if node.op != "conv" or not on_cpu or weight.shape[1] < FEWEST_CHANNELS:
            return False
        return node.attrs["groups"] == 1 and set(node.attrs["dilation"]) == {1} and bool(library())

    def __call__(self, x: Tensor, biased: bool) -> Tensor | None:
        """The output for x, [N, C, H, W]; None where so much arrives that others are faster."""
        given = rows(x)
        images, in_h, in_w, channels = given.shape
        apart = self.stride[1]
        pairs = images * in_h, in_w + apart, channels
        counts = torch.empty(pairs[:2], dtype=torch.int32)
        channel, numbers = torch.empty(pairs, dtype=torch.int32), torch.empty(2, *pairs)
        found = [tensor.data_ptr() for tensor in (given, counts, channel, *numbers)]
        threads = torch.get_num_threads()
        events = Events(images * in_h, in_w, channels, apart, threads, *found)
        if library().find(byref(events)) > MOST_EVENTS * channel.numel():
            return None
        size = [
            (n + 2 * p - k) // s + 1
            for n, p, k, s in zip((in_h, in_w), self.padding, self.kernel, self.stride, strict=True)
        ]
        out = torch.empty(images, *size, self.outs)
        geometry = *size, self.outs, *self.kernel, self.stride[0], *self.padding, self.lanes
        bias = self.bias.data_ptr() if biased and self.bias is not None else None
        tensors = self.weight.data_ptr(), bias, out.data_ptr()
        library().convolve(byref(Convolution(events, images, in_h, *geometry, *tensors)))
        return out.movedim(-1, 1)
