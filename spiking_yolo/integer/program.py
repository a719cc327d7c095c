"""A plan as a program in C. `Program` is made once for a plan; each `State` has the maps, sums and
events of a photograph or a video, changed in place. What has no kernel runs through the reference.
"""

import ctypes
import time
from collections.abc import Iterable, Mapping, Sequence
from ctypes import c_double, c_float, c_void_p
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.graph import Node
from spiking_yolo.integer import packing
from spiking_yolo.integer.convolution import has_exact_int8
from spiking_yolo.integer.execute import events, largest, move, widest_read
from spiking_yolo.integer.library import LANES, ZERO, library
from spiking_yolo.integer.neuron import WholeLayer, fire
from spiking_yolo.integer.packing import SLACK, PackedWeights, padded, structure
from spiking_yolo.integer.plan import TERMS, Convolution, Neurons, Part, Plan, Pooling
from spiking_yolo.spikes.counting import count_digits
from spiking_yolo.spikes.operations import EventCosts, total_macs

# Slots of a position besides one for each four channels, for changes that take several.
MORE_SLOTS = 4
# Share of the groups of its maps from which a layer is computed everywhere, until its times are
# known.
MANY = 0.5
# Bytes of weights from which the outputs of a layer are computed block by block, not row by row.
MANY_WEIGHTS = 400_000
# Multiply-accumulates from which threads share the work.
LARGE = 20_000_000
# Maps of smaller sides are left to C.
LEAST_SIDE = 8
# Chunks of a step, about.
CHUNKS = 32
# Frames that one thread computes after one for which several were slower: another program has the
# cores.
FRAMES_ALONE = 20

Marks = structure("Marks", "h w *changed *row")
Map = structure(
    "Map",
    "at channels stride edge slots segments columns *sent *wide *count *group *delta *balance"
    " *ends *costs *spent *maps entries changes overflow",
    at=Marks,
)
Reading = structure("Part", "*map *at factor_h factor_w first pairs low high base")
Window = structure(
    "Window",
    "in_h in_w out_h out_w kernel_h kernel_w stride_h stride_w dilation_h dilation_w top left",
)
Sums = structure(
    "Convolution",
    "at window kind outside by_blocks merged parts outs groups blocks wide_blocks room *part"
    " *block *wide_block *weights *wide_weights *border_row *border *sums limit rate dense",
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
    "steps images threads fresh everywhere anew room *step *lists *sums *widest due",
    due=c_float,
)
KINDS = ("events", "direct", "depthwise", "reference")
IMAGE, LISTS, SUMS, NEURONS, POOLING, OUTSIDE = range(6)


@dataclass(frozen=True)
class Counted:
    """What a frame has sent, and what that costs.

    Attributes:
        outputs: Head tensors in values of the ANN, [N, ...].
        spent: Sender -> its events, the operations that they cause, and those of them in products,
            as of EventCosts.of.
        shown: Values of pixels that differ from the frame before, and the operations of layers
            that read them, [N] each; None in a first frame.
        maps: Sender -> events at each position, Counts.stacked; empty unless asked for.
        widest: The largest |sum| that neurons and outputs have read since the first frame.
    """

    outputs: tuple[Tensor, ...]
    spent: Mapping[str, Tensor]
    shown: tuple[Tensor, Tensor] | None
    maps: Mapping[str, Tensor]
    widest: float


