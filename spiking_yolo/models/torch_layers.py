"""Layers of torch.nn, built from what a checkpoint records of them.

Each function raises KeyError, TypeError or ValueError where attributes are missing, or unreasonable.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

SIDE = 64  # of kernels, strides and paddings, at most
State = Mapping[str, Any]
Numbers = Callable[[str], Tensor | None]  # parameter or buffer -> its values in float32
Children = Mapping[str, nn.Module]


def _geometry(state: State, *keys: str) -> dict[str, Any]:
    """Attributes that are whole numbers, or pairs of them. Raises ValueError for unreasonable ones."""
    found = {key: state[key] for key in keys}
    for value in found.values():
        sides = value if isinstance(value, tuple) else (value,)
        if not all(isinstance(side, int) and 0 <= side <= SIDE for side in sides):
            raise ValueError
    return found


def _conv(state: State, numbers: Numbers, children: Children) -> nn.Module:
    weight, bias = (numbers(key) for key in ("weight", "bias"))
    if weight is None or weight.ndim != 4 or not weight.numel() or state["padding_mode"] != "zeros":
        raise ValueError
    groups, geometry = int(state["groups"]), _geometry(state, "stride", "padding", "dilation")
    out, kernel = len(weight), (weight.shape[2], weight.shape[3])
    inputs = weight.shape[1] * groups
    conv = nn.Conv2d(inputs, out, kernel, groups=groups, bias=bias is not None, device="meta", **geometry)
    conv.load_state_dict({"weight": weight, **({} if bias is None else {"bias": bias})}, assign=True)
    return conv


def _batch_norm(state: State, numbers: Numbers, children: Children) -> nn.Module:
    keys = ("weight", "bias", "running_mean", "running_var")
    values = {key: value for key in keys if (value := numbers(key)) is not None}
    norm = nn.BatchNorm2d(len(values["weight"]), eps=float(state["eps"]), device="meta")
    norm.load_state_dict({**values, "num_batches_tracked": torch.tensor(0)}, assign=True)
    return norm


def _max_pool(state: State, numbers: Numbers, children: Children) -> nn.Module:
    return nn.MaxPool2d(
        **_geometry(state, "kernel_size", "stride", "padding", "dilation"), ceil_mode=bool(state["ceil_mode"])
    )


def _upsample(state: State, numbers: Numbers, children: Children) -> nn.Module:
    scale = float(state["scale_factor"])
    if state["mode"] != "nearest" or not 1 <= scale <= 8:
        raise ValueError
    return nn.Upsample(scale_factor=scale)


def _leaky(state: State, numbers: Numbers, children: Children) -> nn.Module:
    return nn.LeakyReLU(float(state["negative_slope"]))


def _pad(state: State, numbers: Numbers, children: Children) -> nn.Module:
    return nn.ZeroPad2d(_geometry(state, "padding")["padding"])


# class of torch.nn -> f(attributes, numbers, children)
LAYERS: dict[str, Callable[..., nn.Module]] = {
    "Conv2d": _conv,
    "BatchNorm2d": _batch_norm,
    "MaxPool2d": _max_pool,
    "Upsample": _upsample,
    "LeakyReLU": _leaky,
    "ZeroPad2d": _pad,
    "ReLU": lambda *_: nn.ReLU(),
    "ReLU6": lambda *_: nn.ReLU6(),
    "SiLU": lambda *_: nn.SiLU(),
    "Identity": lambda *_: nn.Identity(),
    "Sequential": lambda state, numbers, children: nn.Sequential(*children.values()),
    "ModuleList": lambda state, numbers, children: nn.ModuleList(children.values()),
}
