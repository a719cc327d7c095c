"""A network of whole numbers: each layer sends all that is due, so one step is complete."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from spiking_yolo.graph import Graph, Node, shapes
from spiking_yolo.graph.rewrites import distribute_sums, terms
from spiking_yolo.integer.kernels import NeuronKernel, Windows, library
from spiking_yolo.integer.parameters import NetworkParameters
from spiking_yolo.integer.step import Frame, Step, pools_in_pairs
from spiking_yolo.models.spec import Spec
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.counting import Counts, count_binary_digits, count_digits
from spiking_yolo.snn.layout import NeuronParameters
from spiking_yolo.snn.operations import EventCosts, macs, spiking, synaptic_operations, total_macs
from spiking_yolo.snn.plan import NetworkPlan
from spiking_yolo.snn.readout import Run, Snapshot, checked_times


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
        neurons: NeuronParameters,
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
        plan = NetworkPlan(graph, recipe)
        self.graph, self.computed = plan.graph, distribute_sums(plan.graph)
        size = spec.height, spec.width
        self.sizes = shapes(self.computed, *size) | shapes(plan.graph, *size)
        parameters = NetworkParameters(self.computed, neurons, recipe.neuron, spec)
        self.parameters_of = parameters.to(device)
        self.layers = self.parameters_of.layers
        self.input = self.computed.nodes[0].name
        # The byte of no events is another one, so that only layers with weights read the image's.
        readers = self.computed.consumers()[self.input]
        self.image_as_bytes = fast and all(node.weighted for node in readers)
        carrying = spiking(self.computed, self.layers)
        # Neurons, and max pooling of what neurons have sent, whose maxima travel.
        self.senders: list[str] = []
        for node in self.computed.nodes:
            if node.op == "activation" or (node.op == "max_pool" and node.name in carrying):
                self.senders.append(node.name)
        self.neurons = {name: math.prod(self.sizes[name][1:]) for name in self.layers}
        channels = {name: size[1] for name, size in self.sizes.items()}
        self.ends = segments(plan.graph, channels, self.senders, plan.sliced)
        self.counted = of_segments(plan.graph, self.ends)
        self._costs = EventCosts(self.counted, self.sizes)
        self._macs = total_macs(self.counted, self.sizes, self.senders)
        carrying = spiking(self.counted, self.senders)
        self._analogue = [one for one in self.counted.layers if one.inputs[0] not in carrying]
        self.digits = count_digits
        if recipe.neuron_kind.events == "digits":
            self.digits = count_binary_digits
        # Whether kernels.c counts what was sent as bytes.
        self.counts_bytes = fast and self.digits is count_digits and library() is not None
        self.kernels: dict[str, NeuronKernel] = {}
        # Layers of neurons that pool what they read themselves.
        self.pooling: dict[str, Node] = {}
        for name, layer in self.layers.items():
            if fast and NeuronKernel.serves(layer):
                self.kernels[name] = NeuronKernel(layer, self.ends[name])
                pool = self.computed[self.computed[name].inputs[0]]
                if name in plan.sums and pools_in_pairs(pool, self.sizes[pool.inputs[0]]):
                    self.pooling[name] = pool
        self.computed = _without(self.computed, self.pooling)
        # Layers of neurons -> the maps whose sum they read.
        self.terms: dict[str, list[str]] = {}
        for name in self.layers:
            self.terms[name] = terms(self.computed, self.computed[name].inputs[0])
        # The maps that heads are, or are the sums of.
        self.heads = {one for name in graph.outputs for one in terms(self.computed, name)}
        self.windows: dict[str, Windows] = {}
        if fast and library() is not None:
            self.windows = self._all_windows()
        # Layers with weights whose sums can be computed at some positions.
        self.sparse: set[str] = set()
        for name, convolution in self.parameters_of.convolutions.items():
            if name in self.windows and convolution.attrs["groups"] == 1:
                self.sparse.add(name)
        self.releases = self._releases()

    def _all_windows(self) -> dict[str, Windows]:
        """Of convolutions and poolings, and of neurons that pool what they read."""
        found: dict[str, Windows] = {}
        nodes = {node.name: node for node in self.computed.nodes} | self.pooling
        for name, node in nodes.items():
            a = node.attrs
            if node.op == "conv" and set(a["dilation"]) == {1}:
                levels, padding = self.parameters_of.convolutions[name].levels, a["padding"]
                kernel = levels.shape[2:]
            elif node.op == "max_pool":
                kernel, padding = a["kernel"], (a["padding"][2], a["padding"][0])
            else:
                continue
            sizes = self.sizes[node.inputs[0]][2:], self.sizes[name][2:]
            found[name] = Windows(*sizes, kernel, a["stride"], padding)
        return found

    def _releases(self) -> dict[str, list[str]]:
        """Sender -> the values between senders that no later one reads."""
        last: dict[str, str] = {}

        def reads(name: str, sender: str) -> None:
            if name in self.senders or name == self.input:
                return
            last[name] = sender
            for source in self.computed[name].inputs:
                reads(source, sender)

        for sender in self.senders:
            for name in self.terms.get(sender, self.computed[sender].inputs):
                reads(name, sender)
        releases: dict[str, list[str]] = {sender: [] for sender in self.senders}
        for name in last.keys() - self.heads:
            releases[last[name]].append(name)
        return releases

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy or a pickle is made anew: weights lie as kernels want them."""
        return type(self), self._given

    def forward(
        self, x: Tensor, before: Frame | None = None, dead_zone: Tensor | float = 0.0
    ) -> Frame:
        """One step: a photograph, or the next frame of videos.

        Args:
            x: Images, uint8 [N, C, H, W], or floats as the ANN takes them, which are rounded.
            before: The frame before; None for a photograph, or a first frame.
            dead_zone: Of the neurons in a later frame, in thetas.
        """
        return Step(self, x, before, dead_zone).frame()

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
        frame = Step(self, x, before, dead_zone).frame()
        total, analogue = self._macs
        shown = frame.shown
        if shown is not None:
            analogue = self._analogue_macs(shown)
        active = torch.ones(len(x), dtype=torch.int64, device=x.device)
        updates = torch.full_like(active, sum(self.neurons.values())).double()
        spent = frame.events, self._costs, updates, active, self.neurons
        snapshot = Snapshot.of(1, frame.outputs, *spent, first=before is None, maps=maps)
        if shown is not None:
            updates = self._updates(snapshot.sent_by_layer, shown.flatten(1).any(1))
            snapshot = replace(snapshot, updates=updates)
        snapshots = {t: replace(snapshot, t=t) for t in times}
        if progress is not None:
            progress(1)
        return Run(snapshots, self.neurons, 1, total, analogue, 1, frame)

    def _analogue_macs(self, shown: Tensor) -> int:
        """Multiply-accumulates of layers with analogue input in a later frame, the mean over the
        images: a layer that reads what was computed from the input counts in full.

        Args:
            shown: Values of each pixel that are sent, [N, 1, H, W].
        """
        if not shown.any():
            return 0
        total = 0
        for node in self._analogue:
            if node.inputs[0] == self.input:
                total += round(synaptic_operations(self.counted, node, shown).mean().item())
            else:
                total += macs(self.counted, node, self.sizes)
        return total

    def _updates(self, sent: Mapping[str, Counts], shown: Tensor) -> Tensor:
        """Neurons of layers that received something in a later frame, float64 [N].

        Args:
            sent: Sender -> events of each image.
            shown: Whether a pixel of it has changed, [N].
        """
        updates = torch.zeros_like(shown, dtype=torch.float64)
        # Node -> images in which it hands on something.
        heard = {self.input: shown}
        for node in self.counted.nodes[1:]:
            arrived = heard[node.inputs[0]]
            for name in node.inputs[1:]:
                arrived = arrived | heard[name]
            if node.op == "activation":
                updates += arrived * self.neurons[node.name]
            if node.name in sent:
                arrived = sent[node.name].messages > 0
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


