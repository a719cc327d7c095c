"""Synaptic operations by loops over every event and every tap of the kernel that meets it."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spiking_yolo.graph import Graph
from spiking_yolo.spikes.counting import Counts
from spiking_yolo.spikes.operations import operations_by_layer

# Signed powers of two that add up to n = 0..5.
DIGITS = (0, 1, 1, 2, 1, 2)


class Work(NamedTuple):
    """macs: multiply-accumulates; the others are synaptic operations in the three countings."""

    macs: int
    spikes: int
    digits: int
    messages: int


def receivers(layer: Any, position: tuple[int, ...], output: torch.Size) -> int:
    """How many outputs of one channel a value at this position of a map reaches."""
    reached = 0
    for taps in product(*map(range, layer.kernel_size)):
        inside = True
        for axis, (i, tap) in enumerate(zip(position, taps, strict=True)):
            stride, padding = layer.stride[axis], layer.padding[axis]
            offset = tap * layer.dilation[axis]
            place, rest = divmod(i + padding - offset, stride)
            inside = inside and not rest and 0 <= place < output[axis]
        reached += inside
    return reached


def work_by_loops(layer: Any, x: Tensor) -> Work:
    """Of spikes 0..5 at the input of a convolution, [N, C, ...], or of a linear layer, [N, C]."""
    linear = isinstance(layer, nn.Linear)
    output = layer(x).shape[2:]
    outputs = layer.out_features if linear else layer.out_channels // layer.groups
    total = torch.zeros(4, dtype=torch.int64)
    for position in product(*map(range, x.shape[2:])):
        reached = outputs * (1 if linear else receivers(layer, position, output))
        for n in x[(..., *position)].flatten().int().tolist():
            total += reached * torch.tensor([1, n, DIGITS[n], n > 0])
    return Work(*total.tolist())


def total_operations(
    graph: Graph, counts: Mapping[str, Counts], shapes: Mapping[str, Sequence[int]]
) -> Counts:
    """Those of all layers together; in products of feature maps events of both sides count."""
    some = next(iter(counts.values())).spikes
    nothing = Counts.alike(some.new_zeros(len(some), dtype=torch.float64))
    stacked = {name: count.stacked() for name, count in counts.items()}
    return Counts.of(
        lambda *each: sum(each), nothing, *operations_by_layer(graph, stacked, shapes).values()
    )
