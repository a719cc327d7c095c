"""A network of whole numbers: each layer sends all that is due, so one step is complete."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from spiking_yolo.graph import Graph, Node, shapes
from spiking_yolo.graph.rewrites import distribute_sums, terms
from spiking_yolo.integer.convolution import ZERO
from spiking_yolo.integer.kernels import NeuronKernel
from spiking_yolo.integer.memory import Memory, changed_at, reached_windows, united
from spiking_yolo.integer.moves import move, pools_in_pairs, whole
from spiking_yolo.integer.neuron import LARGEST, fire
from spiking_yolo.integer.parameters import NetworkParameters, Neurons
from spiking_yolo.integer.segments import of_segments, segments
from spiking_yolo.models.spec import Spec
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.counting import Counts, count_binary_digits, count_digits
from spiking_yolo.snn.layout import channels_last
from spiking_yolo.snn.operations import spiking, total_macs
from spiking_yolo.snn.plan import NetworkPlan
from spiking_yolo.snn.readout import Run, Snapshot, checked_times


@dataclass(frozen=True)
class Frame:
    """What a network did in one step.

    Attributes:
        sent: What the image and each node that sends events have sent by now: whole numbers, or
            bytes n + 128.
        events: Sender -> events of this step at each position, float32 [N, 1, ...] each, or
            [N, segments, ...] where slices of them are taken.
        outputs: Head tensors in values of the ANN, [N, ...].
        dead_zone: Of the neurons in this frame.
        memory: Of a video; None after a photograph or a first frame.
    """

    sent: Mapping[str, Tensor]
    events: Mapping[str, Counts]
    outputs: tuple[Tensor, ...]
    dead_zone: float = 0.0
    memory: Memory | None = None


class IntegerNetwork(nn.Module):
    """Weights of 8 bits, events of 8 bits, exact sums; see the package.

    `graph` is the network with the neurons where they are, `counted` as its events are counted.

    Args:
        graph: The ANN.
        neurons: Activation -> theta, initial and perhaps bias and rest of its neurons, [C] each;
            output -> bias.
        recipe: The method, whose layers send complete values.
        spec: Its interface: the network sees (byte / 255 - mean) / std.
        device: Where it runs.
        fast: Whether the kernels for processors may be used. The results are the same.

    Raises:
        UserError: The network has a sum of maps that is read by other than neurons and layers.
    """

    def __init__(
        self,
        graph: Graph,
        neurons: Neurons,
        recipe: Recipe,
        spec: Spec,
        device: torch.device | str = "cpu",
        fast: bool = True,
    ):
        super().__init__()
        self._given = graph, neurons, recipe, spec, device, fast
        device = torch.device(device)
        fast = fast and device.type == "cpu"
        self.recipe, self.fast = recipe, fast
        plan = NetworkPlan.of(graph, recipe)
        self.graph = plan.graph
        self._computed = distribute_sums(plan.graph)
        self.sizes = shapes(plan.graph, spec.height, spec.width)
        self.parameters_of = NetworkParameters(self._computed, neurons, recipe.neuron, spec).to(
            device
        )
        self.layers = self.parameters_of.layers
        self._input = self._computed.nodes[0].name
        # The byte of no events is another one, so that only layers with weights read the image's.
        readers = self._computed.consumers()[self._input]
        self._image_as_bytes = fast and all(node.weighted for node in readers)
        carrying = spiking(self._computed, self.layers)
        pools = [node.name for node in self._computed.nodes if node.op == "max_pool"]
        # Max pooling of what neurons have sent, whose maxima travel.
        self._pools = [name for name in pools if name in carrying]
        self.senders = (*self.layers, *self._pools)
        self.neurons = {name: math.prod(self.sizes[name][1:]) for name in self.layers}
        self._activations = sum(self.sizes[one][1:].numel() for one in plan.sources)
        channels = {name: size[1] for name, size in self.sizes.items()}
        self.ends = segments(plan.graph, channels, self.senders, plan.sliced)
        self.counted = of_segments(plan.graph, self.ends)
        self._macs = total_macs(self.counted, self.sizes, self.senders)
        self._digits = count_digits
        if recipe.neuron_kind.events == "digits":
            self._digits = count_binary_digits
        self._kernels: dict[str, NeuronKernel] = {}
        # Layers of neurons that pool what they read themselves.
        self._pooling: dict[str, Node] = {}
        for name, layer in self.layers.items():
            if fast and NeuronKernel.serves(layer):
                self._kernels[name] = NeuronKernel(layer, self.ends[name])
                pool = self._computed[self._computed[name].inputs[0]]
                if name in plan.sums and pools_in_pairs(pool, self.sizes[pool.inputs[0]]):
                    self._pooling[name] = pool
        self._computed = _without(self._computed, self._pooling)
        # Layers of neurons -> the maps whose sum they read.
        self._terms = {
            name: terms(self._computed, self._computed[name].inputs[0]) for name in self.layers
        }
        self._releases = _releases(self._computed, {*self.senders, self._input})

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy or a pickle is made anew: weights lie as kernels want them."""
        return type(self), self._given

    def forward(self, x: Tensor, before: Frame | None = None, dead_zone: float = 0.0) -> Frame:
        """One step: a photograph, or the next frame of videos.

        Args:
            x: Images as the ANN takes them, [N, C, H, W]; they are rounded to bytes.
            before: The frame before; None for a photograph, or a first frame.
            dead_zone: Of the neurons in a later frame, in thetas.
        """
        old = {} if before is None else before.sent
        memory = self._memory(before)
        values: dict[str, Tensor] = {}
        events: dict[str, Counts] = {}
        for node in self._computed.nodes:
            name = node.name
            if node.op == "input":
                values[name] = self.parameters_of.bytes_of(x, self._image_as_bytes)
            elif node.op == "activation":
                where = None
                if memory is not None and before is not None and dead_zone >= before.dead_zone:
                    where = self._reached(node, memory)
                sent = values, old.get(name), dead_zone, where
                values[name], events[name] = self._fire(node, *sent)
                if memory is not None and where is not None:
                    memory.changed[name] = where[changed_at(values[name], old[name], where)]
            elif node.weighted:
                convolution, source = self.parameters_of.convolutions[name], node.inputs[0]
                zero = ZERO * (source != self._input)
                if memory is None:
                    values[name] = convolution(values[source], zero)
                else:
                    values[name] = memory.sums(name, convolution, source, values[source], zero)
            elif node.op != "add":
                values[name] = move(node, [values[source] for source in node.inputs])
            if name in self._pools:
                events[name] = self._counts(name, values[name], old.get(name))
            for used in self._releases[name]:
                values.pop(used, None)
        outputs = tuple(
            [self.parameters_of.output(name, values) for name in self._computed.outputs]
        )
        sent = {name: values[name] for name in (self._input, *self.senders)}
        if memory is not None:
            memory.owner = sent
        return Frame(sent, events, outputs, dead_zone, memory)

    def _memory(self, before: Frame | None) -> Memory | None:
        """What later frames of a video know of the sums in the frame before."""
        if before is None or not self.fast:
            return None
        memory = before.memory
        if memory is None or memory.owner is not before.sent:
            memory = Memory(self.parameters_of.convolutions)
        memory.changed.clear()
        return memory

    def _reached(self, node: Node, memory: Memory) -> Tensor | None:
        """The positions of neurons that may have received something; None: any."""
        if node.name not in self._kernels:
            return None
        places = list(map(memory.changed.get, self._terms[node.name]))
        where = united(places)
        if where is not None and node.name in self._pooling:
            where = reached_windows(where, self.sizes[self._pooling[node.name].inputs[0]][3])
        return where

    def _fire(
        self,
        node: Node,
        values: Mapping[str, Tensor],
        before: Tensor | None,
        dead_zone: float,
        where: Tensor | None,
    ) -> tuple[Tensor, Counts]:
        """What a layer of neurons has sent by now, and its events in this step."""
        name = node.name
        sums = list(map(values.__getitem__, self._terms[name]))
        kernel = self._kernels.get(name)
        if kernel is not None and kernel.takes(sums, before):
            sent, spent = kernel(sums, before, name in self._pooling, dead_zone, where)
            return sent, Counts(*spent.unbind(2))
        if name in self._pooling:
            sums = [move(self._pooling[name], sums)]
        old = None if before is None else whole(before)
        sent = fire(list(map(whole, sums)), self.layers[name], old, dead_zone)
        if self.fast and sent.ndim == 4 and self.parameters_of.units[name].largest <= LARGEST:
            # As bytes, as the kernels have them.
            sent = channels_last((sent + ZERO).to(torch.uint8))
        return sent, self._counts(name, sent, before)

    def _counts(self, name: str, sent: Tensor, before: Tensor | None) -> Counts:
        """Events of a sender that had sent `before`."""
        size = whole(sent)
        if before is not None:
            size = size - whole(before)
        size = size.abs()
        counts = Counts(size, self._digits(size), size.clamp(max=1))
        if len(self.ends[name]) == 1:
            return Counts.of(lambda count: count.sum(1, keepdim=True), counts)
        starts = [0, *self.ends[name][:-1]]
        parts = [slice(*part) for part in zip(starts, self.ends[name], strict=True)]
        return Counts.of(
            lambda count: torch.stack([count[:, part].sum(1) for part in parts], 1), counts
        )

    @torch.no_grad()
    def run(
        self,
        x: Tensor,
        T: int = 1,
        steps: Iterable[int] = (),
        *,
        before: Frame | None = None,
        dead_zone: float = 0.0,
        maps: bool = False,
        probes: Iterable[Any] = (),
        progress: Callable[[int], Any] | None = None,
    ) -> Run:
        """Photographs, or the next frames of videos: complete at T = 1, and the same afterwards.

        Args:
            x: Images, [N, C, H, W].
            T: Number of timesteps.
            steps: Where to take snapshots, besides T.
            before: The frame before, of the same videos; None for photographs and first frames.
            dead_zone: Of the neurons in a later frame, in thetas.
            maps: Snapshots carry spike maps.
            probes: None: those are of SpikingNetwork.
            progress: progress(1), called at the end.

        Returns:
            The run; its `frame` is what the next one needs to know.
        """
        if tuple(probes):
            raise ValueError("probes look at steps of a SpikingNetwork")
        times = checked_times(T, steps, 0)
        frame = self.forward(x, before, dead_zone)
        counts = {name: events.stacked() for name, events in frame.events.items()}
        updates = x.new_full((len(x),), sum(self.neurons.values()), dtype=torch.float64)
        macs = self._macs
        first: Mapping[str, Tensor] | None = counts
        if before is not None:
            changed = whole(frame.sent[self._input]) != whole(before.sent[self._input])
            shown, first = changed.sum(1, keepdim=True), None
            updates = self._updates(frame.events, x, shown)
            macs = total_macs(self.counted, self.sizes, self.senders, shown)
        active = torch.ones(len(x), dtype=torch.int64, device=x.device)
        costs = counts, self.sizes, updates, active, self.neurons, first
        snapshot = Snapshot.of(self.counted, 1, frame.outputs, *costs, maps=maps)
        snapshots = {t: replace(snapshot, t=t) for t in times}
        if progress is not None:
            progress(1)
        return Run(snapshots, self.neurons, self._activations, 1, *macs, 1, frame)

    def _updates(self, events: Mapping[str, Counts], x: Tensor, shown: Tensor) -> Tensor:
        """Neurons of layers that received something in a later frame, float64 [N]. shown: See
        total_macs.
        """
        updates = x.new_zeros(len(x), dtype=torch.float64)
        # Node -> images in which it hands on something.
        heard: dict[str, Tensor] = {}
        for node in self.counted.nodes:
            if node.op == "input":
                heard[node.name] = shown.flatten(1).any(1)
                continue
            arrived = torch.stack([heard[name] for name in node.inputs]).any(0)
            if node.op == "activation":
                updates += arrived * self.neurons[node.name]
            if node.name in events:
                arrived = events[node.name].messages.flatten(1).any(1)
            heard[node.name] = arrived
        return updates


def _without(graph: Graph, pooling: Mapping[str, Node]) -> Graph:
    """The graph whose neurons read what the max pooling before them would."""
    gone = {node.name for node in pooling.values()}
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.name in pooling:
            node = replace(node, inputs=pooling[node.name].inputs)
        if node.name not in gone:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def _releases(graph: Graph, kept: set[str]) -> dict[str, Sequence[str]]:
    """Node -> the values that nobody needs after it."""
    last: dict[str, str] = {}
    for node in graph.nodes:
        for name in node.inputs:
            last.update(dict.fromkeys(terms(graph, name), node.name))
            last[name] = node.name
    releases: dict[str, list[str]] = {node.name: [] for node in graph.nodes}
    for name in last.keys() - kept - set(graph.outputs):
        releases[last[name]].append(name)
    return {name: tuple(values) for name, values in releases.items()}
