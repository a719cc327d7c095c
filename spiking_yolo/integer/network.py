"""A network of whole numbers: each layer sends all that is due, so one step is complete."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.graph import Graph, own_dtypes
from spiking_yolo.integer.execute import Frame, events, execute, widest_sum
from spiking_yolo.integer.library import library
from spiking_yolo.integer.plan import Neurons, compile
from spiking_yolo.integer.program import Program
from spiking_yolo.integer.state import Counted, State
from spiking_yolo.models.spec import Spec
from spiking_yolo.recipe import Recipe
from spiking_yolo.spikes.layout import NeuronParameters
from spiking_yolo.spikes.operations import EventCosts, fan_out, macs, spiking, total_macs
from spiking_yolo.spikes.plan import NetworkPlan
from spiking_yolo.spikes.readout import Run, Snapshot, checked_times


class IntegerNetwork:
    """Weights of 8 bits, events of 8 bits, exact sums; see the package.

    Args:
        graph: The ANN.
        neurons: Activation -> theta, initial and perhaps bias and rest of its neurons, [C] each;
            output -> bias.
        recipe: The method, whose layers send complete values.
        spec: Its interface: the network sees (byte / 255 - mean) / std.
        device: Where it runs.
        fast: Whether the program in C may be used. The results are the same.

    Raises:
        UserError: The network has a sum of maps that is read by other than neurons and layers.
    """

    @own_dtypes()
    def __init__(
        self,
        graph: Graph,
        neurons: NeuronParameters,
        recipe: Recipe,
        spec: Spec,
        device: torch.device | str = "cpu",
        fast: bool = True,
    ):
        self._given = graph, neurons, recipe, spec, device, fast
        self.recipe, self.device = recipe, torch.device(device)
        # The ANN with neurons where they are, and as it is computed.
        self.graph = NetworkPlan(graph, recipe).graph
        self.plan = compile(graph, neurons, recipe, spec, device)
        self.fast = fast and self.device.type == "cpu" and library() is not None
        plan = self.plan
        self.neurons: dict[str, int] = {}
        for step in plan.steps:
            if isinstance(step, Neurons):
                self.neurons[step.node.name] = math.prod(plan.sizes[step.node.name][1:])
        self.costs = EventCosts(plan.counted, plan.sizes)
        self._macs = total_macs(plan.counted, plan.sizes, plan.senders)
        carrying = spiking(plan.counted, plan.senders)
        analogue = [one for one in plan.counted.layers if one.inputs[0] not in carrying]
        self._of_image = [node for node in analogue if node.inputs[0] == plan.input]
        # Multiply-accumulates of other layers with analogue input.
        self._of_analogue = 0
        for node in analogue:
            if node not in self._of_image:
                self._of_analogue += macs(plan.counted, node, plan.sizes)
        self._hears = self._all_heard()
        # States of photographs that no call uses now, by their number.
        self._idle: dict[int, list[State | Reference]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy or a pickle is made anew: weights lie as kernels want them."""
        return type(self), self._given

    @cached_property
    def program(self) -> Program:
        """The plan in C."""
        return Program(self.plan, self.costs, self.price_of_pixels())

    def price_of_pixels(self) -> Tensor:
        """Multiply-accumulates that a value of each pixel causes in layers that read the image,
        float64 [H, W].
        """
        plan = self.plan
        price = torch.zeros(plan.sizes[plan.input][2:], dtype=torch.float64)
        for node in self._of_image:
            weight = plan.counted.tensors[f"{node.name}.weight"].cpu()
            price += fan_out(node, weight, *price.shape)
        return price

    def _all_heard(self) -> Tensor:
        """Which senders, or the image, which is the last, each layer of neurons hears."""
        plan = self.plan
        sources = [*plan.senders, plan.input]
        number = {name: k for k, name in enumerate(sources)}
        heard: dict[str, set[int]] = {plan.input: {number[plan.input]}}
        rows: list[Tensor] = []
        for node in plan.counted.nodes[1:]:
            arrives = set[int]().union(*[heard[name] for name in node.inputs])
            if node.op == "activation":
                rows.append(torch.zeros(len(sources), dtype=torch.float64))
                rows[-1][list(arrives)] = 1
            heard[node.name] = {number[node.name]} if node.name in number else arrives
        return torch.stack(rows)

    @own_dtypes()
    def start(self, images: int = 1, kept: bool = True) -> "State | Reference":
        """The state of so many videos, before their first frame.

        kept: Whether later frames follow; photographs have none.
        """
        return State(self.program, images, kept) if self.fast else Reference(self, images)

    @own_dtypes()
    @torch.no_grad()
    def run(
        self,
        x: Tensor,
        T: int = 1,
        steps: Iterable[int] = (),
        *,
        state: "State | Reference | None" = None,
        dead_zone: float = 0.0,
        lossless: bool = False,
        maps: bool = False,
        probes: Iterable[Any] = (),
        progress: Callable[[int], Any] | None = None,
    ) -> Run:
        """Photographs, or the next frames of videos: complete at T = 1, and the same afterwards.

        Args:
            x: Images, [N, 3, H, W]: bytes, or as the ANN takes them, which are rounded to bytes.
            T: Number of timesteps.
            steps: Where to take snapshots, besides T.
            state: The videos' state, from `start`, which is changed; None for photographs.
            dead_zone: The dead zone of neurons in a later frame, in thetas.
            lossless: Whether a later frame has the bits that it would have as a photograph.
            maps: Snapshots say where events are, and which layers receive them.
            probes: None: those are of SpikingNetwork.
            progress: progress(1), called at the end.
        """
        if tuple(probes):
            raise ValueError("probes look at steps of a SpikingNetwork")
        times = checked_times(T, steps, 0)
        image = self.plan.parameters.as_bytes(x)
        own = state
        if own is None:
            own = self._take(len(x))
        first, options = own.fresh, (dead_zone, lossless, maps)
        counted = own.step(image, *options)
        if state is None:
            own.restart()
            self._idle.setdefault(len(x), []).append(own)
        snapshot, analogue = self._snapshot(counted, len(x), first, maps)
        snapshots = {t: replace(snapshot, t=t) for t in times}
        if progress is not None:
            progress(1)
        wide = potential_bytes(counted.widest)
        return Run(snapshots, self.neurons, 1, self._macs[0], analogue, 1, potential_bytes=wide)

    def sent(self, x: Tensor) -> Mapping[str, Tensor]:
        """What the image and each sender send for photographs, [N, 3, H, W]: whole numbers."""
        state = self.start(len(x))
        self.run(x, state=state)
        return state.sent()

    def _take(self, images: int) -> "State | Reference":
        """A state for photographs."""
        try:
            return self._idle[images].pop()
        except (KeyError, IndexError):
            return self.start(images, kept=False)

    def _snapshot(
        self, counted: Counted, images: int, first: bool, maps: bool
    ) -> tuple[Snapshot, int]:
        """What a step has cost, and multiply-accumulates of layers with analogue input."""
        active = torch.ones(images, dtype=torch.int64, device=self.device)
        updates = torch.full_like(active, sum(self.neurons.values())).double()
        analogue = self._macs[1]
        if counted.shown is not None:
            values, operations = counted.shown
            analogue = 0
            if values.any():
                analogue = self._of_analogue + round(operations.mean().item())
            sent = torch.stack([counted.spent[name] for name in self.plan.senders])
            messages = torch.cat((sent[:, -images:, 0], values.to(updates)[None]))
            arrives = (self._hears.to(updates) @ (messages > 0).double()) > 0
            sizes = torch.tensor(list(self.neurons.values()), dtype=torch.float64)
            updates = sizes.to(updates) @ arrives.double()
        spent = counted.maps, self.costs, updates, active, self.neurons
        options = {"first": first, "maps": maps, "spent": counted.spent}
        own = Snapshot.of(1, counted.outputs, *spent, **options)
        return own, analogue


