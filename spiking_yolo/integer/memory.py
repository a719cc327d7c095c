"""The memory that program.c works on: for each record of a program a structure, whose addresses
point to maps, sums, events and weights.
"""

import ctypes
import math
from collections.abc import Sequence
from ctypes import addressof
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spiking_yolo.graph import Node
from spiking_yolo.integer import structures as c
from spiking_yolo.integer.library import ZERO, has_cells_of_bytes
from spiking_yolo.integer.neuron import SEGMENTS, WholeLayer, curve_table
from spiking_yolo.integer.packing import SIXTEEN, SLACK, padded
from spiking_yolo.integer.plan import Part, Pooling
from spiking_yolo.integer.program import (
    Attention,
    Firing,
    HeadPart,
    Outside,
    Program,
    Record,
    SentMap,
    Sums,
)

# Slots of a position besides one for each four channels, for changes that take several.
MORE_SLOTS = 4
# Share of the groups of its maps from which a layer is computed anew, until its times are known.
MANY = 0.5
# Bytes of sums that a band of rows has at most: they stay in the second cache.
BAND = 200_000


class Timing(NamedTuple):
    """What a step has taken.

    Attributes:
        kind: "image", "neurons", "pooling", "attention" or "head"; "events", "direct" or
            "depthwise" of a convolution, together with the neurons that compute its sums;
            "reference" of what C does not compute.
        name: Its node.
        nanoseconds: CPU time in the last frame, in C.
        entries: Groups of four channels that changed in the maps that a convolution by events
            reads, and 0 of other steps.
        groups: All groups of these maps.
        rate: Nanoseconds that it takes per entry; 0 as long as that is unknown.
        full: Nanoseconds of computing it anew at all positions.
    """

    kind: str
    name: str
    nanoseconds: int
    entries: int = 0
    groups: int = 0
    rate: float = 0.0
    full: float = 0.0


