"""Weights of a few bits, as a chip holds them: symmetric, one scale per output channel (Jacob et al. 2018).

The network stays in floating point; its weights take values of a grid only. Biases are added to 32-bit sums and stay.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from spiking_yolo.decode.selection import is_whole
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph
from spiking_yolo.snn.units import fold, propagate

LEAST, MOST = 2, 16


def on_grid(weight: Tensor, bits: int) -> Tensor:
    """weight [out, ...]: the nearest of k * s, |k| <= 2^(bits-1) - 1, with s = max |weight| / (2^(bits-1) - 1) of each
    output channel."""
    levels = 2 ** (bits - 1) - 1
    step = weight.flatten(1).abs().amax(1) / levels
    step = torch.where(step > 0, step, 1.0).reshape(-1, *[1] * (weight.ndim - 1))
    return (weight / step).round_() * step


def with_weight_bits(graph: Graph, bits: int, received: Mapping[str, Tensor]) -> Graph:
    """The graph whose weights, as a chip stores them, have so many bits.

    received: activation node -> what one unit of what it sends is worth, [C]: theta of its spikes, or the step
    of its integers. A chip stores the weights times that. Raises UserError for less than 2 bits or more than 16.
    """
    if not is_whole(bits) or not LEAST <= bits <= MOST:
        raise UserError(f"weights need {LEAST} to {MOST} bits, not {bits}")
    units = propagate(graph, received)
    tensors = dict(graph.tensors)
    for node in graph.weighted:
        unit, groups = units[node.inputs[0]], node.attrs.get("groups", 1)
        stored = on_grid(fold(tensors[f"{node.name}.weight"], unit, groups), bits)
        tensors[f"{node.name}.weight"] = fold(stored, None if unit is None else 1 / unit, groups)
    return replace(graph, tensors=tensors)
