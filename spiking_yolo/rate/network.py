"""A spiking network and its time loop: one run to T gives the output at every t <= T; how the image
enters, and how values travel: codings, spike values, random streams.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiking_yolo.graph import Graph, own_dtypes
from spiking_yolo.rate.neurons import build_neurons
from spiking_yolo.rate.neurons.layer import NeuronLayer
from spiking_yolo.rate.synapses import Synapses
from spiking_yolo.recipe import Encoding, Recipe
from spiking_yolo.spikes import operations
from spiking_yolo.spikes.counting import Counts
from spiking_yolo.spikes.layout import NeuronParameters, any_in_images, channels_last, per_channel
from spiking_yolo.spikes.plan import NetworkPlan
from spiking_yolo.spikes.readout import Run, Snapshot, checked_times


def image_keys(x: Tensor) -> list[int]:
    """A fingerprint of each image of [N, ...], which seeds its random numbers."""
    return [zlib.crc32(image.contiguous().cpu().numpy().tobytes()) for image in x]


def uniform(like: Tensor, seed: int, keys: Sequence[int], layer: str, t: int) -> Tensor:
    """Uniform random numbers in [0, 1), multiples of 2^-16, in the shape of `like`, [N, C, ...].

    They depend on (seed, image, layer, step) and on nothing else, such as the batch. Each image has
    a stream of its own, which runs through the image with its channels last, as tensors lie in
    memory here.
    """
    size = like[0].numel()
    numbers = np.empty((len(keys), size), np.float32)
    for row, key in zip(numbers, keys, strict=True):
        digest = hashlib.blake2b(f"{seed}/{key}/{layer}/{t}".encode(), digest_size=7).digest()
        bits = np.random.SFC64(int.from_bytes(digest, "little")).random_raw((size + 3) // 4)
        np.multiply(bits.view("<u2")[:size], np.float32(2.0**-16), out=row)
    values = torch.from_numpy(numbers).view(len(keys), *like.shape[2:], like.shape[1])
    return values.movedim(-1, 1).to(like)


# The value of a spike while a layer is silent: no neuron has half of it to send.
SILENT = 2.0**64


def spike_weight(e: Encoding, t: int, before: int = 0) -> float:
    """The value of a spike in step t, in thetas, of a layer behind `before` others.

    With `coarse` it is halved in each step down to 1, from the layer's first step on, and the layer
    starts one step after the one before it.
    """
    if not e.coarse:
        return 1.0
    step = t - before
    if not 1 <= step <= e.coarse + 1:
        return SILENT
    return 2.0 ** (e.coarse - step + 1)


def poisson(x: Tensor, seed: int, keys: Sequence[int], name: str, t: int) -> tuple[Tensor, Tensor]:
    """Poisson spikes: a pixel fires with a probability proportional to its intensity.

    A spike has the largest magnitude of its image (at least 1).

    Args:
        x: Images, [N, C, H, W].
        keys: Their fingerprints.

    Returns:
        The values that travel, and where there was a spike (0 or 1).
    """
    top = x.abs().amax((1, 2, 3), keepdim=True).clamp(min=1)
    fired = (uniform(x, seed, keys, name, t) * top < x.abs()).to(x)
    return x.sign() * fired * top, fired


Probe = Callable[[str, int, NeuronLayer, Tensor], None]


class SpikingNetwork:
    """A graph with a layer of spiking neurons at every activation.

    State is allocated at the first step for the shape of the batch and reused from then on, so
    memory does not grow with T. `start(x)`, any number of `step()`, and `snapshot()` to read output
    and costs at any time: `run` is made of these.

    Args:
        graph: The network. Its tensors decide dtype and device.
        neurons: Activation node -> parameters of its neurons, {"theta": [C], "initial": ...,
            "theta_off"}; output node -> {"bias": [C]}, a correction added to that output.
        recipe: The conversion method.
        observed: Keep everything that a probe may read, and pass each layer the input of each step;
            slower.
        normalised: Makes what the graph takes of the images that are given, such as
            Spec.normalised.

    Attributes:
        neurons: The layers of neurons by name, in order.
        t: Steps since `start`.
        settled: The step after which nothing changes any more, since every layer has sent all that
            is due; None before, and in rate coding.
    """

    @own_dtypes()
    def __init__(
        self,
        graph: Graph,
        neurons: NeuronParameters,
        recipe: Recipe,
        observed: bool = False,
        normalised: Callable[[Tensor], Tensor] = Tensor.detach,
    ):
        if recipe.complete:
            raise ValueError(f"{recipe.name} sends complete values: use an IntegerNetwork")
        self.recipe = recipe
        self._normalised = normalised
        self.plan = NetworkPlan(graph, recipe, observed)
        # The graph as it is simulated, with max pooling before the neurons if the recipe says so.
        self.graph = self.plan.graph
        # The step after which spikes keep their value in all layers.
        coarse = recipe.encoding.coarse
        self._schedule_end = coarse and coarse + max(self.plan.before.values()) + 1
        self.neurons: dict[str, NeuronLayer] = {}
        for node in self.graph.activations:
            plan = self.plan.layer(node.name)
            self.neurons[node.name] = build_neurons(neurons[node.name], recipe, node.phi, plan)
        thetas = {name: layer.theta for name, layer in self.neurons.items()}
        self.synapses = Synapses(self.plan, thetas)
        # Output -> bias [C] that is added to it; an output that is an activation adds its own.
        self._corrections: dict[str, Tensor] = {}
        for name in self.graph.outputs:
            if self.graph[name].op != "activation" and "bias" in neurons.get(name, {}):
                self._corrections[name] = neurons[name]["bias"]
        # The nodes that the output is read from: before the linear end, and outputs outside of it.
        self._sources = set(self.graph.outputs)
        for node in self.plan.readout:
            self._sources.update(node.inputs)
        self._sources -= {node.name for node in self.plan.readout}
        self._costs: operations.EventCosts | None = None
        self.t = 0
        self.settled: int | None = None

    @torch.no_grad()
    def run(
        self,
        x: Tensor,
        T: int,
        steps: Iterable[int] = (),
        *,
        maps: bool = False,
        probes: Iterable[Probe] = (),
        progress: Callable[[int], Any] | None = None,
    ) -> Run:
        """Simulate a batch of images for T steps.

        Args:
            x: Images, [N, C, H, W].
            T: Number of timesteps.
            steps: Where to take snapshots, besides T.
            maps: Snapshots carry spike maps.
            probes: probe(layer name, t, layer, current), called after each layer's step; the
                network must be made with observed=True.
            progress: progress(t), called after every step.

        Returns:
            The snapshots by timestep, and what the run cost.

        Raises:
            UserError: A step lies outside of 1..T.
        """
        times = checked_times(T, steps, self.recipe.readout.skip)
        probes = tuple(probes)
        if probes and not self.plan.observed:
            raise ValueError("probes need a network made with observed=True")
        self.start(x)
        snapshots: dict[int, Snapshot] = {}
        while self.t < T and self.settled is None:
            self.step(probes)
            if self.t in times:
                snapshots[self.t] = self.snapshot(maps)
            if progress is not None:
                progress(self.t)
        if self.t < T:
            # The network has settled: nothing changes up to T.
            last = self.snapshot(maps)
            for t in times:
                if t >= self.t:
                    snapshots[t] = replace(last, t=t)
        neurons = self._neurons()
        macs, analogue_macs = operations.total_macs(self.graph, self._shapes, self.counts())
        return Run(snapshots, neurons, self.t, macs, analogue_macs, self.settled)

    @own_dtypes()
    def start(self, x: Tensor) -> None:
        """Forget everything and present a batch of images, [N, C, H, W]."""
        image = self._normalised(x)
        self._image = channels_last(image)
        # The caller may write to x later.
        if self.plan.differential and self._image.data_ptr() == image.data_ptr():
            self._image = image.clone()
        # Fingerprints of the images, which seed their random spikes, and these spikes so far.
        self._keys = image_keys(image) if self.recipe.encoding.input == "poisson" else []
        self._fired: dict[str, Tensor] = {}
        for layer in self.neurons.values():
            layer.reset()
        single = {name for name, layer in self.neurons.items() if layer.sends_at_most_one}
        self.synapses.reset(single)
        # The input of the linear end, summed over the steps.
        self._sums: dict[str, Tensor] = {}
        self._updates = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        # Image -> the last step in which a neuron sent something, at least 1.
        self._active = torch.zeros_like(self._updates, dtype=torch.int64)
        self._shapes: dict[str, torch.Size] = {}
        self._constant: dict[str, Tensor] = {}
        self.t, self.settled = 0, None

    @own_dtypes()
    @torch.no_grad()
    def step(self, probes: Iterable[Probe] = ()) -> None:
        """Simulate one timestep, up to the nodes from which the output is read."""
        self.t += 1
        biased = self.t == 1 or not self.plan.differential
        if biased:
            self._active.fill_(self.t)
        values = dict(self._constant)
        settled = self.plan.differential and self.t >= self._schedule_end
        for node in self.plan.stepped:
            name = node.name
            if name in values:
                continue
            weight = spike_weight(self.recipe.encoding, self.t, self.plan.before[name])
            if node.op == "input":
                values[name] = self._sent_by_image(name)
            elif node.op == "activation":
                layer, source = self.neurons[name], node.inputs[0]
                current = self.synapses.analogue(source, values[source])
                values[name] = layer(current, weight)
                if self.plan.differential:
                    sent = any_in_images(values[name])
                    settled = settled and layer.settles and not bool(sent.any())
                    if not biased:
                        self._active.masked_fill_(sent, self.t)
                # A layer updates its neurons for the images for which it received something.
                received: Tensor | int = 1
                if not biased and name in self.plan.sums:
                    received = self.synapses.pools[self.plan.sums[name]].arrived
                elif not biased:
                    received = any_in_images(current)
                self._updates += layer.neurons * received
                for probe in probes:
                    probe(name, self.t, layer, current)
            else:
                inputs = [values[source] for source in node.inputs]
                values[name] = self.synapses(node, inputs, weight, biased)
            self._shapes[name] = values[name].shape
        if self.t == 1:
            self._constant = {name: values[name] for name in self.plan.constant & values.keys()}
        self._accumulate(values)
        if settled:
            self.settled = self.t

    @own_dtypes()
    def snapshot(self, maps: bool = False) -> Snapshot:
        """The output and the costs so far; with spike maps if `maps`."""
        spikes: dict[str, Tensor] | None = None
        if self.recipe.neuron.events == "switches":
            # The events are switches, not spikes.
            spikes = {name: layer.count for name, layer in self.neurons.items()}
        counts = {name: count.stacked() for name, count in self.counts().items()}
        # Reading them adds the shapes of the nodes that are computed then.
        outputs = self._outputs()
        if self._costs is None or self._costs.shapes != self._shapes:
            self._costs = operations.EventCosts(self.graph, dict(self._shapes))
        spent = counts, self._costs, self._updates, self._active, self._neurons()
        return Snapshot.of(self.t, outputs, *spent, spikes=spikes, maps=maps)

    def counts(self) -> dict[str, Counts]:
        """Events so far by sender and position: layers, max poolings, the image."""
        counts = {name: layer.counts for name, layer in self.neurons.items()}
        for name, pool in self.synapses.pools.items():
            if not pool.sends_sums:
                counts[name] = pool.tally.counts()
        for name, fired in self._fired.items():
            counts[name] = Counts.alike(fired)
        return counts

    def _sent_by_image(self, name: str) -> Tensor:
        """Return what the input node of this name sends in this step."""
        if self.plan.differential:
            return self._image if self.t == 1 else torch.zeros_like(self._image)
        if self.recipe.encoding.input == "analogue":
            return self._image
        sent, fired = poisson(self._image, self.recipe.encoding.seed, self._keys, name, self.t)
        self._fired[name] = self._fired.get(name, 0) + fired
        return sent

    def _accumulate(self, values: Mapping[str, Tensor]) -> None:
        """Add what the output is read from to its sums; steps that are skipped count as zeros."""
        for name in self._sources:
            value = values[name].to(self.synapses.like.dtype)
            if self.t <= self.recipe.readout.skip:
                value = torch.zeros_like(value)
            if self.t == 1:
                self._sums[name] = value.clone()
            else:
                self._sums[name].add_(value)

    def _outputs(self) -> tuple[Tensor, ...]:
        """The outputs so far in the units of the ANN, 0 while no step counts: the linear end of the
        graph is computed only here, where it is read.
        """
        steps = self.t - self.recipe.readout.skip
        # The sum of these steps contains the activations so often.
        divisor = 1 if self.plan.differential else max(steps, 1)
        values: dict[str, Tensor] = {name: total / divisor for name, total in self._sums.items()}
        for node in self.plan.readout:
            value = self.synapses(node, [values[name] for name in node.inputs], 1.0, True)
            self._shapes[node.name] = value.shape
            if steps <= 0:
                value = torch.zeros_like(value)
            values[node.name] = value
        outputs: list[Tensor] = []
        for name in self.graph.outputs:
            value = self.synapses.analogue(name, values[name])
            if name in self._corrections:
                value = value + per_channel(self._corrections[name], value)
            outputs.append(value)
        return tuple(outputs)

    def _neurons(self) -> dict[str, int]:
        return {name: layer.neurons for name, layer in self.neurons.items()}
