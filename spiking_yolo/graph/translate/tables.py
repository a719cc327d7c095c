"""Which translator serves which module and function. Whatever is not in MODULES or FUNCTIONS is refused."""

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from spiking_yolo.graph.modules import QCFS, ClippedReLU, PaddedMaxPool2d
from spiking_yolo.graph.translate import layers, shaping
from spiking_yolo.graph.translate.call import Split


def _fields(translate: Callable[..., str], *fields: str) -> Callable[..., str]:
    """A translator for a module that passes the attributes `fields` on."""
    return lambda call, x, m: translate(call, x, **{f: getattr(m, f) for f in fields})


_POOL = ("kernel_size", "stride", "padding", "ceil_mode")

# type of the leaf module -> f(call, input name, module)
MODULES: dict[type, Callable[..., str]] = {
    nn.Conv2d: layers.conv,
    nn.Linear: layers.linear,
    nn.ReLU: _fields(layers.relu),
    nn.LeakyReLU: _fields(layers.leaky, "negative_slope"),
    **dict.fromkeys([nn.Hardtanh, nn.ReLU6], _fields(layers.hardtanh, "min_val", "max_val")),
    nn.SiLU: _fields(layers.silu),
    ClippedReLU: lambda call, x, m: layers.capped(call, x, m.theta.item()),
    QCFS: lambda call, x, m: layers.capped(call, x, m.theta.item(), levels=m.levels),
    nn.MaxPool2d: _fields(layers.max_pool, *_POOL, "dilation", "return_indices"),
    PaddedMaxPool2d: layers.padded_max_pool,
    nn.AvgPool2d: _fields(layers.avg_pool, *_POOL, "count_include_pad", "divisor_override"),
    nn.AdaptiveAvgPool2d: _fields(layers.adaptive_avg_pool, "output_size"),
    nn.Upsample: _fields(shaping.upsample, "size", "scale_factor", "mode"),
    nn.Flatten: _fields(shaping.flatten, "start_dim", "end_dim"),
    nn.ZeroPad2d: lambda call, x, m: shaping.pad(call, x, m.padding),
    **dict.fromkeys([nn.Identity, nn.Dropout, nn.Dropout2d], shaping.identity),
}

# function, or name of the tensor method -> f(call, *translated arguments)
FUNCTIONS: dict[Any, Callable[..., str | Split | None]] = {
    **dict.fromkeys([F.relu, F.relu_, torch.relu, "relu", "relu_"], layers.relu),
    F.leaky_relu: layers.leaky,
    F.relu6: lambda call, x, inplace=False: layers.capped(call, x, 6.0),
    F.silu: layers.silu,
    **dict.fromkeys([F.hardtanh, F.hardtanh_], layers.hardtanh),
    **dict.fromkeys([F.max_pool2d, torch.max_pool2d], layers.max_pool),
    F.avg_pool2d: layers.avg_pool,
    F.adaptive_avg_pool2d: layers.adaptive_avg_pool,
    **dict.fromkeys([torch.mean, "mean"], layers.mean),
    F.interpolate: shaping.upsample,
    **dict.fromkeys([torch.cat, torch.concat], shaping.concat),
    **dict.fromkeys([torch.chunk, torch.split, "chunk", "split"], shaping.split),
    operator.getitem: shaping.getitem,
    **dict.fromkeys([operator.add, operator.iadd, torch.add, "add", "add_"], shaping.add),
    **dict.fromkeys([torch.flatten, "flatten"], shaping.flatten),
    **dict.fromkeys([torch.reshape, "reshape", "view"], shaping.reshape),
    F.pad: shaping.pad,
    **dict.fromkeys([F.dropout, "contiguous"], shaping.identity),
    **dict.fromkeys(["size", "dim"], shaping.shape),
}

ADVICE: dict[Any, str] = {
    nn.BatchNorm2d: "only a batch norm directly after a convolution can be folded: reorder to conv, norm, activation",
    **dict.fromkeys([nn.GELU, F.gelu, nn.Mish], "fine-tune the network with ReLU or LeakyReLU first"),
    **dict.fromkeys([nn.Sigmoid, torch.sigmoid, "sigmoid"], "a sigmoid belongs into the decoding, behind the output"),
    **dict.fromkeys([nn.Softmax, F.softmax, torch.softmax, "softmax"], "attention cannot be converted to spikes"),
}
