"""How each torch operation becomes a graph node. Whatever is not in MODULES or FUNCTIONS is refused."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spiking_yolo.errors import UserError
from spiking_yolo.graph import Node
from spiking_yolo.graph.modules import QCFS, ClippedReLU, PaddedMaxPool2d


class Builder:
    """Collects nodes and tensors while the fx graph is walked. shapes: output shape of every node for the example."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.tensors: dict[str, Tensor] = {}
        self.shapes: dict[str, torch.Size] = {}

    def emit(self, name: str, op: str, inputs: list[str], **attrs: Any) -> str:
        """Add a node; returns its name."""
        self.nodes.append(Node(name, op, tuple(inputs), attrs))
        return name

    def weights(self, name: str, module: nn.Conv2d | nn.Linear) -> None:
        """Copy a layer's weight and bias; a layer without bias gets zeros."""
        self.tensors[f"{name}.weight"] = module.weight.detach().clone()
        bias = module.bias if module.bias is not None else module.weight.new_zeros(module.weight.shape[0])
        self.tensors[f"{name}.bias"] = bias.detach().clone()


def _pair(value: Any) -> list[int]:
    return [int(v) for v in value] if isinstance(value, (tuple, list)) else [int(value)] * 2


def _conv(b: Builder, name: str, x: str, m: nn.Conv2d) -> str:
    if m.padding_mode != "zeros" or isinstance(m.padding, str):
        raise UserError(f"node {name!r}: use numeric zero padding; {m.padding_mode} {m.padding} cannot be converted")
    b.weights(name, m)
    geometry = {k: _pair(getattr(m, k)) for k in ("stride", "padding", "dilation")}
    return b.emit(name, "conv", [x], **geometry, groups=m.groups)


def _linear(b: Builder, name: str, x: str, m: nn.Linear) -> str:
    b.weights(name, m)
    return b.emit(name, "linear", [x])


def _relu(b: Builder, name: str, x: str, inplace: bool = False) -> str:
    return b.emit(name, "activation", [x], slope=0.0)


def _leaky(b: Builder, name: str, x: str, negative_slope: float = 0.01, inplace: bool = False) -> str:
    if not 0 <= negative_slope < 1:
        raise UserError(f"node {name!r}: leaky ReLU needs a slope in [0, 1), not {negative_slope}")
    return b.emit(name, "activation", [x], slope=float(negative_slope))


def _silu(b: Builder, name: str, x: str, inplace: bool = False) -> str:
    return b.emit(name, "activation", [x], slope=0.0, silu=True)


def _capped(b: Builder, name: str, x: str, cap: float, **levels: int) -> str:
    if not 0 < cap < float("inf"):
        raise UserError(f"node {name!r}: a ReLU needs a cap above zero, not {cap:g}: train the network again")
    return b.emit(name, "activation", [x], slope=0.0, cap=float(cap), **levels)