# Channels whose events are counted together, those that no slice tells apart, are a segment: sender
# -> where each of its segments ends.
Ends = Mapping[str, Sequence[int]]


def segments(
    graph: Graph, channels: Mapping[str, int], senders: Collection[str], sliced: Collection[str]
) -> dict[str, list[int]]:
    """Where the segments of the channels of every sender end.

    Args:
        graph: The network.
        channels: Of every node.
        senders: The nodes that send events.
        sliced: The nodes of whose events a slice is taken, directly or after other nodes.
    """
    ends: dict[str, list[int]] = {}
    for name in senders:
        cuts = {channels[name]}
        if name in sliced:
            cuts |= _cuts(graph, channels, name, senders)
        ends[name] = sorted(cut for cut in cuts if 0 < cut <= channels[name])
    return ends


def _cuts(
    graph: Graph, channels: Mapping[str, int], sender: str, senders: Collection[str]
) -> set[int]:
    """Where slices cut the channels of a sender, as far as its events move."""
    cuts: set[int] = set()
    # Node -> the channels at which those of the sender begin.
    starts: dict[str, set[int]] = {sender: {0}}
    for node in graph.nodes:
        if node.name in senders or node.multiplies:
            continue
        first, found = 0, set[int]()
        for source in node.inputs:
            found |= {start + first for start in starts.get(source, ())}
            first += channels[source] * (node.op == "concat")
        if node.op == "slice":
            every = range(channels[node.inputs[0]])
            part = every[slice(*node.attrs["slices"][0])]
            edges = (part.start, part.stop) if part.step == 1 else every
            cuts |= {edge - start for start in found for edge in edges}
            found = {start - part.start for start in found}
        starts.setdefault(node.name, found)
    return cuts


def of_segments(graph: Graph, ends: Ends) -> Graph:
    """The graph whose slices take segments of what is counted, where they took channels."""
    known = dict(ends)
    nodes: list[Node] = []
    for node in graph.nodes:
        given = [known[name] for name in node.inputs if name in known]
        if node.op == "slice" and given:
            node, known[node.name] = _sliced(node, given[0])
        elif node.name not in ends and given and len(given) == len(node.inputs):
            known[node.name] = _moved(node, given)
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def _sliced(node: Node, ends: Sequence[int]) -> tuple[Node, Sequence[int]]:
    channels, *others = node.attrs["slices"]
    part = range(ends[-1])[slice(*channels)]
    if part.step != 1:
        # Of single channels.
        return node, list(range(1, len(part) + 1))
    chosen = [k for k, end in enumerate(ends) if part.start < end <= part.stop]
    slices = [[chosen[0], chosen[-1] + 1], *others]
    node = replace(node, attrs={**node.attrs, "slices": slices})
    return node, [ends[k] - part.start for k in chosen]


def _moved(node: Node, given: Sequence[Sequence[int]]) -> Sequence[int]:
    if node.op != "concat":
        return given[0]
    joined: list[int] = []
    for ends in given:
        start = joined[-1] if joined else 0
        joined += [start + end for end in ends]
    return joined
