"""The memory that program.c works on: maps, sums, events, and the steps in order."""

import ctypes
import math
from collections.abc import Iterable, Sequence
from ctypes import c_double, c_float, c_void_p
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.graph import Node
from spiking_yolo.integer.library import ZERO, library
from spiking_yolo.integer.packing import SIXTEEN, SLACK, has_cells_of_bytes, padded, structure
from spiking_yolo.integer.plan import TERMS, Convolution, Neurons, Part, Plan, Pooling
from spiking_yolo.integer.program import Program
from spiking_yolo.spikes.counting import count_digits

# Slots of a position besides one for each four channels, for changes that take several.
MORE_SLOTS = 4
# Share of the groups of its maps from which a layer is computed everywhere, until its times are
# known.
MANY = 0.5
# Bytes of weights from which a layer is computed everywhere by blocks of outputs, not by rows.
MANY_WEIGHTS = 400_000
# Chunks of a step, about.
CHUNKS = 32

Marks = structure("Marks", "h w *changed *row")
Map = structure(
    "Map",
    "at channels stride edge slots segments columns *sent *padded *start *group *delta *balance"
    " *ends *costs *spent *maps entries changes overflow",
    at=Marks,
)
Reading = structure("Part", "*map *at factor_h factor_w first runs low high")
Window = structure(
    "Window",
    "in_h in_w out_h out_w kernel_h kernel_w stride_h stride_w dilation_h dilation_w top left",
)
Sums = structure(
    "Convolution",
    "at window kind outside by_blocks merged parts outs blocks direct_blocks *part"
    " *block *direct_block *weights *direct_weights *offset *border_row *border *sums"
    " limit rate dense",
    at=Marks,
    window=Window,
    **dict.fromkeys(("limit", "rate", "dense"), c_double),
)
Layer = structure(
    "Layer",
    "scales *bias *per_value *offset *ceiling slope slack silu",
    scales=c_void_p * TERMS,
    slope=c_float,
    slack=c_float,
)
Term = structure("Term", "*convolution *map first")
Firing = structure(
    "Neurons",
    "*out layer terms pooled fused parts term *part window reach",
    layer=Layer,
    term=Term * TERMS,
    window=Window,
    reach=Window,
)
Maximum = structure("Pooling", "*out part window", part=Reading, window=Window)
Image = structure("Image", "*out *bytes *zero")
Command = structure("Step", "kind rows total chunks *what next done nanoseconds")
Whole = structure(
    "Program",
    "steps images threads fresh everywhere anew room *step *sums *widest due",
    due=c_float,
)
KINDS = ("events", "direct", "depthwise", "reference")
IMAGE, SUMS, NEURONS, POOLING, OUTSIDE = range(5)
NAMES = {IMAGE: "image", NEURONS: "neurons", POOLING: "pooling", OUTSIDE: "reference"}


class Timing(NamedTuple):
    """What a step has taken.

    Attributes:
        kind: "image", "neurons", "pooling"; of a convolution, and of neurons that compute its sums
            themselves, "events", "direct" or "depthwise"; "reference" of what C does not compute.
        name: Its node.
        nanoseconds: CPU time in the last frame, in C.
        entries: Groups of four channels that changed in the maps that a convolution by events
            reads, and 0 of other steps.
        groups: All groups of these maps.
        rate: Nanoseconds that it takes per entry; 0 as long as that is unknown.
        dense: Nanoseconds of computing it everywhere.
    """

    kind: str
    name: str
    nanoseconds: int
    entries: int = 0
    groups: int = 0
    rate: float = 0.0
    dense: float = 0.0


