"""A spiking network and its time loop: one run to T gives the output at every t <= T."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn import coding, operations
from spiking_yolo.snn.coding import ImageInput
from spiking_yolo.snn.counting import Counts
from spiking_yolo.snn.fast import Kernels, library
from spiking_yolo.snn.layout import images_of, on_cpu
from spiking_yolo.snn.neurons import NeuronLayer, build_neurons
from spiking_yolo.snn.plan import NetworkPlan
from spiking_yolo.snn.readout import OutputSum, Run, Snapshot, checked_times
from spiking_yolo.snn.synapses import Synapses, modules

Probe = Callable[[str, int, NeuronLayer, Tensor | None], None]


class SpikingNetwork(nn.Module):
    """A graph with a layer of spiking neurons at every activation.

    State is allocated at the first step for the shape of the batch and reused from then on, so
    memory does not grow with T. `start(x)`, any number of `step()`, and `snapshot()` to read output
    and costs at any time: `run` is made of these.

    Args:
        graph: The network. Its tensors decide dtype and device, which `.to` changes.
        neurons: Activation node -> parameters of its neurons, {"theta": [C], "initial": ...,
            "theta_off"}; output node -> {"bias": [C]}, a correction added to that output.
        recipe: The conversion method.
        event_driven: Use the kernels in C where they were built: where few events arrive, what
            they reach is computed alone. Results differ by the order of sums.
        observed: Keep everything that a probe may read, and pass each layer the input of each step;
            slower.
    """

    neurons: nn.ModuleDict

    def __init__(
        self,
        graph: Graph,
        neurons: Mapping[str, Mapping[str, Tensor]],
        recipe: Recipe,
        event_driven: bool = True,
        observed: bool = False,
    ):
        super().__init__()
        if recipe.complete:
            raise ValueError(f"{recipe.name} sends complete values: use an IntegerNetwork")
        for node in graph.activations:
            if node.name not in neurons:
                raise UserError(
                    f"no threshold for the activation {node.name!r}: convert the network again"
                )
        event_driven = event_driven and not observed
        self.recipe = recipe
        self.plan = NetworkPlan.of(graph, neurons, recipe, observed)
        deepest = max(self.plan.before.values())
        self._schedule_end = coding.schedule_end(recipe.encoding, deepest)
        kernels = Kernels() if event_driven and library() is not None else None
        self.synapses = Synapses(self.plan, kernels)
        layers: dict[str, NeuronLayer] = {}
        for node in self.plan.graph.activations:
            layer_plan = self.plan.layer(node.name)
            layers[node.name] = build_neurons(neurons[node.name], recipe, node.phi, layer_plan)
        self.neurons = modules(layers)
        # An output that is an activation adds its correction itself.
        corrections = {
            name: neurons[name]["bias"]
            for name in self.plan.graph.outputs
            if self.plan.graph[name].op != "activation" and "bias" in neurons.get(name, {})
        }
        self._input = ImageInput(recipe)
        self._output = OutputSum(self.plan, self.synapses, recipe.readout.skip, corrections)
        # The values of the nodes in this run; None before the first run.
        self._values: dict[str, Tensor | None] | None = None
        self.t = 0

    @property
    def graph(self) -> Graph:
        """The graph as simulated: with max pooling before the neurons if the recipe says so."""
        return self.plan.graph

    # `run` is `__call__`, so forward hooks fire either way. See `forward` for the arguments.
    run = nn.Module.__call__

    @torch.no_grad()
    def forward(
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
        for t in range(1, T + 1):
            active = self.step(probes)
            if t in times:
                snapshots[t] = self.snapshot(maps)
            if progress is not None:
                progress(t)
            if not active and t >= self._schedule_end:
                break
        if self.t < T:
            # Nothing changes up to T.
            last = self.snapshot(maps)
            for t in times:
                if t >= self.t:
                    snapshots[t] = replace(last, t=t)
        return self._record(snapshots)

    def _record(self, snapshots: dict[int, Snapshot]) -> Run:
        """The snapshots with what is known of the whole run; releases what no later step reads."""
        values = self._values or {}
        self._values = {name: values[name] for name in values if name in self.plan.constant}
        neurons = {name: self._neurons(layer) for name, layer in self.layers()}
        activations = sum(self._shapes[source][1:].numel() for source in self.plan.sources.values())
        senders = {*self.neurons, *self.synapses.pooled_counts(), *self._input.counts()}
        macs, analogue_macs = operations.total_macs(self.graph, self._shapes, senders)
        return Run(snapshots, neurons, activations, self.t, macs, analogue_macs, self.settled)

    def absorb(self) -> None:
        """Fold the thresholds into the weights, unless they are the same as before."""
        self.synapses.absorb({name: layer.theta for name, layer in self.layers()})

    def start(self, x: Tensor) -> None:
        """Forget everything and present a batch of images, [N, C, H, W]."""
        self.absorb()
        self._input.start(x)
        for _, layer in self.layers():
            layer.reset()
        self._updates = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        single = {name for name, layer in self.layers() if layer.sends_at_most_one}
        self.synapses.reset(single)
        self._output.reset()
        self._shapes: dict[str, torch.Size] = {}
        self._values = {}
        # Steps since `start`.
        self.t = 0
        # The last of these in which a neuron sent something, by image; at least 1.
        self._active = torch.zeros_like(self._updates, dtype=torch.int64)
        # The step since which nothing changes any more: every layer has sent all that is due.
        self.settled: int | None = None

    @torch.no_grad()
    def step(self, probes: tuple[Probe, ...] = ()) -> bool:
        """Simulate one timestep, up to the nodes from which the output is read.

        Returns:
            Whether a further step may change something while spikes keep their value; in rate
            coding always.
        """
        self._check_started()
        assert self._values is not None
        self.t += 1
        values = self._values
        active = False
        biased = self.t == 1 or not self.plan.differential
        if biased:
            self._active.fill_(self.t)
        for node in self.plan.stepped:
            name = node.name
            if self.t > 1 and name in self.plan.constant:
                continue
            inputs = [values[i] for i in node.inputs]
            weight = coding.spike_weight(self.recipe.encoding, self.t, self.plan.before[name])
            if node.op == "input":
                values[name] = self._input.send(name, self.t)
            elif node.op == "activation":
                sent = self._fire(name, node.inputs[0], inputs[0], weight, probes)
                values[name] = sent
                if not biased:
                    self._mark_active(sent)
                active = active or sent is not None or not self.layer(name).settled
            else:
                values[name] = self.synapses(node, inputs, weight, biased)
            if self.t == 1:
                value = values[name]
                assert isinstance(value, Tensor)
                self._shapes[name] = value.shape
            for used in self.plan.releases[name]:
                del values[used]
        self._output.add(values, self.t)
        still = self.t >= self._schedule_end and all(one.settled for _, one in self.layers())
        if not self.plan.differential or not still:
            self.settled = None
        elif self.settled is None:
            self.settled = self.t
        return active or not self.plan.differential

    def snapshot(self, maps: bool = False) -> Snapshot:
        """The output and the costs so far; with spike maps if `maps`.

        Raises:
            ValueError: No step has been simulated.
        """
        self._check_started()
        if self.t == 0:
            raise ValueError("nothing has happened yet: call step() first")
        spikes: dict[str, Tensor] | None = None
        if self.recipe.neuron.events == "switches":
            # The events are switches, not spikes.
            spikes = {name: layer.count for name, layer in self.layers()}
        counts = {name: count.stacked() for name, count in self.counts().items()}
        # Reading them adds the shapes of the nodes that are computed then.
        outputs = self._output.read(self.t, self._shapes)
        return Snapshot.of(
            self.graph,
            self.t,
            outputs,
            counts,
            self._shapes,
            self._updates,
            self._active.clone(),
            {name: self._neurons(layer) for name, layer in self.layers()},
            None,
            spikes,
            maps,
        )

    def _check_started(self) -> None:
        if self._values is None:
            raise ValueError("there is no run to go on with: call start(x) first")

    def layers(self) -> Iterable[tuple[str, NeuronLayer]]:
        """The layers of neurons by name, in order."""
        for name in self.neurons:
            yield name, self.layer(name)

    def layer(self, name: str) -> NeuronLayer:
        """The layer of neurons at an activation."""
        layer = self.neurons[name]
        assert isinstance(layer, NeuronLayer)
        return layer

    def _fire(
        self, name: str, source: str, value: Tensor | None, weight: float, probes: tuple[Probe, ...]
    ) -> Tensor | None:
        """Run one layer; returns its spikes, or None for silence in differential coding."""
        layer, current = self.layer(name), value
        if value is not None:
            current = self.synapses.analogue(source, value)
        if current is None and layer.settled and layer.spike_weight == weight:
            layer.t += 1
            return None
        spikes: Tensor | None = layer(current, weight)
        self._updates += self._neurons(layer) * self._received(name, current)
        if self.plan.differential and self.t > 1 and layer.silent:
            spikes = None
        for probe in probes:
            probe(name, self.t, layer, current)
        return spikes

    def _received(self, name: str, current: Tensor | None) -> Tensor | int:
        """1 for each image for which a layer received input in this step, else 0."""
        if self.t == 1 or not self.plan.differential:
            return 1
        received = images_of(current)
        pool = self.plan.sums.get(name)
        if pool is None or current is None or on_cpu(current):
            return received
        return received & self.synapses.arrived[pool]

    def _mark_active(self, sent: Tensor | None) -> None:
        """Note which images a layer sent something for in this step of differential coding."""
        images = images_of(sent)
        if isinstance(images, Tensor):
            self._active.masked_fill_(images > 0, self.t)
        elif images:
            self._active.fill_(self.t)

    @staticmethod
    def _neurons(layer: NeuronLayer) -> int:
        return layer.count[0].numel() * layer.neurons_per_site

    def counts(self) -> dict[str, Counts]:
        """Events so far by sender and position: layers, max poolings, the image."""
        layers = {name: layer.counts for name, layer in self.layers()}
        return {**layers, **self.synapses.pooled_counts(), **self._input.counts()}

    def __getstate__(self) -> dict[str, Any]:
        """A copy or a pickle holds no run."""
        return {**self.__dict__, "_values": None}

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Moved to another device or dtype: the run is over."""
        self._values = None
        return super()._apply(fn, recurse)
