"""A second reading of darknet's files: cfg and weights straight into float64 arithmetic, with none
of the package.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def sections(cfg: str) -> list[tuple[str, dict[str, str]]]:
    """Names and options, in order."""
    found: list[tuple[str, dict[str, str]]] = []
    for line in (raw.split("#")[0].replace(" ", "").strip() for raw in cfg.splitlines()):
        if line.startswith("["):
            found.append((line.strip("[]"), {}))
        elif "=" in line:
            key, value = line.split("=", 1)
            found[-1][1].setdefault(key, value)
    return found


def heads(cfg: Path, weights: Path, x: Tensor) -> list[Tensor]:
    """The inputs of all [yolo] sections for x, float64 [N, 3, H, W], behind the activation of the
    layer before; every byte of the weights is used.
    """
    values = torch.from_numpy(np.fromfile(weights, "<f4", offset=20).astype(np.float64))
    at = 0

    def take(*shape: int) -> Tensor:
        nonlocal at
        n = int(np.prod(shape))
        at += n
        return values[at - n : at].view(shape)

    outputs: list[Tensor] = []
    results = []
    for i, (kind, options) in enumerate(sections(cfg.read_text())[1:]):
        before = outputs[-1] if outputs else x
        if kind == "convolutional":
            y = _convolution(before, options, take)
        elif kind == "shortcut":
            y = before.clone()
            for k in options["from"].split(","):
                other = outputs[int(k) if int(k) >= 0 else i + int(k)]
                shared = min(y.shape[1], other.shape[1])
                y[:, :shared] += other[:, :shared]
        elif kind == "route":
            named = [int(k) for k in options["layers"].split(",")]
            groups, group = int(options.get("groups", 1)), int(options.get("group_id", 0))
            y = torch.cat([outputs[k].chunk(groups, 1)[group] for k in named], 1)
        elif kind == "maxpool":
            stride = int(options["stride"])
            size = int(options.get("size", stride))
            left = (size - 1) // 2
            right = size - 1 - left
            padded = F.pad(before, (left, right, left, right), value=-torch.inf)
            y = F.max_pool2d(padded, size, stride)
        elif kind == "upsample":
            times = int(options["stride"])
            y = before.repeat_interleave(times, 2).repeat_interleave(times, 3)
        elif kind in ("dropout", "yolo"):
            y = before
        else:
            raise ValueError(kind)
        if kind == "yolo":
            results.append(before)
        outputs.append(_activated(y, options.get("activation", "linear")))
    assert at == len(values)
    return results


def _convolution(x: Tensor, options: dict[str, str], take: Callable[..., Tensor]) -> Tensor:
    n, k, groups = (int(options.get(key, 1)) for key in ("filters", "size", "groups"))
    shift = take(n)
    normalised = options.get("batch_normalize", "0") == "1"
    gamma, mean, variance = (
        (take(n), take(n), take(n)) if normalised else (torch.ones(n), torch.zeros(n), None)
    )
    weight = take(n, x.shape[1] // groups, k, k)
    padding = k // 2 if options.get("pad", "0") == "1" else 0
    y = F.conv2d(x, weight, None, int(options.get("stride", 1)), padding, 1, groups)
    deviation = torch.ones(n) if variance is None else torch.sqrt(variance + 1e-5)
    return (y - mean[:, None, None]) * (gamma / deviation)[:, None, None] + shift[:, None, None]


def _activated(y: Tensor, name: str) -> Tensor:
    return {
        "linear": y,
        "relu": y.clamp(min=0),
        "leaky": torch.where(y > 0, y, y / 10),
        "logistic": 1 / (1 + torch.exp(-y)),
        "mish": y * torch.tanh(torch.log(1 + torch.exp(y))),
    }[name]
