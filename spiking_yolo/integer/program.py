"""What the states of a plan in C share: for each step one record, with its weights as they lie in
memory, what it reads and writes, and which step computes it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.graph import Node
from spiking_yolo.integer import packing
from spiking_yolo.integer.library import LANES, ZERO, has_cells_of_bytes
from spiking_yolo.integer.neuron import WholeLayer
from spiking_yolo.integer.packing import PackedWeights, padded
from spiking_yolo.integer.plan import (
    LARGEST_SUM,
    Convolution,
    Neurons,
    Other,
    Part,
    Plan,
    Pooling,
    Product,
    Step,
)
from spiking_yolo.spikes.counting import count_digits
from spiking_yolo.spikes.operations import EventCosts, total_macs

# Multiply-accumulates from which threads share the work.
LARGE = 20_000_000
# Bytes of weights from which threads share the outputs of a layer, not its rows.
MANY_WEIGHTS = 400_000
# What 64 bits hold.
LARGEST_NUMBER = 2**63 - 1
# Tokens of a softmax in memory are a multiple of this.
TOKENS = 64


@dataclass(frozen=True)
class SentMap:
    """What the image, neurons or a pooling send, in memory.

    Attributes:
        name: Its node.
        size: Channels, height and width.
        shape: Bytes of an image in memory: rows, columns and channels; of a softmax tokens, heads
            and the tokens that they look at.
        stride: Channels of a position in memory.
        edge: Rows and columns around it, as layers read them that compute anew; None if none does.
        zero: What stands for 0 there, [channels].
        events: Whether layers read its events.
    """

    name: str
    size: tuple[int, ...]
    shape: tuple[int, int, int]
    stride: int
    edge: int | None
    zero: Tensor
    events: bool


@dataclass(frozen=True)
class Sums:
    """A convolution, or the value of a node that the reference or attention computes.

    Attributes:
        name: Its node.
        size: Outputs, height and width.
        step: The convolution; None of a value.
        fused: Whether the neurons, or the head, that alone read the sums compute them too.
        by_blocks: Whether threads share its outputs, not its rows.
        weights: For events.
        direct: For computing anew.
        offset: Added to the sums of cells.
        border: See packing.border_of.
    """

    name: str
    size: tuple[int, ...]
    step: Convolution | None = None
    fused: bool = False
    by_blocks: bool = False
    weights: PackedWeights | None = None
    direct: PackedWeights | None = None
    offset: Tensor | None = None
    border: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True)
class Firing:
    """Neurons in C.

    Attributes:
        step: The layer.
        parameters: See `parameters_of`.
        terms: What they add up: sums, or channels of a map.
    """

    step: Neurons
    parameters: Sequence[Tensor]
    terms: tuple[Sums | Part, ...]


@dataclass(frozen=True)
class HeadPart:
    """Channels of an output, from `first`: sums * scale + bias, [channels in whole vectors]."""

    output: str
    sums: Sums
    first: int
    scale: Tensor
    bias: Tensor


@dataclass(frozen=True)
class Attention:
    """Scores, their softmax, and the values that it weighs.

    Attributes:
        softmax: Its neurons.
        parameters: See `parameters_of`, [heads].
        query, key, value: What it reads.
        sums: What it computes.
        areas: Runs into which the tokens are split.
    """

    softmax: Neurons
    parameters: Sequence[Tensor]
    query: Part
    key: Part
    value: Part
    sums: Sums
    areas: int


@dataclass(frozen=True)
class Outside:
    """What the reference computes: a sender, or a value that neurons in C read."""

    step: Step
    sums: Sums | None = None


Record = SentMap | Sums | Firing | HeadPart | Attention | Pooling | Outside


class Program:
    """What the states of a plan share.

    Args:
        plan: The network, on the CPU.
        costs: What its events cost.
        shown: What a pixel that changed costs in layers that read the image, [H, W].

    Attributes:
        records: The steps in order, of which the image is the first.
        maps: What is sent, by node.
        steps: The plan's steps, by node.
        large: Whether threads share the work.
        heads: Outputs that C computes.
        outside: Senders that the reference computes.
        softmaxes: Neurons of attention that C computes.
    """

    def __init__(self, plan: Plan, costs: EventCosts, shown: Tensor):
        self.plan, self.costs = plan, costs
        self.large = total_macs(plan.counted, plan.sizes, plan.senders)[0] > LARGE
        self.steps = {step.node.name: step for step in plan.steps}
        self.shown = shown.to(torch.int32).flatten().contiguous()
        self.zero = plan.parameters.input_zero.to(torch.int32)
        self._prices: dict[bool, dict[str, tuple[Tensor, Tensor]]] = {}
        self._attention = dict(self._all_attention())
        self.softmaxes = {step.softmax.node.name for step in self._attention.values()}
        self.heads: set[str] = set()
        self.outside: set[str] = set()
        self._readers = self._all_readers()
        # Output -> the convolutions that lie side by side in it; None if it is more than that.
        self._joined: dict[str, list[str] | None] = {}
        for name, terms in plan.outputs.items():
            self._joined[name] = self._side_by_side(terms[0]) if len(terms) == 1 else None
        self.maps = self._all_maps()
        self.sums: dict[str, Sums] = {}
        self.records = tuple(self._all_records())

    def _convolutions(self) -> Iterator[Convolution]:
        for step in self.plan.steps:
            if isinstance(step, Convolution) and step.kernel != "reference":
                yield step

    def _all_readers(self) -> dict[str, int]:
        """Node -> how many steps read it, outputs of the network among them."""
        readers: dict[str, int] = {}
        read = [name for step in self.plan.steps for name in step.node.inputs]
        for name in (*read, *(term for terms in self.plan.outputs.values() for term in terms)):
            readers[name] = readers.get(name, 0) + 1
        return readers

    def _all_maps(self) -> dict[str, SentMap]:
        """What is sent, as layers in C read it."""
        plan, edges, events = self.plan, dict[str, int](), set[str]()
        for step in self._convolutions():
            for part in step.parts or ():
                edge = max(edges.get(part.source, 0), _edge(step, part, plan.sizes))
                edges[part.source] = edge
                if step.kernel == "events":
                    events.add(part.source)
        for each in self._attention.values():
            for part in (each.query, each.key, each.value):
                edges.setdefault(part.source, 0)
        maps: dict[str, SentMap] = {}
        for name in (plan.input, *plan.senders):
            channels, h, w = size = tuple([*plan.sizes[name][1:], 1, 1][:3])
            stride, zero = padded(channels), torch.full((channels,), ZERO)
            shape = h, w, stride
            if name == plan.input:
                stride, shape, zero = 4, (h, w, channels), self.zero
            if name in self.softmaxes:
                stride = padded(w, TOKENS)
                shape = h, channels, stride
            if not has_cells_of_bytes():
                zero = 0 * zero
            edge = edges.get(name)
            maps[name] = SentMap(name, size, shape, stride, edge, zero, name in events)
        return maps

    def _all_attention(self) -> Iterator[tuple[str, Attention]]:
        """Values of attention that C computes, by node."""
        plan = self.plan
        for step in plan.steps:
            if not isinstance(step, Product) or step.node.op != "attend":
                continue
            softmax = self.steps[step.node.inputs[0]]
            scores = self.steps[softmax.node.inputs[0]]
            if not isinstance(softmax, Neurons) or not isinstance(scores, Product):
                continue
            parts = *scores.parts, step.parts[1]
            senders = {*plan.senders} - {plan.input}
            if any(part is None or part.source not in senders for part in parts):
                continue
            read = [one for other in plan.steps for one in other.node.inputs]
            alone = read.count(softmax.node.name) == read.count(scores.node.name) == 1
            alone = alone and softmax.layer.settings.kind == "sigma-delta"
            units = plan.parameters.units
            alone = alone and max(units[x.node.name].largest for x in (step, scores)) < LARGEST_SUM
            columns = [self.costs_of(first)[softmax.node.name] for first in (True, False)]
            if not alone or not all(bool((one == one[0]).all()) for one in columns):
                continue
            query, key, value = parts
            assert query and key and value
            size = plan.sizes[step.node.name]
            sums = Sums(step.node.name, tuple(size[1:]))
            own = parameters_of(softmax.layer)
            areas = step.node.attrs["areas"]
            yield step.node.name, Attention(softmax, own, query, key, value, sums, areas)

    def _all_records(self) -> Iterator[Record]:
        """The steps in order."""
        plan = self.plan
        yield self.maps[plan.input]
        for step in plan.steps:
            name = step.node.name
            if isinstance(step, Convolution) and step.kernel != "reference":
                self.sums[name] = self._packed(step)
                if not self.sums[name].fused:
                    yield self.sums[name]
            elif name in self._attention:
                self.sums[name] = self._attention[name].sums
                yield self._attention[name]
            elif isinstance(step, Neurons) and step.in_c:
                yield from self._firing(step)
            elif isinstance(step, Pooling) and self._pools(step):
                yield step
            elif name in plan.senders and name not in self.softmaxes:
                self.outside.add(name)
                yield Outside(step)
        for name in plan.outputs:
            if self._joined[name] is not None:
                self.heads.add(name)
                yield from self._head(name)

    def _pools(self, step: Pooling) -> bool:
        return step.part is not None and self.plan.digits is count_digits and self._sent(step.part)

    def _sent(self, part: Part) -> bool:
        """Whether C has the bytes of a part."""
        hidden = part.source == self.plan.input or part.source in self.softmaxes
        return not hidden and (part.source not in self.outside or self._needed(part.source))

    def _needed(self, name: str) -> bool:
        """Whether layers in C read a map, whoever computes it."""
        return self.maps[name].events or self.maps[name].edge is not None

    def _firing(self, step: Neurons) -> Iterator[Record]:
        """Neurons in C, behind the values that the reference computes for them."""
        names = step.terms if step.pool is None else step.pool.inputs
        terms: list[Sums | Part] = []
        for k, name in enumerate(names):
            parts = None if step.pool else step.parts[k]
            one = parts[0] if parts is not None and len(parts) == 1 else None
            if one is not None and one.scale == (1, 1) and self._sent(one):
                terms.append(one)
                continue
            if name not in self.sums:
                self.sums[name] = Sums(name, tuple(self.plan.sizes[name][1:]))
                yield Outside(self.steps[name], self.sums[name])
            terms.append(self.sums[name])
        yield Firing(step, parameters_of(step.layer), tuple(terms))

    def _head(self, name: str) -> Iterator[HeadPart]:
        """An output that is no more than sums of convolutions side by side."""
        first, (scale, bias) = 0, self.plan.parameters.head(name)
        for one in self._joined[name] or ():
            sums = self.sums[one]
            channels = slice(first, first + sums.size[0])
            own = [F.pad(x[channels], (0, LANES)).contiguous() for x in (scale, bias)]
            yield HeadPart(name, sums, first, *own)
            first += sums.size[0]

    def _side_by_side(self, name: str) -> list[str] | None:
        """The convolutions in C whose sums a map joins; None if it is more than that."""
        step = self.steps[name]
        if isinstance(step, Convolution):
            return None if step.kernel == "reference" else [name]
        if not isinstance(step, Other) or step.node.op != "concat":
            return None
        found: list[str] = []
        for one in step.node.inputs:
            joined = self._side_by_side(one)
            if joined is None:
                return None
            found += joined
        return found

    def _packed(self, step: Convolution) -> Sums:
        name, size = step.node.name, tuple(self.plan.sizes[step.node.name][1:])
        weights, parts = None, step.parts
        assert parts is not None
        if step.kernel == "events":
            weights = packing.by_groups(step)
        if step.kernel == "depthwise":
            direct = packing.by_channels(step)
        else:
            direct = packing.by_runs(step, self.maps[parts[0].source].stride)
        offset = packing.offset_of(
            step, {part.source: self.maps[part.source].zero for part in parts}
        )
        by_blocks = weights is not None and len(weights.memory) > MANY_WEIGHTS
        fused = not by_blocks and self._has_one_reader(name)
        border = packing.border_of(step)
        return Sums(name, size, step, fused, by_blocks, weights, direct, offset, border)

    def _has_one_reader(self, name: str) -> bool:
        """Whether one layer of neurons in C, or one head, reads each of the sums once."""
        passed: list[Node] = []
        while self._readers.get(name) == 1:
            reader = next((x for x in self.plan.steps if name in x.node.inputs), None)
            ops = {node.op for node in passed}
            if reader is None:
                output = next(key for key, value in self.plan.outputs.items() if name in value)
                return self._joined[output] is not None
            if isinstance(reader, Neurons):
                pool = reader.pool
                if pool is None:
                    return reader.in_c and ops <= {"add"}
                a = pool.attrs
                apart = all(a["stride"][k] >= a["kernel"][k] for k in (0, 1))
                return reader.in_c and apart and passed == [pool]
            passed.append(reader.node)
            name = reader.node.name
        return False

    def costs_of(self, first: bool) -> dict[str, Tensor]:
        """See EventCosts.columns."""
        sizes: dict[str, Sequence[int]] = {}
        for name in self.plan.senders:
            sizes[name] = (len(self.plan.ends[name]), *self.plan.sizes[name][2:])
        return self.costs.columns(sizes, first)

    def prices(self, first: bool) -> dict[str, tuple[Tensor, Tensor]]:
        """What an event causes, int32 [columns, segments * positions], and a number for each
        position, int64, which is the same where all of that is.
        """
        if first not in self._prices:
            prices: dict[str, tuple[Tensor, Tensor]] = {}
            for name, each in self.costs_of(first).items():
                costs = each[:, 1:].T.to(torch.int32).contiguous()
                rows = costs.reshape(len(costs) * len(self.plan.ends[name]), -1)
                number = torch.zeros(rows.shape[1], dtype=torch.int64)
                for row in rows:
                    span = int(row.max()) + 1
                    if (int(number.max()) + 1) * span > LARGEST_NUMBER:
                        number = number.unique(return_inverse=True)[1]
                    number = number * span + row
                prices[name] = costs, number
            # C keeps addresses of those of the first thread that has them.
            self._prices.setdefault(first, prices)
        return self._prices[first]


def _edge(step: Convolution, part: Part, sizes: Mapping[str, Sequence[int]]) -> int:
    """How far the windows of a layer reach beyond a map."""
    a, edge = step.node.attrs, 0
    size, out = sizes[part.source][2:], sizes[step.node.name][2:]
    for k in (0, 1):
        span = (step.whole.levels.shape[2 + k] - 1) * a["dilation"][k]
        last = (out[k] - 1) * a["stride"][k] - a["padding"][k] + span
        beyond = last // part.scale[k] - size[k] + 1
        edge = max(edge, beyond, -(-a["padding"][k] // part.scale[k]))
    return edge


def parameters_of(layer: WholeLayer) -> list[Tensor]:
    """Scales, bias, 1 / theta, offset and, where there is one, ceiling of a layer, each padded to
    whole vectors.
    """
    values = [*layer.scales, layer.bias, layer.per_value, layer.offset]
    if layer.ceiling is not None:
        values.append(layer.ceiling)
    size = padded(len(layer.bias)) + LANES - len(layer.bias)
    return [F.pad(value, (0, size)).contiguous() for value in values]
