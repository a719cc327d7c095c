"""One step of a network of whole numbers: a photograph, or a frame of a video, of which only what
differs from the frame before is computed; and what lies between the layers, where whole numbers are
moved, compared, added or multiplied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.graph import OPS, Node, reached_padding
from spiking_yolo.integer import kernels
from spiking_yolo.integer.kernels import ZERO
from spiking_yolo.integer.neuron import LARGEST, fire
from spiking_yolo.snn.counting import Counts
from spiking_yolo.snn.layout import channels_last, rows

if TYPE_CHECKING:
    from spiking_yolo.integer.network import IntegerNetwork

# Share of the positions of a map from which all are computed, and of what a layer reads from which
# it is computed everywhere.
MANY, MANY_INPUTS = 0.5, 0.3
# A map of so few positions is computed as rows of taps, which oneDNN multiplies faster.
SMALL = 256


@dataclass(frozen=True)
class Frame:
    """What a network did in one step.

    Attributes:
        sent: What the image and each node that sends events have sent by now: whole numbers, or
            bytes n + 128.
        events: Sender -> events of this step at each position, Counts.stacked of float32 [N, 1,
            ...], or of [N, segments, ...] where slices of them are taken.
        outputs: Head tensors in values of the ANN, [N, ...].
        dead_zone: Of the neurons in this frame.
        shown: Values of each pixel that differ from the frame before, [N, 1, H, W]; None in a first
            frame.
        sums: Of the layers with weights that are heads.
        anew: Whether neurons have sent what they send in a photograph.
    """

    sent: Mapping[str, Tensor]
    events: Mapping[str, Tensor]
    outputs: tuple[Tensor, ...]
    dead_zone: Tensor | float = 0.0
    shown: Tensor | None = None
    sums: Mapping[str, Tensor] = field(default_factory=dict)
    anew: bool = True


class Step:
    """A step of a network, whose nodes are computed when neurons read them.

    Args:
        network: The network.
        x: Images, [N, C, H, W].
        before: The frame before; None for a photograph, or a first frame.
        dead_zone: Of the neurons in a later frame, in thetas.
        lossless: Whether they round as in a photograph, and send the difference.
    """

    def __init__(
        self,
        network: IntegerNetwork,
        x: Tensor,
        before: Frame | None,
        dead_zone: Tensor | float,
        lossless: bool = False,
    ):
        self._network = network
        self._nodes = {node.name: node for node in network.computed.nodes}
        # len() would fix the size of a batch in an exported graph.
        self._before, self._dead_zone, self._images = before, dead_zone, x.shape[0]
        self._anew = before is None or lossless
        # Whether neurons that receive nothing send nothing.
        self._still = False
        if before is not None and network.fast:
            self._still = before.anew if lossless else dead_zone >= before.dead_zone
        first = network.parameters_of.bytes_of(x, network.image_as_bytes)
        self._values, self._events = {network.input: first}, dict[str, Tensor]()
        self._shown: Tensor | None = None
        # An exported graph keeps no image.
        if before is not None and network.input in before.sent:
            self._shown = kernels.changed_values(first, before.sent[network.input])
        self._where: dict[str, Tensor | None] = {}

    def frame(self) -> Frame:
        """Compute it."""
        network, events, shown = self._network, self._events, self._shown
        where = self._places(network.input)
        if self._before is not None and where is not None and not len(where):
            nothing = {name: torch.zeros_like(x) for name, x in self._before.events.items()}
            return replace(self._before, events=nothing, dead_zone=self._dead_zone, shown=shown)
        for name in network.senders:
            if name in network.layers:
                self._values[name], events[name] = self._fire(name)
            else:
                events[name] = self._counts(name, self._value(name))
            for used in network.releases[name]:
                self._values.pop(used, None)
        parameters, heads = network.parameters_of, network.heads
        values = {name: self._value(name) for name in heads}
        outputs = tuple([parameters.output(name, values) for name in network.computed.outputs])
        sent = {name: self._values[name] for name in (network.input, *network.senders)}
        sums = {name: value for name, value in values.items() if name not in sent}
        return Frame(sent, events, outputs, self._dead_zone, shown, sums, self._anew)

    def _value(self, name: str) -> Tensor:
        """The output of a node, [N, C, ...]."""
        if name not in self._values:
            node = self._nodes[name]
            if node.weighted:
                self._values[name] = self._sums(name)
            else:
                self._values[name] = move(node, list(map(self._value, node.inputs)))
        return self._values[name]

    def _places(self, name: str) -> Tensor | None:
        """The positions at which a node may differ from the frame before, int64; None: any."""
        if self._still and name not in self._where:
            self._where[name] = self._find_places(self._nodes[name])
        return self._where.get(name)

    def _find_places(self, node: Node) -> Tensor | None:
        name, network = node.name, self._network
        if name == network.input and self._shown is not None:
            return kernels.positions_of(self._shown)
        if name in self._events:
            messages = Counts.unstacked(self._events[name]).messages
            return kernels.positions_of(messages) if messages.ndim == 4 else None
        known: list[Tensor] = []
        for source in node.inputs:
            where = self._places(source)
            if where is None:
                return None
            known.append(where)
        where = kernels.united(known)
        if not len(where):
            return where
        size = network.sizes[name][2:]
        if name in network.windows:
            windows = network.windows[name]
            if len(where) > MANY_INPUTS * self._images * windows.inputs:
                return None
            return windows.reached(where, self._images)
        if node.op == "upsample":
            return kernels.upsampled(where, network.sizes[node.inputs[0]][3], node.attrs["scale"])
        alike = all(network.sizes[source][2:] == size for source in node.inputs)
        return where if alike and node.op in ("concat", "slice", "add") else None

    def _sums(self, name: str) -> Tensor:
        """The sums of a layer with weights at every position."""
        network, before = self._network, self._before
        if self._still and before is not None and name in before.sums:
            sums, where = before.sums[name], self._places(name)
            if where is not None and not len(where):
                return sums
            if where is not None and self._few(name, where):
                sums = sums.clone(memory_format=torch.channels_last)
                rows(sums)[where] = self._sums_at(name, where)
                return sums
        source = self._nodes[name].inputs[0]
        x, size = self._value(source), network.sizes[name][2:]
        if size.numel() <= SMALL and name in network.sparse and x.dtype == torch.uint8:
            every = torch.arange(len(x) * size.numel())
            sums = self._sums_at(name, every)
            return sums.unflatten(0, (len(x), *size)).movedim(-1, 1)
        return network.parameters_of.convolutions[name](x, ZERO * (source != network.input))

    def _sums_at(self, name: str, where: Tensor) -> Tensor:
        """Those at some positions of its output, [n, C]."""
        network, source = self._network, self._nodes[name].inputs[0]
        convolution, zero = network.parameters_of.convolutions[name], ZERO
        if source == network.input:
            zero = 0
        return convolution.at(self._value(source), zero, where, network.windows[name])

    def _few(self, name: str, where: Tensor) -> bool:
        """Whether a layer with weights is computed at these positions of its output alone."""
        size = self._network.sizes[name][2:].numel()
        if name not in self._network.sparse or len(where) > MANY * self._images * size:
            return False
        return self._value(self._nodes[name].inputs[0]).dtype == torch.uint8

    def _fire(self, name: str) -> tuple[Tensor, Tensor]:
        """What a layer of neurons has sent by now, and its events in this step."""
        network, old = self._network, None
        if self._before is not None:
            old = self._before.sent[name]
        if self._still and old is not None:
            found = self._fire_where_reached(name, old)
            if found is not None:
                return found
        kernel, pool = network.kernels.get(name), network.pooling.get(name)
        sums = list(map(self._value, network.terms[name]))
        if self._anew:
            # Rounded whatever was sent before.
            old = None
        if kernel is not None and sums[0].ndim == 4 and kernel.takes(sums, old):
            sent, events = kernel(sums, old, pool is not None, self._dead_zone)
            if self._anew and self._before is not None:
                events = self._counts(name, sent)
            return sent, events
        if pool is not None:
            sums = [move(pool, sums)]
        k = None if old is None else whole(old)
        sent = fire(list(map(whole, sums)), network.layers[name], k, self._dead_zone)
        if network.fast and sent.ndim == 4 and network.parameters_of.units[name].largest <= LARGEST:
            # As bytes, as the kernels have them.
            sent = channels_last((sent + ZERO).to(torch.uint8))
        return sent, self._counts(name, sent)

    def _fire_where_reached(self, name: str, old: Tensor) -> tuple[Tensor, Tensor] | None:
        """The same in a later frame where few neurons have received something; None elsewhere."""
        network, places = self._network, list[Tensor]()
        for term in network.terms[name]:
            reached = self._places(term)
            if reached is None:
                return None
            places.append(reached)
        where = kernels.united(places)
        if name in network.pooling:
            where = network.windows[name].reached(where, self._images)
        if not len(where):
            shape = 3 * len(old), len(network.ends[name]), *old.shape[2:]
            return old, torch.zeros(shape)
        first, *others = network.terms[name]
        if self._anew or name not in network.kernels or not self._nodes[first].weighted:
            return None
        at, pool = where, name in network.pooling
        if pool:
            at = kernels.in_pairs(where, network.sizes[first][3])
        if not self._few(first, at):
            return None
        kernel, sent = network.kernels[name], list(map(self._value, others))
        if not kernel.takes(sent, old) or any(x.dtype != torch.uint8 for x in sent):
            return None
        return kernel([self._sums_at(first, at), *sent], old, pool, self._dead_zone, where)

    def _counts(self, name: str, sent: Tensor) -> Tensor:
        """Events of a sender."""
        network, old = self._network, None
        if self._before is not None:
            old = self._before.sent[name]
        if network.counts_bytes and sent.ndim == 4 and sent.dtype == torch.uint8:
            return kernels.events(sent, old, network.ends[name])
        size = whole(sent) if old is None else whole(sent) - whole(old)
        size = size.abs()
        counts = Counts(size, network.digits(size), size.clamp(max=1)).stacked()
        ends = network.ends[name]
        segments = [counts[:, a:b].sum(1) for a, b in zip((0, *ends[:-1]), ends, strict=True)]
        return torch.stack(segments, 1)


MOVES = ("concat", "upsample", "slice", "flatten")


def whole(x: Tensor) -> Tensor:
    """Whole numbers, float32, of bytes n + 128; others as they are."""
    return x.float().sub_(ZERO) if x.dtype == torch.uint8 else x


def move(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    """The output of a node without weights and neurons.

    Args:
        node: The node.
        inputs: Whole numbers, or bytes n + 128, which stay bytes where all of them are moved.
    """
    a = node.attrs
    bytewise = all(x.dtype == torch.uint8 for x in inputs)
    if node.op == "max_pool" and bytewise:
        return pool(inputs[0], torch.maximum, a["kernel"], a["stride"], a["padding"], a["ceil"])
    if not bytewise or node.op not in MOVES:
        inputs = list(map(whole, inputs))
    if node.op == "global_avg_pool":
        return inputs[0].sum((2, 3), keepdim=True)
    if node.op == "avg_pool":
        height, width = a["padding"]
        sides = width, width, height, height
        return pool(inputs[0], torch.add, a["kernel"], a["stride"], sides, a["ceil"], beside=True)
    return OPS[node.op](a, None, None, *inputs)


def pool(
    x: Tensor,
    join: Callable[[Tensor, Tensor], Tensor],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil: bool,
    beside: bool = False,
) -> Tensor:
    """Maxima of bytes, which PyTorch does not pool, or sums of numbers, which ONNX does not: one
    axis after the other.

    Args:
        x: [N, C, H, W].
        join: Of two values.
        kernel, stride, padding, ceil: See graph.max_pool.
        beside: Whether no window begins in the padding on the right and below.
    """
    sides = reached_padding(x.shape[2], x.shape[3], kernel, stride, padding, ceil)
    if ceil:
        # What the last windows reach beyond the map, unless they lie outside of it.
        for axis, side in ((2, 3), (3, 1)):
            k = axis - 2
            beyond = (kernel[k] - x.shape[axis] - sides[side - 1] - sides[side]) % stride[k]
            sides[side] += beyond * (beyond + beside * sides[side] < kernel[k])
    if any(sides):
        x = F.pad(x, sides)
    for axis in (2, 3):
        size, step = kernel[axis - 2], stride[axis - 2]
        outputs = (x.shape[axis] - size) // step + 1
        # The windows' first positions, their second ones, and so on.
        span, whole_map = (outputs - 1) * step + 1, x
        for k in range(size):
            tap = whole_map[(slice(None),) * axis + (slice(k, k + span, step),)]
            x = join(x, tap) if k else tap
    return x


def pools_in_pairs(node: Node, shape: Sequence[int]) -> bool:
    """Whether a max pooling takes maxima of 2 x 2 that cover a map [1, C, H, W]."""
    _, _, h, w = shape
    a = node.attrs
    side_by_side = [*a["kernel"], *a["stride"]] == [2, 2, 2, 2] and h % 2 == w % 2 == 0
    return side_by_side and not any(reached_padding(h, w, **a))
