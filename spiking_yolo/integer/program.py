"""What the states of a plan in C share: packed weights, and how each layer is computed."""

from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.integer import packing
from spiking_yolo.integer.convolution import has_exact_int8
from spiking_yolo.integer.library import LANES, ZERO, has_amx
from spiking_yolo.integer.neuron import WholeLayer
from spiking_yolo.integer.packing import PackedWeights, padded
from spiking_yolo.integer.plan import Convolution, Neurons, Part, Plan
from spiking_yolo.spikes.operations import EventCosts, total_macs

# Multiply-accumulates from which threads share the work.
LARGE = 20_000_000
# Maps of smaller sides are left to C.
LEAST_SIDE = 8


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
        # Layers that oneDNN computes where they are computed everywhere, on processors with AMX.
        self.by_onednn: set[str] = set()
        self.strides = {name: padded(plan.sizes[name][1]) for name in plan.senders}
        self.strides[plan.input] = 4
        self.weights: dict[str, PackedWeights] = {}
        self.direct_weights: dict[str, PackedWeights] = {}
        self.borders: dict[str, tuple[Tensor, Tensor]] = {}
        self.offsets: dict[str, Tensor] = {}
        # Map -> rows and columns around it that layers read, and what stands for 0 in its cells.
        self.edges: dict[str, int] = {}
        self.zero = plan.parameters.input_zero.to(torch.int32)
        self.zeros = {name: torch.full((plan.sizes[name][1],), ZERO) for name in plan.senders}
        self.zeros[plan.input] = self.zero
        if not packing.has_cells_of_bytes():
            self.zeros = {name: 0 * zero for name, zero in self.zeros.items()}
        # Maps whose events layers read.
        self.heard: set[str] = set()
        self.layers: dict[str, list[Tensor]] = {}
        for step in plan.steps:
            if isinstance(step, Convolution) and step.kernel != "reference":
                self._pack(step)
            if isinstance(step, Neurons) and (step.in_c or step.layer.phi.softmax):
                self.layers[step.node.name] = parameters_of(step.layer)
        self.fused = self._all_fused()
        self._prices: dict[bool, dict[str, Tensor]] = {}
        self._shown = shown.to(torch.int32).flatten().contiguous()

    def _pack(self, step: Convolution) -> None:
        name, parts = step.node.name, step.parts
        assert parts is not None
        size = self.plan.sizes[step.node.inputs[0]][2:]
        common = step.kernel == "events" and is_common(step, self.plan.sizes)
        if common and has_amx() and has_exact_int8() and step.whole.bytes_are_exact(size):
            self.by_onednn.add(name)
        if step.kernel == "events":
            self.weights[name] = packing.by_groups(step)
            self.heard.update([part.source for part in parts])
        if step.kernel == "depthwise":
            self.direct_weights[name] = packing.by_channels(step)
        elif name not in self.by_onednn:
            self.direct_weights[name] = packing.by_runs(step, self.strides[parts[0].source])
        border = packing.border_of(step)
        if border is not None:
            self.borders[name] = border
        if name in self.direct_weights:
            self.offsets[name] = packing.offset_of(step, self.zeros)
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