class Memory:
    """The memory of a photograph or a video, and the steps in C with their addresses in it.

    Args:
        program: What runs.
        images: Photographs or videos at once.

    Attributes:
        maps: Node -> what it has sent by now, a `Map`, of the image and of senders.
        sums: Node -> its sums, a `Sums`.
        spent: Map -> its counts, [N, columns, 3]: see EventCosts.of.
        commands: The kind of each step, its structure, and its node, in order.
        steps: The steps as C has them, with what they have taken.
        call: All of it, which `run` takes.
        image: Where the pixels of a frame are.
        widest: The largest |sum| that each thread has read; the first has those of the reference
            too.
    """

    def __init__(self, program: Program, images: int):
        self._program, self._plan, self.images = program, program.plan, images
        # Objects whose addresses C has.
        self._all: list[Any] = []
        self.maps: dict[str, Any] = {}
        self.sums: dict[str, Any] = {}
        self._tensors: dict[str, Tensor] = {}
        self.spent: dict[str, Tensor] = {}
        self.commands: list[tuple[int, Any, str]] = []
        self._scratch = torch.zeros(0, dtype=torch.int32)
        self.widest = torch.zeros(1)
        self._call_room = 0
        self._build()

    def scratch_for(self, threads: int) -> None:
        """Let so many threads run the program."""
        self.call.threads = threads
        if len(self._scratch) < self._call_room * threads:
            self._scratch = torch.zeros(self._call_room * threads, dtype=torch.int32)
        if len(self.widest) < threads:
            self.widest = F.pad(self.widest, (0, threads - len(self.widest)))
        self.call.sums, self.call.widest = self._scratch.data_ptr(), self.widest.data_ptr()

    def _zeros(self, *shape: int, dtype: torch.dtype) -> Tensor:
        """Memory for C, and SLACK beyond its end."""
        memory = torch.zeros(torch.Size(shape).numel() + SLACK, dtype=dtype)
        self._all.append(memory)
        return memory

    def _marks(self, size: Sequence[int]) -> Any:
        changed = self._zeros(self.images, *size, dtype=torch.uint8)
        row = self._zeros(self.images, size[0], dtype=torch.uint8)
        return Marks(*size, changed.data_ptr(), row.data_ptr())

    def _kept(self, value: Any) -> Any:
        """A structure or an array that others point to."""
        self._all.append(value)
        return value

    def _map(self, name: str) -> Any:
        """The map of the image, or of what a node has sent."""
        if name in self.maps:
            return self.maps[name]
        program, (_, channels, h, w) = self._program, self._plan.sizes[name]
        stride, image = program.strides[name], name == self._plan.input
        places = self.images, h, w
        result = Map(at=self._marks((h, w)), channels=channels, stride=stride)
        sent = self._zeros(*places, channels if image else stride, dtype=torch.uint8)
        if not image:
            sent.fill_(ZERO)
        result.sent = sent.data_ptr()
        self._tensors[name] = sent
        if name in program.edges:
            edge = program.edges[name]
            size = self.images, h + 2 * edge, w + 2 * edge, stride
            dtype = torch.uint8 if has_cells_of_bytes() else torch.int16
            memory, zero = self._zeros(*size, dtype=dtype), program.zeros[name]
            memory[: math.prod(size)].view(-1, stride)[:, :channels] = zero
            result.edge, result.padded = edge, memory.data_ptr()
        if name in program.heard:
            result.slots = stride // 4 + MORE_SLOTS
            starts = *places, stride // SIXTEEN + 1
            result.start = self._zeros(*starts, dtype=torch.int16).data_ptr()
            result.balance = self._zeros(*starts, dtype=torch.int32).data_ptr()
            slots = *places, result.slots
            result.group = self._zeros(*slots, dtype=torch.int16).data_ptr()
            result.delta = self._zeros(*slots, dtype=torch.int32).data_ptr()
        self.maps[name] = self._kept(result)
        return result

    def _count(self, name: str, prices: Tensor, ends: Sequence[int]) -> None:
        """Let the events of a map be counted."""
        result = self._map(name)
        result.columns, result.segments = 1 + len(prices), len(ends)
        result.ends = self._kept(torch.tensor(ends, dtype=torch.int32)).data_ptr()
        result.costs = self._kept(prices).data_ptr()
        self.spent[name] = torch.zeros(self.images, result.columns, 3, dtype=torch.int64)
        result.spent = self.spent[name].data_ptr()

    def _build(self) -> None:
        plan, program = self._plan, self._program
        self._map(plan.input)
        self._count(plan.input, program._shown[None], [plan.sizes[plan.input][1]])
        image = Image(ctypes.addressof(self._map(plan.input)), None, program.zero.data_ptr())
        self.image = self._kept(image)
        self.commands.append((IMAGE, image, plan.input))
        for step in plan.steps:
            if isinstance(step, Convolution) and step.kernel != "reference":
                self._add_convolution(step)
            elif isinstance(step, Neurons):
                self._add_neurons(step)
            elif isinstance(step, Pooling):
                self._add_pooling(step)
        self.steps = (Command * len(self.commands))()
        for one, (kind, what, name) in zip(self.steps, self.commands, strict=True):
            one.kind = kind
            if what is not None:
                one.what = ctypes.addressof(what)
            if kind != OUTSIDE:
                one.total = self.images * plan.sizes[name][2]
                one.rows = max(1, one.total // CHUNKS)
                one.chunks = -(-one.total // one.rows)
        self.call = Whole(len(self.steps), self.images, step=ctypes.addressof(self.steps))
        self.call.room = self._call_room

    def _by_reference(self, name: str) -> None:
        """A sender that C does not compute; it has a map where others in C read it."""
        if name in self._program.heard or name in self._program.edges:
            self._map(name)
        self.commands.append((OUTSIDE, None, name))

    def _add_convolution(self, step: Convolution) -> None:
        program, name = self._program, step.node.name
        assert step.parts is not None
        _, outs, h, w = self._plan.sizes[name]
        kernel = step.whole.levels.shape[2:]
        given = self._plan.sizes[step.node.inputs[0]][2:]
        result = Sums(at=self._marks((h, w)), window=windows(given, (h, w), step.node, kernel))
        result.kind, result.outs = KINDS.index(step.kernel), padded(outs)
        result.parts = len(step.parts)
        packed, direct = program.weights.get(name), program.direct_weights.get(name)
        parts = [self._reading(part) for part in step.parts]
        if packed is not None:
            result.by_blocks = int(len(packed.memory) > MANY_WEIGHTS)
            result.weights = packed.memory.data_ptr()
            result.block, result.blocks = ctypes.addressof(packed.blocks), len(packed.blocks)
            everything = sum(self.images * padded_groups(self._plan, part) for part in step.parts)
            result.limit = MANY * everything
            result.outside = int(name in program.by_onednn)
        if direct is not None:
            for part, size in zip(parts, direct.sizes, strict=True):
                part.runs = size
            result.merged, result.direct_weights = int(direct.merged), direct.memory.data_ptr()
            result.offset = program.offsets[name].data_ptr()
            result.direct_block = ctypes.addressof(direct.blocks)
            result.direct_blocks = len(direct.blocks)
        if name in program.borders:
            rows, values = program.borders[name]
            result.border_row, result.border = rows.data_ptr(), values.data_ptr()
        result.part = ctypes.addressof(self._kept((Reading * len(parts))(*parts)))
        if name in program.fused:
            self.sums[name] = self._kept(result)
            return
        self._own_sums(name, result)
        self.commands.append((SUMS, result, name))

    def _own_sums(self, name: str, result: Any) -> None:
        sums = self._zeros(self.images, *self._plan.sizes[name][2:], result.outs, dtype=torch.int32)
        self._tensors[name], result.sums = sums, sums.data_ptr()
        self.sums[name] = self._kept(result)

    def _reading(self, part: Part) -> Any:
        source = self._map(part.source)
        low, high = part.first // SIXTEEN, padded(part.first + part.channels) // SIXTEEN
        at = ctypes.addressof(source) + Map.at.offset
        return Reading(ctypes.addressof(source), at, *part.scale, part.first, 0, low, high)

    def _value(self, name: str) -> Any:
        """The sums of a node that the reference computes, which neurons in C read."""
        if name not in self.sums:
            _, channels, h, w = self._plan.sizes[name]
            result = Sums(at=self._marks((h, w)), kind=KINDS.index("reference"))
            result.outs = padded(channels)
            self._own_sums(name, result)
            self.commands.append((OUTSIDE, result, name))
        return self.sums[name]

    def _add_neurons(self, step: Neurons) -> None:
        plan, name = self._plan, step.node.name
        if not step.in_c:
            self._by_reference(name)
            return
        result, size = Firing(out=ctypes.addressof(self._map(name))), plan.sizes[name][2:]
        self._count(name, self._program.prices(True)[name], plan.ends[name])
        result.layer, terms = layer_of(step, self._program.layers[name]), step.terms
        result.terms = len(terms)
        result.window = windows(size, size, None)
        if step.pool is not None:
            terms = (step.pool.inputs[0],)
            result.pooled = 1
            result.window = windows(plan.sizes[terms[0]][2:], size, step.pool)
        result.reach = result.window
        readings: list[Any] = []
        for k, term in enumerate(terms):
            part = None if result.pooled else self._run(step.parts[k])
            if part is not None:
                source = self._map(part.source)
                result.term[k] = Term(None, ctypes.addressof(source), part.first)
                at = ctypes.addressof(source) + Map.at.offset
            else:
                sums = self._value(term)
                result.term[k] = Term(ctypes.addressof(sums), None, 0)
                at = ctypes.addressof(sums) + Sums.at.offset
            readings.append(Reading(None, at, 1, 1))
        result.part = ctypes.addressof(self._kept((Reading * len(readings))(*readings)))
        result.parts = len(readings)
        if terms[0] in self._program.fused:
            self._fuse(result, self.sums[terms[0]])
        self.commands.append((NEURONS, self._kept(result), name))

    def _fuse(self, result: Any, sums: Any) -> None:
        """Let neurons compute the sums that they read, which nothing else reads."""
        own, of_sums = result.window, sums.window
        result.fused, result.part, result.parts = 1, sums.part, sums.parts
        both = windows((of_sums.in_h, of_sums.in_w), (own.out_h, own.out_w), None)
        for axis, before in (("h", "top"), ("w", "left")):
            stride = getattr(of_sums, f"stride_{axis}")
            span = (getattr(of_sums, f"kernel_{axis}") - 1) * getattr(of_sums, f"dilation_{axis}")
            kernel = (getattr(own, f"kernel_{axis}") - 1) * stride + span + 1
            setattr(both, f"kernel_{axis}", kernel)
            setattr(both, f"stride_{axis}", getattr(own, f"stride_{axis}") * stride)
            start = getattr(own, before) * stride + getattr(of_sums, before)
            setattr(both, before, start)
        result.reach = both
        self._call_room = max(self._call_room, own.kernel_h * own.in_w * sums.outs + SLACK)

    def _run(self, parts: tuple[Part, ...] | None) -> Part | None:
        """The only run of channels of a map in C that something is, if it is one."""
        if parts is None or len(parts) != 1 or parts[0].scale != (1, 1):
            return None
        source = parts[0].source
        return parts[0] if source in self.maps and source != self._plan.input else None

    def _add_pooling(self, step: Pooling) -> None:
        plan, name = self._plan, step.node.name
        part = self._run(step.part and (step.part,))
        if part is None or plan.digits is not count_digits:
            self._by_reference(name)
            return
        out = self._map(name)
        self._count(name, self._program.prices(True)[name], plan.ends[name])
        window = windows(plan.sizes[part.source][2:], plan.sizes[name][2:], step.node)
        result = Maximum(ctypes.addressof(out), self._reading(part), window)
        self.commands.append((POOLING, self._kept(result), name))

    def absorb(self, sums: Any, name: str, value: Tensor) -> None:
        """Whole numbers [N, C, H, W] become the sums of a node."""
        if value.dtype == torch.float64:
            self.view(name, sums.outs).copy_(value)
        else:
            rows = value.movedim(1, -1).contiguous()
            channels = rows.shape[-1]
            given = rows.data_ptr(), rows.numel() // channels, channels
            library().absorb(ctypes.byref(sums), *given)
        self.fill_marks(sums, name, 1)

    def fill_marks(self, sums: Any, name: str, value: int) -> None:
        at, rows = sums.at, self.images * sums.at.h
        ctypes.memset(at.changed, value, rows * at.w)
        ctypes.memset(at.row, value, rows)

    def view(self, name: str, stride: int) -> Tensor:
        """Memory of C as [N, C, H, W]."""
        _, channels, h, w = self._plan.sizes[name]
        size = self.images * h * w * stride
        rows = self._tensors[name][:size].view(self.images, h, w, stride)
        return rows[..., :channels].movedim(-1, 1)

    def bytes_of(self, name: str) -> Tensor:
        one = self.maps[name]
        return self.view(name, one.channels if name == self._plan.input else one.stride)

    def bytes(self, parts: Iterable[Part]) -> Tensor:
        """What a layer reads, bytes [N, C, H, W]."""
        pieces: list[Tensor] = []
        for part in parts:
            piece = self.bytes_of(part.source)[:, part.first : part.first + part.channels]
            for axis, times in zip((2, 3), part.scale, strict=True):
                if times > 1:
                    piece = piece.repeat_interleave(times, axis)
            pieces.append(piece)
        return torch.cat(pieces, 1)

    def timings(self) -> list[Timing]:
        """What each step has taken."""
        result: list[Timing] = []
        for command, (kind, what, name) in zip(self.steps, self.commands, strict=True):
            label, more, step = NAMES.get(kind, ""), (), self._program.steps.get(name)
            if kind == NEURONS and what.fused:
                label = KINDS[Sums.from_address(what.term[0].convolution).kind]
            if kind == SUMS:
                label = KINDS[what.kind]
            if label == "events" and isinstance(step, Convolution) and step.parts is not None:
                entries = sum(self.maps[part.source].entries for part in step.parts)
                groups = self.images * sum(padded_groups(self._plan, part) for part in step.parts)
                more = entries, groups, what.rate, what.dense
            result.append(Timing(label, name, command.nanoseconds, *more))
        return result


def layer_of(step: Neurons, parameters: Sequence[Tensor]) -> Any:
    """A layer of neurons with its `parameters_of`, which must outlive it."""
    result, terms, own = Layer(), len(step.layer.scales), step.layer
    for k in range(terms):
        result.scales[k] = parameters[k].data_ptr()
    fields = ("bias", "per_value", "offset", "ceiling")
    for field, value in zip(fields, parameters[terms:], strict=True):
        setattr(result, field, value.data_ptr())
    result.slope, result.slack, result.silu = own.phi.slope, own.settings.slack, own.phi.silu
    return result


def windows(given: Sequence[int], size: Sequence[int], node: Node | None, kernel: Any = ()) -> Any:
    """The windows of a convolution or a pooling; of no node, one for each position."""
    if node is None:
        return Window(*given, *size, *[1] * 6, 0, 0)
    a = node.attrs
    if node.op == "conv":
        return Window(*given, *size, *kernel, *a["stride"], *a["dilation"], *a["padding"])
    left, _, top, _ = a["padding"]
    return Window(*given, *size, *a["kernel"], *a["stride"], 1, 1, top, left)


def padded_groups(plan: Plan, part: Part) -> int:
    """Groups of four channels of the map of a part."""
    _, channels, h, w = plan.sizes[part.source]
    return padded(channels) // 4 * h * w
