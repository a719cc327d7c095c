"""Translators of layers with weights, activations and pooling: f(call, input name, then torch's own arguments)."""

from typing import Any

from torch import nn

from spiking_yolo.graph import Node
from spiking_yolo.graph.modules import PaddedMaxPool2d
from spiking_yolo.graph.translate.call import Call, pair


def conv(call: Call, x: str, m: nn.Conv2d) -> str:
    if m.padding_mode != "zeros" or isinstance(m.padding, str):
        raise call.error(f"use numeric zero padding; {m.padding_mode} {m.padding} cannot be converted")
    call.weights(m)
    geometry = {k: pair(getattr(m, k)) for k in ("stride", "padding", "dilation")}
    return call.emit("conv", x, **geometry, groups=m.groups)


def linear(call: Call, x: str, m: nn.Linear) -> str:
    call.weights(m)
    return call.emit("linear", x)


def relu(call: Call, x: str, inplace: bool = False) -> str:
    return call.emit("activation", x, slope=0.0)


def leaky(call: Call, x: str, negative_slope: float = 0.01, inplace: bool = False) -> str:
    if not 0 <= negative_slope < 1:
        raise call.error(f"leaky ReLU needs a slope in [0, 1), not {negative_slope}")
    return call.emit("activation", x, slope=float(negative_slope))


def silu(call: Call, x: str, inplace: bool = False) -> str:
    return call.emit("activation", x, slope=0.0, silu=True)


def capped(call: Call, x: str, cap: float, **levels: int) -> str:
    if not 0 < cap < float("inf"):
        raise call.error(f"a ReLU needs a cap above zero, not {cap:g}: train the network again")
    return call.emit("activation", x, slope=0.0, cap=float(cap), **levels)


def hardtanh(call: Call, x: str, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> str:
    if min_val != 0:
        raise call.error(f"clipping to [{min_val:g}, {max_val:g}] cannot be converted: clip at 0 below")
    return capped(call, x, max_val)


def window(kernel_size: Any, stride: Any) -> dict[str, list[int]]:
    return {"kernel": pair(kernel_size), "stride": pair(stride or kernel_size)}


def max_pool(
    call: Call,
    x: str,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> str:
    if pair(dilation) != [1, 1] or return_indices:
        raise call.error("max pooling with dilation or indices cannot be converted: use plain pooling")
    ph, pw = pair(padding)
    return call.emit("max_pool", x, **window(kernel_size, stride), padding=[pw, pw, ph, ph], ceil=ceil_mode)


def padded_max_pool(call: Call, x: str, m: PaddedMaxPool2d) -> str:
    return call.emit("max_pool", x, **window(m.kernel, m.stride), padding=[int(p) for p in m.padding], ceil=False)


def avg_pool(
    call: Call,
    x: str,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> str:
    if divisor_override:
        raise call.error("average pooling with divisor_override cannot be converted: leave it out")
    border = {"padding": pair(padding), "ceil": ceil_mode, "count_include_pad": count_include_pad}
    return call.emit("avg_pool", x, **window(kernel_size, stride), **border)


def adaptive_avg_pool(call: Call, x: str, output_size: Any) -> str:
    (_, _, height, width), (_, _, h, w) = call.shapes
    if (h, w) == (1, 1):
        return call.emit("global_avg_pool", x)
    if (h, w) == (height, width):
        return x
    if height % h or width % w:
        raise call.error(
            f"adaptive pooling of {height}x{width} to {h}x{w} cannot be converted: use an input size that it divides "
            "evenly, or output size 1"
        )
    return avg_pool(call, x, (height // h, width // w))


def mean(call: Call, x: str, dim: Any, keepdim: bool = False) -> str:
    if sorted(d % 4 for d in pair(dim)) != [2, 3]:
        raise call.error(f"only the mean over height and width can be converted, not over {dim}")
    if keepdim:
        return call.emit("global_avg_pool", x)
    mean = Node(f"{call.node.name}.mean", "global_avg_pool", (x,))
    call.nodes.append(mean)
    return call.emit("flatten", mean.name)