def potential_bytes(widest: float) -> int:
    """Bytes of a potential that holds a whole number of this size and its sign."""
    return -(-(int(widest).bit_length() + 1) // 8)


class Reference:
    """The state of photographs or videos whose plan PyTorch executes.

    Attributes:
        images: Photographs or videos at once.
        frame: What was computed last.
    """

    def __init__(self, network: IntegerNetwork, images: int = 1):
        self._network, self.images = network, images
        self.frame: Frame | None = None
        self._widest = 0.0

    def restart(self) -> None:
        """Forget what was computed before."""
        self.frame, self._widest = None, 0.0

    @property
    def fresh(self) -> bool:
        """Whether nothing was computed before."""
        return self.frame is None

    def step(
        self, image: Tensor, dead_zone: float = 0.0, lossless: bool = False, maps: bool = False
    ) -> Counted:
        """See State.step; maps are always there."""
        plan, before = self._network.plan, self.frame
        whole = plan.parameters.whole(image)
        frame = execute(plan, whole, before, dead_zone, lossless)
        self._widest = max(self._widest, widest_sum(plan, frame.values))
        counts: dict[str, Tensor] = {}
        for name in plan.senders:
            old = None if before is None else before.sent[name]
            counts[name] = events(plan, name, frame.sent[name], old)
        spent = self._network.costs.of(counts, before is None)
        shown = None
        if before is not None:
            values = (whole != before.sent[plan.input]).sum(1).double()
            price = self._network.price_of_pixels().to(values)
            shown = values.sum((1, 2)), (values * price).sum((1, 2))
        self.frame = replace(frame, values={})
        return Counted(frame.outputs, spent, shown, counts, self._widest)

    def sent(self) -> Mapping[str, Tensor]:
        """What the image and all senders have sent by now: whole numbers."""
        assert self.frame is not None
        return self.frame.sent