def _hardtanh(b: Builder, name: str, x: str, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> str:
    if min_val != 0:
        raise UserError(f"node {name!r}: clipping to [{min_val:g}, {max_val:g}] cannot be converted: clip at 0 below")
    return _capped(b, name, x, max_val)


def _max_pool(
    b: Builder,
    name: str,
    x: str,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> str:
    if _pair(dilation) != [1, 1] or return_indices:
        raise UserError(f"node {name!r}: max pooling with dilation or indices cannot be converted: use plain pooling")
    ph, pw = _pair(padding)
    kernel, stride = _pair(kernel_size), _pair(stride or kernel_size)
    return b.emit(name, "max_pool", [x], kernel=kernel, stride=stride, padding=[pw, pw, ph, ph], ceil=ceil_mode)


def _padded_max_pool(b: Builder, name: str, x: str, m: PaddedMaxPool2d) -> str:
    padding = [int(p) for p in m.padding]
    return b.emit(name, "max_pool", [x], kernel=_pair(m.kernel), stride=_pair(m.stride), padding=padding, ceil=False)


def _avg_pool(
    b: Builder,
    name: str,
    x: str,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> str:
    if divisor_override:
        raise UserError(f"node {name!r}: average pooling with divisor_override cannot be converted: leave it out")
    kernel, stride = _pair(kernel_size), _pair(stride or kernel_size)
    return b.emit(
        name,
        "avg_pool",
        [x],
        kernel=kernel,
        stride=stride,
        padding=_pair(padding),
        ceil=ceil_mode,
        count_include_pad=count_include_pad,
    )


def _adaptive_avg_pool(b: Builder, name: str, x: str, output_size: Any) -> str:
    height, width = b.shapes[x][2:]
    h, w = (output_size, output_size) if output_size is None or isinstance(output_size, int) else output_size
    h, w = h or height, w or width
    if (h, w) == (1, 1):
        return b.emit(name, "global_avg_pool", [x])
    if (h, w) == (height, width):
        return x
    if height % h or width % w:
        raise UserError(
            f"node {name!r}: adaptive pooling of {height}x{width} to {h}x{w} cannot be converted: use an input size "
            "that it divides evenly, or output size 1"
        )
    return _avg_pool(b, name, x, (height // h, width // w))


def _mean(b: Builder, name: str, x: str, dim: Any, keepdim: bool = False) -> str:
    if sorted(d % 4 for d in _pair(dim)) != [2, 3]:
        raise UserError(f"node {name!r}: only the mean over height and width can be converted, not over {dim}")
    pooled = b.emit(name if keepdim else f"{name}.mean", "global_avg_pool", [x])
    return pooled if keepdim else b.emit(name, "flatten", [pooled])


def _upsample(
    b: Builder,
    name: str,
    x: str,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    **bilinear: Any,  # options that do nothing in nearest mode
) -> str:
    scale = list(scale_factor) if isinstance(scale_factor, (tuple, list)) else [scale_factor] * 2
    if size is not None or mode != "nearest" or any(s is None or s != int(s) for s in scale):
        raise UserError(f"node {name!r}: only nearest upsampling by a whole scale_factor can be converted")
    return b.emit(name, "upsample", [x], scale=[int(s) for s in scale])


def _concat(b: Builder, name: str, xs: list[str], dim: int = 0) -> str:
    if dim not in (1, -3):
        raise UserError(f"node {name!r}: only concatenation of channels (dim 1) can be converted, not dim {dim}")
    return b.emit(name, "concat", list(xs))


def _add(b: Builder, name: str, x: Any, y: Any, alpha: float = 1) -> str:
    if not (isinstance(x, str) and isinstance(y, str)) or alpha != 1:
        raise UserError(f"node {name!r}: only the plain sum of two feature maps can be converted")
    return b.emit(name, "add", [x, y])


def _flatten(b: Builder, name: str, x: str, start_dim: int = 0, end_dim: int = -1) -> str:
    if start_dim != 1 or end_dim != -1:
        raise UserError(f"node {name!r}: flatten must keep the batch dimension and nothing else (start_dim=1)")
    return b.emit(name, "flatten", [x])


def _pad(b: Builder, name: str, x: str, pad: Any, mode: str = "constant", value: float | None = None) -> str:
    if mode != "constant" or value not in (0, None):
        raise UserError(f"node {name!r}: only zero padding can be converted, not {mode} {value}")
    return b.emit(name, "pad", [x], padding=[int(p) for p in pad])


def _identity(b: Builder, name: str, x: str, *args: Any, **kwargs: Any) -> str:
    return x


def _settings(translate: Callable[..., str], *fields: str) -> Callable[..., str]:
    """A translator for a module that passes the attributes `fields` on."""
    return lambda b, name, x, m: translate(b, name, x, **{f: getattr(m, f) for f in fields})


_POOL = ("kernel_size", "stride", "padding", "ceil_mode")

# type of the leaf module -> f(builder, node name, input name, module)
MODULES: dict[type, Callable[..., str]] = {
    nn.Conv2d: _conv,
    nn.Linear: _linear,
    nn.ReLU: _settings(_relu),
    nn.LeakyReLU: _settings(_leaky, "negative_slope"),
    **dict.fromkeys([nn.Hardtanh, nn.ReLU6], _settings(_hardtanh, "min_val", "max_val")),
    nn.SiLU: _settings(_silu),
    ClippedReLU: lambda b, name, x, m: _capped(b, name, x, m.theta.item()),
    QCFS: lambda b, name, x, m: _capped(b, name, x, m.theta.item(), levels=m.levels),
    nn.MaxPool2d: _settings(_max_pool, *_POOL, "dilation", "return_indices"),
    PaddedMaxPool2d: _padded_max_pool,
    nn.AvgPool2d: _settings(_avg_pool, *_POOL, "count_include_pad", "divisor_override"),
    nn.AdaptiveAvgPool2d: _settings(_adaptive_avg_pool, "output_size"),
    nn.Upsample: _settings(_upsample, "size", "scale_factor", "mode"),
    nn.Flatten: _settings(_flatten, "start_dim", "end_dim"),
    nn.ZeroPad2d: lambda b, name, x, m: _pad(b, name, x, m.padding),
    nn.Identity: _identity,
    nn.Dropout: _identity,
    nn.Dropout2d: _identity,
}

# function, or name of the tensor method -> f(builder, node name, *translated arguments)
FUNCTIONS: dict[Any, Callable[..., str]] = {
    **dict.fromkeys([F.relu, F.relu_, torch.relu, "relu", "relu_"], _relu),
    F.leaky_relu: _leaky,
    F.relu6: lambda b, name, x, inplace=False: _capped(b, name, x, 6.0),
    F.silu: _silu,
    **dict.fromkeys([F.hardtanh, F.hardtanh_], _hardtanh),
    **dict.fromkeys([F.max_pool2d, torch.max_pool2d], _max_pool),
    F.avg_pool2d: _avg_pool,
    F.adaptive_avg_pool2d: _adaptive_avg_pool,
    **dict.fromkeys([torch.mean, "mean"], _mean),
    F.interpolate: _upsample,
    **dict.fromkeys([torch.cat, torch.concat], _concat),
    **dict.fromkeys([operator.add, operator.iadd, torch.add, "add", "add_"], _add),
    **dict.fromkeys([torch.flatten, "flatten"], _flatten),
    F.pad: _pad,
    **dict.fromkeys([F.dropout, "contiguous"], _identity),
}

ADVICE: dict[Any, str] = {
    nn.BatchNorm2d: "only a batch norm directly after a convolution can be folded: reorder to conv, norm, activation",
    **dict.fromkeys([nn.GELU, F.gelu, nn.Mish], "fine-tune the network with ReLU or LeakyReLU first"),
    **dict.fromkeys([nn.Sigmoid, torch.sigmoid, "sigmoid"], "a sigmoid belongs into the decoding, behind the output"),
    **dict.fromkeys([nn.Softmax, F.softmax, torch.softmax, "softmax"], "attention cannot be converted to spikes"),
}
