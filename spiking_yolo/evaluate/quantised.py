"""The rival of a spiking network: the same ANN with activations of a few bits, and weights of 8.

Uniform affine quantisation of activations (Jacob et al. 2018) with one range per channel, which
folds into the next layer's weights just as a spike's value does. The range has the least squared
error, or is what the statistics of a network say. With one range per layer the rival is weaker: of
Tiny-YOLOv3, mAP50 on 126 COCO train2017 photographs, 40.4 to 40.6 for 42.1 to 42.4 (ANN 42.6).
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from spiking_yolo.convert.learn.statistics import Histogram, Statistics
from spiking_yolo.convert.learn.weight_bits import rounded_weights
from spiking_yolo.convert.thresholds import at_most, extreme, mmse, percentile
from spiking_yolo.graph import Activation, Graph, Node, forward
from spiking_yolo.observe import Forward
from spiking_yolo.spikes.layout import per_channel

Side = Callable[[Histogram, int, float | None, int], Tensor]

# rule -> magnitude of one side of an activation (sign 0 or 1, cap) that `levels` steps reach
QUANTISERS: dict[str, Side] = {
    "max": lambda h, sign, cap, levels: at_most(extreme(h, sign), cap),
    "99.99": lambda h, sign, cap, levels: at_most(percentile(h, sign, 99.99), cap),
    "mmse": lambda h, sign, cap, levels: mmse(h, sign, levels, 1, rounds=True, cap=cap),  # Li 2021
}


def activation_range(
    histogram: Histogram, phi: Activation, bits: int, quantiser: str
) -> tuple[Tensor, Tensor]:
    """What an activation is clipped to: magnitudes below and above zero, float64 [C] each, by one
    of QUANTISERS.
    """
    chosen = QUANTISERS[quantiser]

    def side(sign: int, cap: float | None = None) -> Tensor:
        return chosen(histogram, sign, cap, 2**bits - 1)

    above = side(0, phi.cap)
    below = torch.zeros_like(above)
    if phi.slope or phi.gate:
        below = side(1)
    above, below = phi.reach(above, below)
    return below, above


def quantise(x: Tensor, below: Tensor, above: Tensor, bits: int) -> Tensor:
    """The nearest of 2^bits equally spaced values from about -below to about +above, zero being one
    of them.

    x: [N, C, ...]; below, above: [C]. A channel whose range is empty becomes zero.
    """
    levels = 2**bits - 1
    below, above = per_channel(below, x), per_channel(above, x)
    step = (below + above) / levels
    step = torch.where(step > 0, step, torch.inf)
    zero = (below / step).round()
    return (x / step).round().clamp(-zero, levels - zero) * torch.where(step.isinf(), 0.0, step)


def quantised_ann(graph: Graph, statistics: Statistics, bits: int = 8) -> Forward:
    """The forward pass of the graph with every activation quantised, and weights of 8 bits as a
    chip holds them.
    """
    quantiser = statistics.quantisers.get(bits, "mmse")
    ranges: dict[str, tuple[Tensor, Tensor]] = {}
    steps: dict[str, Tensor] = {}
    for node in graph.activations:
        histogram = statistics.histograms[node.name]
        below, above = activation_range(histogram, node.phi, bits, quantiser)
        ranges[node.name] = below, above
        steps[node.name] = torch.where(below + above > 0, below + above, 1.0)
    graph = replace(graph, tensors=rounded_weights(graph, graph.tensors, 8, steps))

    def put_on_grid(node: Node, before: Tensor, after: Tensor) -> None:
        below, above = ranges[node.name]
        # The graph goes on with this tensor.
        after.copy_(quantise(after, below, above, bits))

    return lambda x: forward(graph.to(x.device), x, put_on_grid)