class Memory:
    """The memory of a photograph or a video, and the steps in C with their addresses in it.

    Args:
        program: What runs.
        images: Photographs or videos at once.

    Attributes:
        maps: Node -> what it has sent by now, a structure `Map`.
        sums: Node -> its sums, a structure `Convolution`.
        heads: Output -> its values, [N, H, W, C], and its structures `Head`.
        steps: The steps as C has them, with what they have taken.
        call: All of it, which `run` takes.
        spent: Counts of all senders that C computes, [senders, N, columns, 3].
        counted: These senders, in order; the first is the image.
        image: Where the pixels of a frame are.
        widest: The largest |sum| that each thread has read; the first has those of the reference
            too.
    """

    def __init__(self, program: Program, images: int):
        self._program, self._plan, self.images = program, program.plan, images
        # Objects whose addresses C has.
        self._all: list[Any] = []
        self._tensors: dict[str, Tensor] = {}
        self.maps: dict[str, Any] = {}
        self.sums: dict[str, Any] = {}
        self.heads: dict[str, tuple[Tensor, list[Any]]] = {}
        self._scratch = torch.zeros(0, dtype=torch.int32)
        self.widest = torch.zeros(1)
        self.counted = [program.plan.input]
        for name in program.plan.senders:
            if name not in program.outside:
                self.counted.append(name)
        columns = 1 + len(next(iter(program.prices(True).values()))[0])
        self.spent = torch.zeros(len(self.counted), images, columns, 3, dtype=torch.int64)
        self.steps = (c.Step * len(program.records))()
        for step, record in zip(self.steps, program.records, strict=True):
            self._fill(step, record)
        sums = [one for one in self.sums.values() if one.blocks or one.direct_blocks]
        pointers = (ctypes.c_void_p * len(sums))(*map(addressof, sums))
        self.call = c.Program(len(self.steps), len(sums), images, step=addressof(self.steps))
        self.call.convolution = addressof(self._kept(pointers))
        self.call.room = max(map(self._room, program.records))

    def scratch_for(self, threads: int) -> None:
        """Let so many threads run the program."""
        self.call.threads = threads
        if len(self._scratch) < self.call.room * threads:
            self._scratch = torch.zeros(self.call.room * threads, dtype=torch.int32)
        self.call.sums = self._scratch.data_ptr()
        if len(self.widest) < threads:
            more = torch.zeros(threads - len(self.widest))
            self.widest = torch.cat([self.widest, more])
        self.call.widest = self.widest.data_ptr()

    def _room(self, record: Record) -> int:
        """Numbers of scratch: rows of sums that a step computes for itself."""
        room, rows = SLACK, 1
        terms: Sequence[Any] = ()
        if isinstance(record, Firing):
            terms = record.terms
            if record.step.pool is not None:
                rows = record.step.pool.attrs["kernel"][0]
        elif isinstance(record, HeadPart):
            terms = (record.sums,)
        for term in terms:
            if isinstance(term, Sums) and term.fused:
                room += rows * term.size[2] * padded(term.size[0])
        return room

    def _zeros(self, *shape: int, dtype: torch.dtype) -> Tensor:
        """Memory for C, and SLACK beyond its end."""
        memory = torch.zeros(torch.Size(shape).numel() + SLACK, dtype=dtype)
        self._all.append(memory)
        return memory

    def _kept(self, value: Any) -> Any:
        """A structure or an array that others point to."""
        self._all.append(value)
        return value

    def _marks(self, size: Sequence[int]) -> Any:
        changed = self._zeros(self.images, *size, dtype=torch.uint8)
        row = self._zeros(self.images, size[0], dtype=torch.uint8)
        return c.Marks(*size, changed.data_ptr(), row.data_ptr())

    def _fill(self, step: Any, record: Record) -> None:
        """A record as C has it."""
        size, width = None, 1
        if isinstance(record, SentMap):
            step.kind, what, size = c.IMAGE, self._image(record), record.size
        elif isinstance(record, Sums):
            step.kind, what, size = c.SUMS, self._sums(record), record.size
        elif isinstance(record, Firing):
            step.kind, what = c.NEURONS, self._neurons(record)
            size = self._program.maps[record.step.node.name].size
            width = 1 + self._room(record) // size[2]
        elif isinstance(record, HeadPart):
            step.kind, what, size = c.HEAD, self._head(record), record.sums.size
            width = padded(size[0])
        elif isinstance(record, Attention):
            step.kind, what = c.ATTENTION, self._attention(record)
        elif isinstance(record, Pooling):
            step.kind, what = c.POOLING, self._pooling(record)
            size = self._program.maps[record.node.name].size
        else:
            step.kind, what = c.OUTSIDE, self._outside(record)
        if what is not None:
            step.what = addressof(self._kept(what))
        if size is not None:
            step.total = self.images * size[1]
            step.band = max(1, BAND // (4 * size[2] * width))

    def _map(self, name: str) -> Any:
        """The map of the image, or of what a node has sent."""
        if name in self.maps:
            return self.maps[name]
        own = self._program.maps[name]
        channels, h, w = own.size
        result = c.Map(at=self._marks((h, w)), channels=channels, stride=own.stride)
        sent = self._zeros(self.images, *own.shape, dtype=torch.uint8)
        self._tensors[name], result.sent = sent, sent.data_ptr()
        if name != self._plan.input:
            sent.fill_(ZERO)
        if own.edge is not None:
            edge = own.edge
            around = self.images, h + 2 * edge, w + 2 * edge, own.stride
            dtype = torch.uint8 if has_cells_of_bytes() else torch.int16
            memory = self._zeros(*around, dtype=dtype)
            memory[: math.prod(around)].view(-1, own.stride)[:, :channels] = own.zero
            result.edge, result.padded = edge, memory.data_ptr()
        if own.events:
            result.slots = own.stride // 4 + MORE_SLOTS
            starts = self.images, h, w, own.stride // SIXTEEN + 1
            slots = self.images, h, w, result.slots
            result.start = self._zeros(*starts, dtype=torch.int16).data_ptr()
            result.balance = self._zeros(*starts, dtype=torch.int32).data_ptr()
            result.group = self._zeros(*slots, dtype=torch.int16).data_ptr()
            result.delta = self._zeros(*slots, dtype=torch.int32).data_ptr()
        if name in self.counted:
            self._count(name, result)
        self.maps[name] = self._kept(result)
        return result

    def _count(self, name: str, result: Any) -> None:
        """Let the events of a map be counted."""
        spent = self.spent[self.counted.index(name)]
        ends = [self._plan.sizes[name][1]]
        if name == self._plan.input:
            result.costs = self._program.shown.data_ptr()
        else:
            ends = self._plan.ends[name]
        result.segments, result.columns = len(ends), spent.shape[1]
        result.ends = self._kept(torch.tensor(ends, dtype=torch.int32)).data_ptr()
        result.spent = spent.data_ptr()

    def _image(self, record: SentMap) -> Any:
        zero = self._program.zero.data_ptr()
        self.image = c.Image(addressof(self._map(record.name)), None, zero)
        return self.image

    def _sums(self, record: Sums) -> Any:
        """The convolution of a record, or a value."""
        if record.name in self.sums:
            return self.sums[record.name]
        outs, h, w = record.size
        result = c.Convolution(at=self._marks((h, w)), kind=c.KERNELS["value"], outs=padded(outs))
        sums = self._zeros(self.images, h, w, result.outs, dtype=torch.int32)
        self._tensors[record.name], result.sums = sums, sums.data_ptr()
        if record.step is not None:
            self._convolution(result, record)
        self.sums[record.name] = self._kept(result)
        return result

    def _convolution(self, result: Any, record: Sums) -> None:
        step, events, direct = record.step, record.weights, record.direct
        assert step is not None and step.parts is not None and direct is not None
        given = self._plan.sizes[step.node.inputs[0]][2:]
        window = windows(given, record.size[1:], step.node, step.whole.levels.shape[2:])
        parts = [self._part(part) for part in step.parts]
        for part, size in zip(parts, direct.sizes, strict=True):
            part.runs = size
        result.kind, result.by_blocks = c.KERNELS[step.kernel], record.by_blocks
        result.reach = c.Reach(window, len(parts), self._array(parts))
        if events is not None:
            result.weights = events.memory.data_ptr()
            result.block, result.blocks = addressof(events.blocks), len(events.blocks)
            result.limit = MANY * self.images * sum(map(self.groups, step.parts))
        result.merged, result.direct_weights = direct.merged, direct.memory.data_ptr()
        result.direct_block, result.direct_blocks = addressof(direct.blocks), len(direct.blocks)
        if record.offset is not None:
            result.offset = record.offset.data_ptr()
        if record.border is not None:
            result.border_row, result.border = (one.data_ptr() for one in record.border)

    def _array(self, parts: Sequence[Any]) -> int:
        """The address of parts one after the other."""
        return addressof(self._kept((c.Part * len(parts))(*parts)))

    def _part(self, part: Part) -> Any:
        source = self._map(part.source)
        low, high = part.first // SIXTEEN, padded(part.first + part.channels) // SIXTEEN
        marks = addressof(source) + c.Map.at.offset
        return c.Part(addressof(source), marks, *part.scale, part.first, 0, low, high)

    def groups(self, part: Part) -> int:
        """Groups of four channels of the map of a part."""
        own = self._program.maps[part.source]
        return own.stride // 4 * own.size[1] * own.size[2]

    def _term(self, one: Sums | Part, pool: Any, size: Sequence[int]) -> Any:
        """What neurons add up, in windows if they pool."""
        window = pool or windows(size, size)
        if isinstance(one, Part):
            source = self._map(one.source)
            marks = self._array([c.Part(None, addressof(source) + c.Map.at.offset, 1, 1)])
            return c.Term(None, addressof(source), one.first, 0, c.Reach(window, 1, marks))
        sums = self._sums(one)
        if one.fused:
            reach = c.Reach(composed(sums.reach.window, window), sums.reach.parts, sums.reach.part)
        else:
            marks = self._array([c.Part(None, addressof(sums) + c.Convolution.at.offset, 1, 1)])
            reach = c.Reach(window, 1, marks)
        return c.Term(addressof(sums), None, 0, one.fused, reach)

    def _neurons(self, record: Firing) -> Any:
        step, name = record.step, record.step.node.name
        result, size = c.Neurons(out=addressof(self._map(name))), self._plan.sizes[name][2:]
        result.layer, result.terms = layer_of(step.layer, record.parameters), len(record.terms)
        pool = None
        if step.pool is not None:
            result.pooled = 1
            pool = windows(self._plan.sizes[step.pool.inputs[0]][2:], size, step.pool)
        result.window = pool or windows(size, size)
        for k, term in enumerate(record.terms):
            result.term[k] = self._term(term, pool, size)
        return result

    def _head(self, record: HeadPart) -> Any:
        if record.output not in self.heads:
            _, channels, h, w = self._plan.sizes[record.output]
            self.heads[record.output] = torch.zeros(self.images, h, w, channels), []
        values, parts = self.heads[record.output]
        term = self._term(record.sums, None, record.sums.size[1:])
        addresses = (one.data_ptr() for one in (values, record.scale, record.bias))
        result = c.Head(term, *addresses, record.sums.size[0], record.first, values.shape[3])
        parts.append(result)
        return result

    def _pooling(self, record: Pooling) -> Any:
        assert record.part is not None
        name = record.node.name
        given, size = self._program.maps[record.part.source].size, self._plan.sizes[name][2:]
        window = windows(given[1:], size, record.node)
        return c.Pooling(addressof(self._map(name)), self._part(record.part), window)

    def _attention(self, record: Attention) -> Any:
        out, sums = self._map(record.softmax.node.name), self._sums(record.sums)
        layer = layer_of(record.softmax.layer, record.parameters)
        parts = [self._part(part) for part in (record.query, record.key, record.value)]
        heads = out.channels
        sizes = record.query.channels // heads, record.value.channels // heads
        return c.Attention(
            addressof(out), addressof(sums), layer, *parts, heads, record.areas, *sizes
        )

    def _outside(self, record: Outside) -> Any:
        """Room for what the reference computes, if a step in C reads it."""
        if record.sums is not None:
            return self._sums(record.sums)
        own = self._program.maps[record.step.node.name]
        if own.events or own.edge is not None:
            self._map(own.name)
        return None

    def absorb(self, name: str, value: Tensor | None) -> None:
        """Whole numbers [N, C, H, W] become the sums of a node; None: they stay as they are."""
        sums, rows = self.sums[name], self.images * self.sums[name].at.h
        if value is not None:
            self.view(name).copy_(value)
        ctypes.memset(sums.at.changed, value is not None, rows * sums.at.w)
        ctypes.memset(sums.at.row, value is not None, rows)

    def view(self, name: str) -> Tensor:
        """What a node has sent, as bytes, or its sums: [N, C, H, W] of memory of C."""
        memory, size = self._tensors[name], self._plan.sizes[name]
        if name not in self.maps:
            shape = (*size[2:], padded(size[1]))
        else:
            shape = self._program.maps[name].shape
        whole = memory[: self.images * math.prod(shape)].view(self.images, *shape)
        if name in self._program.softmaxes:
            # Tokens, heads, and the tokens that they look at.
            return whole[..., : size[3]].transpose(1, 2)
        return whole[..., : size[1]].movedim(-1, 1)

    def timings(self) -> list[Timing]:
        """What each step has taken."""
        names = {c.IMAGE: "image", c.NEURONS: "neurons", c.POOLING: "pooling", c.HEAD: "head"}
        names |= {c.ATTENTION: "attention", c.OUTSIDE: "reference"}
        result: list[Timing] = []
        for step, record in zip(self.steps, self._program.records, strict=True):
            sums, name = None, ""
            if isinstance(record, Sums):
                sums, name = record, record.name
            elif isinstance(record, SentMap):
                name = record.name
            elif isinstance(record, HeadPart):
                sums, name = record.sums, record.sums.name
            elif isinstance(record, Firing):
                name = record.step.node.name
                fused = [one for one in record.terms if isinstance(one, Sums) and one.fused]
                sums = fused[0] if fused else None
            elif isinstance(record, Attention):
                name = record.softmax.node.name
            else:
                name = record.node.name if isinstance(record, Pooling) else record.step.node.name
            kind = names.get(step.kind, "")
            if sums is not None and sums.step is not None and (sums.fused or step.kind == c.SUMS):
                kind = sums.step.kernel
            more = ()
            if kind == "events" and sums is not None and sums.step is not None:
                parts, own = sums.step.parts or (), self.sums[sums.name]
                entries = sum(self.maps[part.source].entries for part in parts)
                more = entries, self.images * sum(map(self.groups, parts)), own.rate, own.full
                name = sums.name
            result.append(Timing(kind, name, step.nanoseconds, *more))
        return result


def layer_of(layer: WholeLayer, parameters: Sequence[Tensor]) -> Any:
    """A layer of neurons with its `parameters_of`, which must outlive it."""
    result, terms = c.Layer(), len(layer.scales)
    for k in range(terms):
        result.scales[k] = parameters[k].data_ptr()
    fields = ("bias", "per_value", "offset", "ceiling")
    # The last of them may be missing.
    for field, value in zip(fields, parameters[terms:], strict=False):
        setattr(result, field, value.data_ptr())
    result.slope, result.slack = layer.phi.slope, layer.settings.slack
    if layer.phi.gate is not None:
        table = curve_table(layer.phi.mish)
        result.table, result.halves = table.data_ptr(), table.shape[1] // SEGMENTS
    return result


def windows(
    given: Sequence[int], size: Sequence[int], node: Node | None = None, kernel: Any = ()
) -> Any:
    """The windows of a convolution or a pooling; of no node, one for each position."""
    if node is None:
        return c.Window(*given, *size, *[1] * 6, 0, 0)
    a = node.attrs
    if node.op == "conv":
        return c.Window(*given, *size, *kernel, *a["stride"], *a["dilation"], *a["padding"])
    left, _, top, _ = a["padding"]
    return c.Window(*given, *size, *a["kernel"], *a["stride"], 1, 1, top, left)


def composed(inner: Any, outer: Any) -> Any:
    """The windows over what `inner` reads of windows over what it computes."""
    both = windows((inner.in_h, inner.in_w), (outer.out_h, outer.out_w))
    for axis, before in (("h", "top"), ("w", "left")):
        stride = getattr(inner, f"stride_{axis}")
        dilation, kernel = getattr(inner, f"dilation_{axis}"), getattr(inner, f"kernel_{axis}")
        if getattr(outer, f"kernel_{axis}") == 1:
            setattr(both, f"dilation_{axis}", dilation)
            setattr(both, f"kernel_{axis}", kernel)
        else:
            span = (getattr(outer, f"kernel_{axis}") - 1) * stride + (kernel - 1) * dilation + 1
            setattr(both, f"kernel_{axis}", span)
        setattr(both, f"stride_{axis}", getattr(outer, f"stride_{axis}") * stride)
        start = getattr(outer, before) * stride + getattr(inner, before)
        setattr(both, before, start)
    return both
