"""The part of the world that a network looks at, and its state moved to another part.

The network's grid is anchored in the world: a window of it, in pixels, of which both sides are
multiples of the coarsest stride. When the window moves by such multiples, every layer's values move
by whole positions. What was not in it before begins as an empty picture leaves it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from spiking_yolo.graph import OPS, Graph, shapes
from spiking_yolo.snn import operations
from spiking_yolo.snn.counting import Counts, count_digits


@dataclass(frozen=True)
class Window:
    """A rectangle of the world, in pixels of the network's input.

    Attributes:
        left, top: Its corner.
        width, height: Its size.
    """

    left: int
    top: int
    width: int
    height: int

    def common(self, other: "Window") -> "Window":
        """What both cover; of width or height 0 if nothing."""
        left, top = max(self.left, other.left), max(self.top, other.top)
        right = min(self.left + self.width, other.left + other.width)
        bottom = min(self.top + self.height, other.top + other.height)
        return Window(left, top, max(right - left, 0), max(bottom - top, 0))

    def covers(self, other: "Window") -> bool:
        return self.common(other) == other

    def of(self, values: Tensor, part: "Window") -> Tensor:
        """A view of `part` of a map of this window, [N, C, h, w], of any stride."""
        stride = self.height // values.shape[2]
        y, x = (part.top - self.top) // stride, (part.left - self.left) // stride
        return values[:, :, y : y + part.height // stride, x : x + part.width // stride]

    def mask(self, part: "Window", like: Tensor) -> Tensor:
        """1 in `part` and 0 elsewhere, [1, 1, h, w] for a map [N, C, h, w] of this window."""
        mask = like.new_zeros(1, 1, *like.shape[2:])
        self.of(mask, part).fill_(1)
        return mask


def common_stride(graph: Graph, height: int, width: int) -> int | None:
    """The coarsest stride of a fully convolutional network, by whose multiples its input may move.

    None if values have no place, or strides do not divide each other or the sides of the input.
    """
    strides: set[int] = set()
    for shape in shapes(graph, height, width).values():
        if len(shape) != 4 or height % shape[2] or height // shape[2] * shape[3] != width:
            return None
        strides.add(height // shape[2])
    coarsest = max(strides)
    return None if any(coarsest % stride for stride in strides) else coarsest


def moved(
    values: Mapping[str, Tensor], empty: Mapping[str, Tensor], old: Window, new: Window
) -> dict[str, Tensor]:
    """Values of each layer in another window: where they were known, else those of an empty
    picture.

    Args:
        values: [N, C, h, w] each, in the window `old`.
        empty: The same in `new`, of an empty picture.
        old: The window so far.
        new: The window to come, a multiple of every stride away.
    """
    both, result = old.common(new), {}
    for name, value in values.items():
        result[name] = empty[name].clone()
        new.of(result[name], both).copy_(old.of(value, both))
    return result


def seam_operations(
    graph: Graph,
    sent: Mapping[str, Tensor],
    empty: Mapping[str, Tensor],
    old: Window,
    new: Window,
) -> dict[str, Counts]:
    """Synaptic operations that make sums right after a move, by layer, float64 [N] each.

    Sums move with their neurons, so they need what is different about their inputs alone, at the
    seams: neurons that stay lose what came from outside of the new window and receive what is new
    in it; neurons that are new receive the difference between what stays and the empty picture.

    Args:
        graph: The network.
        sent: Sender -> number of spikes that were sent, signed, [N, C, h, w], before the move.
        empty: The same in the new window, of an empty picture.
        old: The window so far.
        new: The window to come.
    """
    both, after = old.common(new), moved(sent, empty, old, new)
    total: dict[str, Counts] = {}
    lost = {name: n * (1 - old.mask(both, n)) for name, n in sent.items()}
    gained = {name: n * (1 - new.mask(both, n)) for name, n in empty.items()}
    changed = {name: after[name] - n for name, n in empty.items()}
    for spikes, window, inside in ((lost, old, True), (gained, new, True), (changed, new, False)):
        for name, counts in _reaching(graph, spikes, window, both, inside).items():
            total[name] = Counts.of(torch.add, total[name], counts) if name in total else counts
    return total


def _reaching(
    graph: Graph, spikes: Mapping[str, Tensor], window: Window, part: Window, inside: bool
) -> dict[str, Counts]:
    """Operations of spikes that reach neurons in a part of the window, or outside of it."""
    events = operations.events(graph, {name: _counted(n) for name, n in spikes.items()})
    result: dict[str, Counts] = {}
    for node in graph.layers:
        if node.inputs[0] not in events:
            continue
        arrived = events[node.inputs[0]].sum(1, keepdim=True)
        weight = graph.tensors[f"{node.name}.weight"]
        ones = arrived.new_ones(1, 1, *weight.shape[2:])
        reached = OPS[node.op]({**node.attrs, "groups": 1}, ones, None, arrived)
        mask = window.mask(part, reached)
        each = (reached * (mask if inside else 1 - mask)).sum((1, 2, 3))
        outputs = weight.shape[0] // node.attrs["groups"]
        result[node.name] = Counts.unstacked(each * outputs)
    return result


def _counted(spikes: Tensor) -> Tensor:
    """Events of each neuron in the three countings, stacked, [3 N, C, h, w]."""
    n = spikes.abs().double().round()
    return Counts(n, count_digits(n), n.clamp(max=1)).stacked()
