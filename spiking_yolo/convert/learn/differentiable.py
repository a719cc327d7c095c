"""A network that sends complete values in one step, as a function with gradients, and what follows
from these: thresholds that are coarse where an error matters little to the output, and where an
event is expensive; all of them by one factor, so that the network takes the operations asked for.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.convert.learn.straight_through import (
    fire_with_gradients,
    smooth_digits,
    straight_through,
)
from spiking_yolo.convert.thresholds import scaled
from spiking_yolo.data.datasets import spread
from spiking_yolo.decode.boxes import decode
from spiking_yolo.graph import OPS, Graph, Node, forward, shapes
from spiking_yolo.graph.rewrites import distribute_sums, pool_before_neuron
from spiking_yolo.integer.parameters import BITS, tied
from spiking_yolo.io.text import Size
from spiking_yolo.models.spec import Spec
from spiking_yolo.recipe import Neuron, Recipe
from spiking_yolo.spikes import layout, operations
from spiking_yolo.spikes.counting import count_digits
from spiking_yolo.spikes.layout import NeuronParameters, Tensors

# Node that sends events -> what it has sent so far, in thetas.
Sent = dict[str, Tensor]
# Outputs, and the operations per MAC of each image, [N].
Answer = tuple[list[Tensor], Tensor]


class CompleteNetwork:
    """The spiking network as a function of the parameters of its neurons.

    Args:
        graph: The ANN.
        imgsz: Size of the input.
        neuron: The recipe's, with its slack, and its dead zone for later frames of a video.
        least: The smallest theta of each activation, [C].

    Attributes:
        graph: The network as it is simulated, with max pooling before the neurons.
        sites: Activation -> number of channels.
        macs: Multiply-accumulates of the ANN.
        costs: Node that sends events -> synaptic operations that an event of each of its neurons
            causes, per MAC, [1, C, ...].
        watch: Called with the name of a layer of neurons, its pre-activations and its values.
    """

    def __init__(self, graph: Graph, imgsz: Size, neuron: Neuron, least: Tensors | None = None):
        self.graph = pool_before_neuron(graph)
        self.neuron = neuron
        self.watch: Callable[[str, Tensor, Tensor], None] | None = None
        self.least = least or {}
        self._sizes = sizes = shapes(self.graph, *imgsz)
        self.sites = {node.name: sizes[node.name][1] for node in self.graph.activations}
        # Max pooling that reads neurons, and sends events of its own -> the activation of these
        # neurons.
        self._pools: dict[str, str] = {}
        for node in self.graph.nodes:
            if node.op == "max_pool" and node.inputs[0] in self.sites:
                self._pools[node.name] = node.inputs[0]
        sent = {name: sizes[name][1:] for name in (*self.sites, *self._pools)}
        self.macs = operations.total_macs(self.graph, sizes, sent)[0]
        costs = operations.costs_of_events(self.graph, sizes, sent)
        self.costs: dict[str, Tensor] = {}
        for name, cost in costs.items():
            # One number is enough where all channels have the same.
            equal = bool((cost == cost[:, :1]).all())
            self.costs[name] = (cost[:, :1] if equal else cost) / self.macs

    def senders(self, site: str) -> list[str]:
        """The nodes that send what an activation fires: itself, and the poolings behind it."""
        return [site, *(pool for pool, source in self._pools.items() if source == site)]

    @torch.no_grad()
    def _rounded(self, values: NeuronParameters) -> Graph:
        """The network as it is computed, with weights of 8 bits."""
        graph = distribute_sums(self.graph, self._sizes)
        thetas = {name: values[name]["theta"] for name in self.sites}
        return replace(graph, tensors=layout.rounded_weights(graph, thetas, BITS))

    def __call__(self, x: Tensor, values: NeuronParameters, sent: Sent | None = None) -> Answer:
        """The outputs for images [N, C, H, W], and the operations per MAC of each, [N].

        Under autocast the layers with weights are computed in bfloat16, and neurons as x is.

        Args:
            x: The images, or frames of N videos.
            values: The parameters of the neurons.
            sent: What was sent in the frames before, and with this one afterwards; empty before the
                first. None for images.
        """
        values = tied(self.graph, values)
        return self._computed(self._rounded(values), x, values, sent, counted=True)

    def _computed(
        self, graph: Graph, x: Tensor, values: NeuronParameters, sent: Sent | None, counted: bool
    ) -> Answer:
        """Compute a call from rounded weights and tied values. counted: Whether operations are
        counted.
        """
        before = dict(sent or {})
        results: dict[str, Tensor] = {}
        spent = x.new_zeros(len(x))
        for node in graph.nodes:
            name = node.name
            inputs = [results[source] for source in node.inputs]
            if node.op == "input":
                inputs = [layout.channels_last(x)]
            if node.op == "activation":
                own, z = values[name], inputs[0].to(x.dtype)
                costs, sent_before = self.costs[name] if counted else None, before.get(name)
                how = node.phi, costs, self.neuron.slack, sent_before, self.neuron.dead_zone
                value, cost = fire_with_gradients(z, own, *how)
                spent = spent + cost
                if self.watch is not None:
                    self.watch(name, z, value)
                if sent is not None:
                    sent[name] = in_thetas(value.detach(), own).round()
            else:
                value = OPS[node.op](node.attrs, *graph.parameters(node), *inputs)
            if name in self._pools:
                n = in_thetas(value, values[self._pools[name]])
                if sent is not None:
                    sent[name] = n.detach().round()
                if counted:
                    change = n - before.get(name, 0)
                    whole = count_digits(change.detach().round())
                    digits = straight_through(whole, smooth_digits(change))
                    spent = spent + (digits * self.costs[name]).flatten(1).sum(1)
            results[name] = value
        outputs = []
        for name in self.graph.outputs:
            output = results[name].to(x.dtype)
            bias = values.get(name, {}).get("bias")
            # The bias of neurons is part of their current.
            if bias is not None and name not in self.sites:
                output = output + layout.per_channel(bias, output)
            outputs.append(output)
        return outputs, spent


class VideoNetwork(CompleteNetwork):
    """A CompleteNetwork for clips [N, K, C, H, W]: outputs and operations of their last frames.

    The frames before have no gradients.
    """

    def __call__(self, x: Tensor, values: NeuronParameters, sent: Sent | None = None) -> Answer:
        if sent is None:
            sent = {}
        values = tied(self.graph, values)
        graph = self._rounded(values)
        with torch.no_grad():
            for frame in x[:, :-1].unbind(1):
                self._computed(graph, frame, values, sent, counted=False)
        return self._computed(graph, x[:, -1], values, sent, counted=True)


def network_of(graph: Graph, spec: Spec, recipe: Recipe, least: Tensors) -> CompleteNetwork:
    """The network that a recipe trains, on clips if it has more than one frame."""
    kind = VideoNetwork if recipe.calibration.frames > 1 else CompleteNetwork
    return kind(graph, (spec.height, spec.width), recipe.neuron, least)


def in_thetas(value: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
    """Count the thetas in a value [N, C, ...], beyond the resting value."""
    n = value / layout.per_channel(parameters["theta"], value)
    if "rest" in parameters:
        n = n - layout.per_channel(parameters["rest"], value)
    return n


# Sensitivities are measured along so many random directions per image.
PROBES = 2
# A channel's sensitivity is taken to be at least this share of the layer's mean: a smaller estimate
# is not believed.
FLOOR = 1e-3
# The smallest probability that is told from 0, and the smallest side of a box, as a share of the
# input: what is divided by them stays finite.
EPSILON = 1e-6
SMALLEST_SIDE = 0.01
# A box that is displaced by its own size weighs so much, where a score that is off by one standard
# deviation weighs 1.
BOXES = 4.0
# Operations are measured and errors compared on at most FEW images, sensitivities on FEWER, and a
# factor is searched on FIRST images before all are used.
FEW, FEWER, FIRST = 32, 8, 4
# The operations that were asked for are met within TOLERANCE, in at most TRIES corrections, by a
# factor on all thetas of at most MAX_FACTOR: some networks cannot take so many operations or so
# few. The search ends where the operations hardly change with theta any more: where the slope of
# their logarithms is above FLATTEST.
TRIES = 12
MAX_FACTOR = 64.0
TOLERANCE = 0.005
FLATTEST = -0.1
# Networks in which SHARE of the layers is depthwise get DEPTHWISE times as many operations: each of
# their outputs has few inputs, whose errors do not average.
DEPTHWISE, SHARE = 2.0, 0.25
# Networks with more layers with weights than this get so many times the operations: errors add up.
DEEP = ((80, 1.55), (40, 1.35))


def relative_outputs(outputs: Sequence[Tensor]) -> list[Tensor]:
    """The outputs of each image over their norm, which passes no gradients on."""
    squares = [y.detach().square().flatten(1).sum(1) for y in outputs]
    norm = torch.sqrt(torch.stack(squares).sum(0))
    return [y / norm.reshape(-1, *[1] * (y.ndim - 1)) for y in outputs]


def boxes_and_scores(outputs: Sequence[Tensor], spec: Spec) -> list[Tensor]:
    """Decode the outputs of a detector, each part in a unit of its own.

    A score p in standard deviations, sqrt(p (1 - p)): half the square of a change is then the
    Kullback-Leibler divergence. The sides of a box in widths and heights of it, times the root of
    its best score and BOXES. The units pass no gradients on.
    """
    boxes, scores = decode(outputs, spec)
    p = scores.detach().clamp(EPSILON, 1 - EPSILON)
    sides = (boxes[..., 2:] - boxes[..., :2]).detach().clamp(min=SMALLEST_SIDE)
    weight = BOXES * p.amax(2, keepdim=True).sqrt()
    return [scores / torch.sqrt(p * (1 - p)), boxes * weight / sides.repeat(1, 1, 2)]


@torch.enable_grad()
def sensitivity(
    graph: Graph,
    images: Sequence[Tensor],
    seed: int = 0,
    spec: Spec | None = None,
    progress: Callable[..., Any] = lambda *_: None,
) -> dict[str, Tensor]:
    """Measure how much unit noise in each activation changes the output, [C] by activation.

    S[l, c] = E[(d (v . measured outputs) / d a[l, c])^2]. v is standard normal, so that one
    backward pass measures all outputs at once (Hutchinson 1990); the mean is over images, positions
    and PROBES samples of v. Equal for equal seeds.

    Args:
        images: Batches, [N, C, H, W].
        spec: The interface of a detector, by whose `boxes_and_scores` outputs are measured; else
            `relative_outputs` does that.
        progress: Called with ("sensitivity", done, of how many) after each batch.
    """
    generator = torch.Generator().manual_seed(seed)
    sums: dict[str, Tensor] = {}
    activations: dict[str, Tensor] = {}

    def tap(node: Node, before: Tensor, after: Tensor) -> None:
        activations[node.name] = after.requires_grad_()

    for number, x in enumerate(images, 1):
        outputs = forward(graph, layout.channels_last(x), tap)
        parts = relative_outputs(outputs)
        if spec is not None and spec.task == "detect":
            parts = boxes_and_scores(outputs, spec)
        for k in range(PROBES):
            products: list[Tensor] = []
            for y in parts:
                noise = torch.randn(y.shape, generator=generator).to(y)
                products.append((y * noise).sum())
            total, taps = torch.stack(products).sum(), list(activations.values())
            gradients = torch.autograd.grad(total, taps, retain_graph=k < PROBES - 1)
            for name, gradient in zip(activations, gradients, strict=True):
                # The gradient of a box whose exponential overflows is not known and counts as 0.
                gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
                squares = gradient.double().square().transpose(0, 1).flatten(1).sum(1)
                sums[name] = sums.get(name, 0) + squares / gradient[0, 0].numel()
        progress("sensitivity", number, len(images))
    count = PROBES * sum(map(len, images))
    return {name: (value / count).float() for name, value in sums.items()}


def balanced(network: CompleteNetwork, sensitivities: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """theta of every activation, [C], up to a common factor.

    Rounding makes noise of theta^2 / 12, which S turns into error of the output, and halving theta
    costs a third of a digit times the fan-out F. The sum of both is least where S theta^2 is
    proportional to F: so it is between layers. Between the channels of a layer half of the exponent
    does as well, and trusts an estimate less.
    """
    costs = {}
    for name in sensitivities:
        means = [network.costs[sender].mean() for sender in network.senders(name)]
        costs[name] = torch.stack(means).sum()
    # Events that only sums and outputs read would cost nothing.
    least = min((cost for cost in costs.values() if cost > 0), default=torch.tensor(1.0))
    thetas = {}
    for name, sensitivities_of_layer in sensitivities.items():
        cost = costs[name].clamp(min=least)
        mean = sensitivities_of_layer.mean().clamp(min=1e-30)
        relative = (sensitivities_of_layer / mean).clamp(min=FLOOR)
        thetas[name] = torch.sqrt(cost / mean) * relative**-0.25
    return thetas


def budget(graph: Graph, operations: float) -> float:
    """The operations per MAC to aim at: as asked for, times DEPTHWISE or a factor of DEEP."""
    layers = len(graph.weighted)
    depthwise = 0
    for node in graph.weighted:
        weight = graph.tensors[f"{node.name}.weight"]
        depthwise += node.attrs.get("groups", 1) > 1 and weight.shape[1] == 1
    if depthwise >= SHARE * layers:
        return operations * DEPTHWISE
    for least, factor in DEEP:
        if layers > least:
            return operations * factor
    return operations


@torch.no_grad()
def scaled_to(
    operations: float,
    network: CompleteNetwork,
    values: NeuronParameters,
    images: Sequence[Tensor],
    first: int = FIRST,
) -> NeuronParameters:
    """The values with all thetas times one factor, for which the network takes these operations.

    The logarithm of the factor is searched from one on by the secant method; halving theta costs
    about half as much again.

    Args:
        operations: Per MAC of the ANN, the mean over the images.
        first: On so many images the factor is searched at first.
    """
    factor = 0.0
    # A few images take about as many operations as all of them.
    for some in (few_of(images, first), images):
        low, high = -math.log(MAX_FACTOR), math.log(MAX_FACTOR)
        # The slope of the logarithm of the operations over that of the factor.
        slope = -2 / 3
        last: tuple[float, float] | None = None
        for _ in range(TRIES):
            trial = scaled(network.graph, values, math.exp(factor), network.least)
            spent = torch.cat([network(x, trial)[1] for x in some]).mean().item()
            excess = math.log(max(spent, EPSILON) / operations)
            if abs(excess) < TOLERANCE:
                break
            if excess > 0:
                low = factor
            else:
                high = factor
            if last is not None:
                slope = (excess - last[1]) / (factor - last[0])
                # The least thetas that are allowed, or the largest, hold the operations in place.
                if slope > FLATTEST:
                    break
            last = (factor, excess)
            factor -= excess / slope
            if not low < factor < high:
                factor = (low + high) / 2
    return scaled(network.graph, values, math.exp(factor), network.least)


def few_of(images: Sequence[Tensor], count: int = FEW) -> Sequence[Tensor]:
    """Choose some of the batches, at equal distances."""
    return spread(images, max(1, count // len(images[0])))