class Program:
    """What the states of a plan share.

    Args:
        plan: The network, on the CPU.
        costs: What its events cost.
        shown: What a pixel that changed costs in layers that read the image, [H, W].
    """

    def __init__(self, plan: Plan, costs: EventCosts, shown: Tensor):
        self.plan, self.costs = plan, costs
        macs, _ = total_macs(plan.counted, plan.sizes, plan.senders)
        self.large = macs > LARGE
        self.steps = {step.node.name: step for step in plan.steps}
        # Layers that oneDNN computes where they are computed everywhere.
        self.by_onednn: set[str] = set()
        self.strides = {name: padded(plan.sizes[name][1]) for name in plan.senders}
        self.strides[plan.input] = 4
        self.weights: dict[str, PackedWeights] = {}
        self.wide_weights: dict[str, PackedWeights] = {}
        self.borders: dict[str, tuple[Tensor, Tensor]] = {}
        # Map -> rows and columns around it that layers read; of maps that lie as 16 bits.
        self.edges: dict[str, int] = {}
        # Maps whose events layers read.
        self.heard: set[str] = set()
        self.layers: dict[str, list[Tensor]] = {}
        for step in plan.steps:
            if isinstance(step, Convolution) and step.kernel != "reference":
                self._pack(step)
            if isinstance(step, Neurons) and (step.in_c or step.layer.phi.softmax):
                self.layers[step.node.name] = parameters_of(step.layer)
        self.fused = self._all_fused()
        self.zero = plan.parameters.input_zero.to(torch.int32)
        self._prices: dict[bool, dict[str, Tensor]] = {}
        self._shown = shown.to(torch.int32).flatten().contiguous()

    def _pack(self, step: Convolution) -> None:
        name, parts = step.node.name, step.parts
        assert parts is not None
        size = self.plan.sizes[step.node.inputs[0]][2:]
        common = step.kernel == "events" and is_common(step, self.plan.sizes)
        if common and has_exact_int8() and step.whole.bytes_are_exact(size):
            self.by_onednn.add(name)
        if step.kernel == "events":
            self.weights[name] = packing.by_groups(step)
            self.heard.update([part.source for part in parts])
        if step.kernel == "depthwise":
            self.wide_weights[name] = packing.by_channels(step)
        elif name not in self.by_onednn:
            self.wide_weights[name] = packing.by_pairs(step, self.strides[parts[0].source])
        border = packing.border_of(step)
        if border is not None:
            self.borders[name] = border
        if name in self.wide_weights:
            for part in parts:
                edge = max(self.edges.get(part.source, 0), self._edge(step, part))
                self.edges[part.source] = edge

    @cached_property
    def softmaxes(self) -> set[str]:
        """The softmaxes that C computes: their events cost the same wherever they are."""
        found: set[str] = set()
        for step in self.plan.steps:
            if not isinstance(step, Neurons) or not step.layer.phi.softmax:
                continue
            alike = len(step.terms) == 1 and step.layer.settings.kind == "sigma-delta"
            for first in (True, False):
                costs = self.columns(first)[step.node.name]
                alike = alike and bool((costs == costs[0]).all())
            if alike:
                found.add(step.node.name)
        return found

    def _all_fused(self) -> set[str]:
        """Layers whose sums nothing but one layer of neurons reads, which computes them."""
        readers: dict[str, int] = {}
        for terms in self.plan.outputs.values():
            readers |= dict.fromkeys(terms, 2)
        for step in self.plan.steps:
            for name in step.node.inputs:
                readers[name] = readers.get(name, 0) + 1
        fused: set[str] = set()
        for step in self.plan.steps:
            if not isinstance(step, Neurons) or not step.in_c or len(step.terms) != 1:
                continue
            name, alone = step.terms[0], True
            if step.pool is not None:
                a, name = step.pool.attrs, step.pool.inputs[0]
                alone = all(a["stride"][k] >= a["kernel"][k] for k in (0, 1))
            source = self.steps[name]
            direct = isinstance(source, Convolution) and source.kernel in ("direct", "depthwise")
            if direct and alone and readers[name] == 1:
                fused.add(name)
        return fused

    def _edge(self, step: Convolution, part: Part) -> int:
        """How far the windows of a layer reach beyond a map."""
        a, edge = step.node.attrs, 0
        size, out = self.plan.sizes[part.source][2:], self.plan.sizes[step.node.name][2:]
        for k in (0, 1):
            span = (step.whole.levels.shape[2 + k] - 1) * a["dilation"][k]
            last = (out[k] - 1) * a["stride"][k] - a["padding"][k] + span
            beyond = last // part.scale[k] - size[k] + 1
            edge = max(edge, beyond, -(-a["padding"][k] // part.scale[k]))
        return edge

    def columns(self, first: bool) -> dict[str, Tensor]:
        """See EventCosts.columns."""
        sizes: dict[str, Sequence[int]] = {}
        for name in self.plan.senders:
            sizes[name] = (len(self.plan.ends[name]), *self.plan.sizes[name][2:])
        return self.costs.columns(sizes, first)

    def prices(self, first: bool) -> dict[str, Tensor]:
        """The columns without the events themselves, int32 [columns, segments * positions]."""
        if first not in self._prices:
            prices: dict[str, Tensor] = {}
            for name, each in self.columns(first).items():
                prices[name] = each[:, 1:].T.to(torch.int32).contiguous()
            # C keeps addresses of those of the first thread that has them.
            self._prices.setdefault(first, prices)
        return self._prices[first]


def is_common(step: Convolution, sizes: Mapping[str, Sequence[int]]) -> bool:
    """Whether a layer has the geometry of most networks. oneDNN's sums of bytes were wrong on
    processors with AMX for others, such as maps two wide, strides of 3, and dilation.
    """
    a, kernel = step.node.attrs, tuple(step.whole.levels.shape[2:])
    sides = [*sizes[step.node.inputs[0]][2:], *sizes[step.node.name][2:]]
    strides = tuple(a["stride"]) in ((1, 1), (2, 2)) and tuple(a["dilation"]) == (1, 1)
    return kernel in ((1, 1), (3, 3)) and strides and min(sides) >= LEAST_SIDE


def parameters_of(layer: WholeLayer) -> list[Tensor]:
    """Scales, bias, 1 / theta, offset and ceiling of a layer, each padded to whole vectors."""
    ceiling = layer.ceiling
    if ceiling is None:
        ceiling = torch.full_like(layer.bias, torch.inf)
    values = *layer.scales, layer.bias, layer.per_value, layer.offset, ceiling
    size = padded(len(layer.bias)) + LANES - len(layer.bias)
    return [F.pad(value, (0, size)).contiguous() for value in values]


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


class State:
    """Maps, sums and events of a photograph or a video.

    Args:
        program: What runs.
        images: Photographs or videos at once.
    """

    def __init__(self, program: Program, images: int):
        self._program, self._plan, self.images = program, program.plan, images
        # Memory that C has addresses of.
        self._memory: list[Any] = []
        self._maps: dict[str, Any] = {}
        self._sums: dict[str, Any] = {}
        self._tensors: dict[str, Tensor] = {}
        # Map -> [N, columns, 3]: see EventCosts.of.
        self._spent: dict[str, Tensor] = {}
        # What the reference has computed: senders, and other nodes in this frame.
        self._sent: dict[str, Tensor] = {}
        self._values: dict[str, Tensor] = {}
        self._changed: dict[str, bool] = {}
        self._outputs: dict[str, Tensor] = {}
        self._commands: list[tuple[int, Any, str]] = []
        # Entries of scratch for a row, and how many rows, or for a thread.
        self._lists: list[tuple[int, int | None]] = []
        self._scratch = self._scratch_sums = torch.zeros(0, dtype=torch.int32)
        # The largest |sum| that each thread has read; the first has those of the reference too.
        self._widest = torch.zeros(1)
        self._call_room = self._alone = 0
        self._build()
        self.restart()

    def restart(self) -> None:
        """Forget what was computed before."""
        self.fresh, self._dead_zone, self._lossless = True, 0.0, False
        self._sent.clear()
        self._widest.zero_()

    # ---- memory ----
    def _zeros(self, *shape: int, dtype: torch.dtype) -> Tensor:
        """Memory for C, and SLACK beyond its end."""
        memory = torch.zeros(torch.Size(shape).numel() + SLACK, dtype=dtype)
        self._memory.append(memory)
        return memory

    def _marks(self, size: Sequence[int]) -> Any:
        changed = self._zeros(self.images, *size, dtype=torch.uint8)
        row = self._zeros(self.images, size[0], dtype=torch.uint8)
        return Marks(*size, changed.data_ptr(), row.data_ptr())

    def _kept(self, value: Any) -> Any:
        """A structure or an array that others point to."""
        self._memory.append(value)
        return value

    def _map(self, name: str) -> Any:
        """The map of the image, or of what a node has sent."""
        if name in self._maps:
            return self._maps[name]
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
            memory = self._zeros(self.images, h + 2 * edge, w + 2 * edge, stride, dtype=torch.int16)
            result.edge, result.wide = edge, memory.data_ptr()
        if name in program.heard:
            result.slots = stride // 4 + MORE_SLOTS
            result.count = self._zeros(*places, dtype=torch.int16).data_ptr()
            slots = *places, result.slots
            result.group = self._zeros(*slots, dtype=torch.int16).data_ptr()
            result.delta = self._zeros(*slots, dtype=torch.int32).data_ptr()
            result.balance = self._zeros(*places, dtype=torch.int32).data_ptr()
        self._maps[name] = self._kept(result)
        return result

    def _count(self, name: str, prices: Tensor, ends: Sequence[int]) -> None:
        """Let the events of a map be counted."""
        result = self._map(name)
        result.columns, result.segments = 1 + len(prices), len(ends)
        result.ends = self._kept(torch.tensor(ends, dtype=torch.int32)).data_ptr()
        result.costs = self._kept(prices).data_ptr()
        self._spent[name] = torch.zeros(self.images, result.columns, 3, dtype=torch.int64)
        result.spent = self._spent[name].data_ptr()

    # ---- structures ----
    def _build(self) -> None:
        plan, program = self._plan, self._program
        self._map(plan.input)
        self._count(plan.input, program._shown[None], [plan.sizes[plan.input][1]])
        image = Image(ctypes.addressof(self._map(plan.input)), None, program.zero.data_ptr())
        self._image = self._kept(image)
        self._commands.append((IMAGE, image, plan.input))
        for step in plan.steps:
            if isinstance(step, Convolution) and step.kernel != "reference":
                self._add_convolution(step)
            elif isinstance(step, Neurons):
                self._add_neurons(step)
            elif isinstance(step, Pooling):
                self._add_pooling(step)
        self._steps = (Command * len(self._commands))()
        for one, (kind, what, name) in zip(self._steps, self._commands, strict=True):
            one.kind = kind
            if what is not None:
                one.what = ctypes.addressof(what)
            if kind != OUTSIDE:
                one.total = self.images * plan.sizes[name][2]
                one.rows = max(1, one.total // CHUNKS)
                one.chunks = -(-one.total // one.rows)
        self._call = Whole(len(self._steps), self.images, step=ctypes.addressof(self._steps))
        self._call.room = self._call_room

    def _by_reference(self, name: str) -> None:
        """A sender that C does not compute; it has a map where others in C read it."""
        if name in self._program.heard or name in self._program.edges:
            self._map(name)
        self._commands.append((OUTSIDE, None, name))

    def _add_convolution(self, step: Convolution) -> None:
        program, name = self._program, step.node.name
        assert step.parts is not None
        _, outs, h, w = self._plan.sizes[name]
        kernel = step.whole.levels.shape[2:]
        given = self._plan.sizes[step.node.inputs[0]][2:]
        result = Sums(at=self._marks((h, w)), window=windows(given, (h, w), step.node, kernel))
        result.kind, result.outs = KINDS.index(step.kernel), padded(outs)
        result.parts = len(step.parts)
        packed, wide = program.weights.get(name), program.wide_weights.get(name)
        parts = [self._reading(part) for part in step.parts]
        room = 0
        if packed is not None:
            for part, size in zip(parts, packed.sizes, strict=True):
                part.base = result.groups
                result.groups += size
            for part in step.parts:
                room += self._map(part.source).slots + 4
            result.room = w * (kernel.numel() * room + 4) + SLACK
            result.by_blocks = int(len(packed.memory) > MANY_WEIGHTS)
            result.weights = packed.memory.data_ptr()
            result.block, result.blocks = ctypes.addressof(packed.blocks), len(packed.blocks)
            everything = sum(self.images * padded_groups(self._plan, part) for part in step.parts)
            result.limit = MANY * everything
            rows = self.images * h if result.by_blocks else None
            self._lists.append((2 * (w + 1 + result.room), rows))
            result.outside = int(name in program.by_onednn)
        if wide is not None:
            for part, size in zip(parts, wide.sizes, strict=True):
                part.pairs = size
            result.merged, result.wide_weights = int(wide.merged), wide.memory.data_ptr()
            result.wide_block, result.wide_blocks = ctypes.addressof(wide.blocks), len(wide.blocks)
        if name in program.borders:
            rows, values = program.borders[name]
            result.border_row, result.border = rows.data_ptr(), values.data_ptr()
        result.part = ctypes.addressof(self._kept((Reading * len(parts))(*parts)))
        if name in program.fused:
            self._sums[name] = self._kept(result)
            return
        self._own_sums(name, result)
        if result.by_blocks:
            self._commands.append((LISTS, result, name))
        self._commands.append((SUMS, result, name))

    def _own_sums(self, name: str, result: Any) -> None:
        sums = self._zeros(self.images, *self._plan.sizes[name][2:], result.outs, dtype=torch.int32)
        self._tensors[name], result.sums = sums, sums.data_ptr()
        self._sums[name] = self._kept(result)

    def _reading(self, part: Part) -> Any:
        source = self._map(part.source)
        low, high = part.first // 4, -(-(part.first + part.channels) // 4)
        at = ctypes.addressof(source) + Map.at.offset
        return Reading(ctypes.addressof(source), at, *part.scale, part.first, 0, low, high)

    def _value(self, name: str) -> Any:
        """The sums of a node that the reference computes, which neurons in C read."""
        if name not in self._sums:
            _, channels, h, w = self._plan.sizes[name]
            result = Sums(at=self._marks((h, w)), kind=KINDS.index("reference"))
            result.outs = padded(channels)
            self._own_sums(name, result)
            self._commands.append((OUTSIDE, result, name))
        return self._sums[name]

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
            self._fuse(result, self._sums[terms[0]])
        self._commands.append((NEURONS, self._kept(result), name))

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
        return parts[0] if source in self._maps and source != self._plan.input else None

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
        self._commands.append((POOLING, self._kept(result), name))

    # ---- a frame ----
    def step(
        self, image: Tensor, dead_zone: float = 0.0, lossless: bool = False, maps: bool = False
    ) -> Counted:
        """Compute a photograph, where nothing was computed before, or the next frame.

        Args:
            image: Bytes [N, 3, H, W].
            dead_zone: Of the neurons in a later frame, in thetas.
            lossless: Whether a later frame rounds values as a photograph does.
            maps: Whether to say where events were.
        """
        pixels = image.movedim(1, -1).contiguous()
        self._image.bytes, call = pixels.data_ptr(), self._call
        call.fresh = int(self.fresh)
        smaller = dead_zone < self._dead_zone or (lossless and not self._lossless)
        call.everywhere = int(self.fresh or smaller)
        call.anew, call.due = int(lossless), 0.5 + dead_zone if dead_zone else 0.0
        # Threads that wait for each other take longer than a small network.
        several = self._program.large and not self._alone
        call.threads = torch.get_num_threads() if several else 1
        self._prepare(maps)
        at = waited = 0
        while True:
            start = time.perf_counter_ns()
            at = library().run(ctypes.byref(call), at)
            waited += time.perf_counter_ns() - start
            if at == len(self._commands):
                break
            self._outside(*self._commands[at])
            at += 1
        self._alone = max(self._alone - 1, 0)
        if call.threads > 1 and waited > sum(step.nanoseconds for step in self._steps):
            self._alone = FRAMES_ALONE
        result = self._counted()
        self.fresh, self._dead_zone, self._lossless = False, dead_zone, lossless
        return result

    def _prepare(self, maps: bool) -> None:
        self._values.clear()
        self._changed.clear()
        size = max([room * (rows or self._call.threads) for room, rows in self._lists], default=0)
        if len(self._scratch) < size:
            self._scratch = torch.zeros(size + SLACK, dtype=torch.int32)
        if len(self._scratch_sums) < self._call_room * self._call.threads:
            self._scratch_sums = torch.zeros(
                self._call_room * self._call.threads, dtype=torch.int32
            )
        if len(self._widest) < self._call.threads:
            self._widest = F.pad(self._widest, (0, self._call.threads - len(self._widest)))
        self._call.lists, self._call.sums = self._scratch.data_ptr(), self._scratch_sums.data_ptr()
        self._call.widest = self._widest.data_ptr()
        self._counts: dict[str, Tensor] = {}
        self._spent_outside: dict[str, Tensor] = {}
        self._with_maps = maps
        # The columns of later frames are others where there are products.
        prices = self._program.prices(self.fresh)
        for name in self._spent:
            one = self._maps[name]
            one.maps = None
            if name != self._plan.input:
                one.costs = prices[name].data_ptr()
            if maps and name != self._plan.input:
                shape = 3 * self.images, len(self._plan.ends[name]), *self._plan.sizes[name][2:]
                self._counts[name] = torch.zeros(shape)
                one.maps = self._counts[name].data_ptr()

    def _outside(self, kind: int, what: Any, name: str) -> None:
        """What the reference computes."""
        step = self._program.steps[name]
        if kind == SUMS:
            assert isinstance(step, Convolution) and step.parts is not None
            start = time.process_time_ns()
            self._absorb(what, name, step.whole.exact(self._bytes(step.parts)))
            spent = time.process_time_ns() - start
            what.dense = min(what.dense or spent, spent)
        elif what is None:
            assert isinstance(step, Neurons | Pooling)
            self._send(step)
        elif self.fresh or self._has_changed(name):
            self._absorb(what, name, self.value(name))
        else:
            self._fill_marks(what, name, 0)

    def _absorb(self, sums: Any, name: str, value: Tensor) -> None:
        """Whole numbers [N, C, H, W] become the sums of a node."""
        if value.dtype == torch.float64:
            self._view(name, sums.outs).copy_(value)
        else:
            rows = value.movedim(1, -1).contiguous()
            channels = rows.shape[-1]
            given = rows.data_ptr(), rows.numel() // channels, channels
            library().absorb(ctypes.byref(sums), *given)
        self._fill_marks(sums, name, 1)

    def _fill_marks(self, sums: Any, name: str, value: int) -> None:
        at, rows = sums.at, self.images * sums.at.h
        ctypes.memset(at.changed, value, rows * at.w)
        ctypes.memset(at.row, value, rows)

    def _send(self, step: Neurons | Pooling) -> None:
        """A sender that the reference computes."""
        name, before = step.node.name, self._sent.get(step.node.name)
        read = step.terms if isinstance(step, Neurons) else step.node.inputs
        asked = self._call.everywhere and isinstance(step, Neurons)
        changed = asked or self._with_maps or any(self._has_changed(one) for one in read)
        columns = self._program.columns(self.fresh)[name]
        if before is not None and not changed:
            k, spent = before, columns.new_zeros(3 * self.images, columns.shape[1])
        else:
            values = [self.value(one) for one in read]
            if isinstance(step, Neurons):
                self._see(widest_read(step, self.value))
            in_c = name in self._program.softmaxes and not self._with_maps
            if isinstance(step, Neurons) and in_c:
                k, counts = self._softmax(step, values[0], before)
                spent = counts[:, None] * columns[0]
            else:
                k = self._reference(step, values, before)
                self._counts[name] = counts = events(self._plan, name, k, before)
                spent = counts.flatten(1).double() @ columns
        self._sent[name], self._spent_outside[name] = k, spent
        self._changed[name] = before is None or bool(spent.any())
        if name in self._maps:
            given = (k + ZERO).to(torch.uint8).movedim(1, -1).contiguous()
            parameters = ctypes.byref(self._call), ctypes.byref(self._maps[name])
            library().receive(*parameters, given.data_ptr())

    def _reference(
        self, step: Neurons | Pooling, values: Sequence[Tensor], before: Tensor | None
    ) -> Tensor:
        """What a sender has sent by now, in PyTorch."""
        if not isinstance(step, Neurons):
            return move(step.node, values)
        dead_zone = max(self._call.due - 0.5, 0.0)
        old = None if self._call.anew else before
        return fire(values, step.layer, old, 0.0 if self.fresh else dead_zone)

    def _softmax(
        self, step: Neurons, value: Tensor, before: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What the neurons of a softmax have sent by now, and their events, [3 * N]."""
        sums = value.contiguous()
        old = torch.zeros_like(sums) if before is None else before
        k, counts = torch.empty_like(sums), torch.zeros(self.images, 3, dtype=torch.int64)
        layer = layer_of(step, self._program.layers[step.node.name])
        size = (ctypes.c_int64 * 4)(*sums.shape)
        given = ctypes.byref(self._call), ctypes.byref(layer), size
        library().softmax(*given, *[x.data_ptr() for x in (sums, old, k, counts)])
        return k, counts.T.flatten().double()

    def _see(self, widest: Tensor) -> None:
        """Remember the largest |sum| that was read outside of C."""
        self._widest[0].clamp_(min=widest)

    def _has_changed(self, name: str) -> bool:
        """Whether the value of a node differs from the frame before."""
        if name not in self._changed:
            step = self._program.steps[name]
            if name in self._maps and name not in self._sent:
                self._changed[name] = self._maps[name].changes > 0
            else:
                self._changed[name] = any(self._has_changed(one) for one in step.node.inputs)
        return self._changed[name]

    def value(self, name: str) -> Tensor:
        """A node's whole numbers, float32 [N, C, ...]."""
        if name in self._sent:
            return self._sent[name]
        if name not in self._values:
            self._values[name] = self._compute(name)
        return self._values[name]

    def _compute(self, name: str) -> Tensor:
        step = self._program.steps[name]
        if name in self._maps:
            value = self._bytes_of(name).float()
            if name == self._plan.input:
                return value - self._program.zero.float()[:, None, None]
            return value - ZERO
        if isinstance(step, Convolution):
            if step.kernel == "reference":
                return step.whole(self.value(step.node.inputs[0]))
            return self._view(name, self._sums[name].outs).float()
        return move(step.node, [self.value(one) for one in step.node.inputs])

    def _view(self, name: str, stride: int) -> Tensor:
        """Memory of C as [N, C, H, W]."""
        _, channels, h, w = self._plan.sizes[name]
        size = self.images * h * w * stride
        rows = self._tensors[name][:size].view(self.images, h, w, stride)
        return rows[..., :channels].movedim(-1, 1)

    def _bytes_of(self, name: str) -> Tensor:
        one = self._maps[name]
        return self._view(name, one.channels if name == self._plan.input else one.stride)

    def _bytes(self, parts: Iterable[Part]) -> Tensor:
        """What a layer reads, bytes [N, C, H, W]."""
        pieces: list[Tensor] = []
        for part in parts:
            piece = self._bytes_of(part.source)[:, part.first : part.first + part.channels]
            for axis, times in zip((2, 3), part.scale, strict=True):
                if times > 1:
                    piece = piece.repeat_interleave(times, axis)
            pieces.append(piece)
        return torch.cat(pieces, 1)

    def _counted(self) -> Counted:
        plan = self._plan
        for name, terms in plan.outputs.items():
            if self.fresh or name not in self._outputs or self._has_changed(name):
                values = {term: self.value(term) for term in terms}
                # Values lie channels last, where torch is many times faster.
                every = [largest(value.movedim(1, -1)) for value in values.values()]
                self._see(torch.stack(every).max())
                self._outputs[name] = plan.parameters.output(name, values)
        outputs = tuple([self._outputs[name] for name in plan.outputs])
        # What senders in C have counted, [senders, 3 * N, columns].
        counted = [name for name in plan.senders if name in self._spent]
        spent: dict[str, Tensor] = {}
        if counted:
            every = torch.stack([self._spent[name] for name in counted]).double()
            rows = every.permute(0, 3, 1, 2).flatten(1, 2).unbind()
            spent = dict(zip(counted, rows, strict=True))
        spent |= self._spent_outside
        shown = None
        if not self.fresh:
            values, operations = self._spent[plan.input][:, :, 0].double().unbind(1)
            shown = values, operations
        return Counted(outputs, spent, shown, self._counts, self._widest.max().item())

    def sent(self) -> dict[str, Tensor]:
        """What the image and all senders have sent by now: whole numbers."""
        return {name: self.value(name).clone() for name in (self._plan.input, *self._plan.senders)}


def padded_groups(plan: Plan, part: Part) -> int:
    """Groups of four channels of the map of a part."""
    _, channels, h, w = plan.sizes[part.source]
    return padded(channels) // 4 * h * w
