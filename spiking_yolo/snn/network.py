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
from spiking_yolo.snn.counting import Counts, count_digits
from spiking_yolo.snn.fast import Backend
from spiking_yolo.snn.layout import Active, immediate
from spiking_yolo.snn.neurons import NeuronLayer, build_neurons
from spiking_yolo.snn.plan import NetworkPlan, SimulationOptions
from spiking_yolo.snn.readout import OutputSum, Quiet, Run, Snapshot
from spiking_yolo.snn.synapses import Synapses, modules

Probe = Callable[[str, int, NeuronLayer, Tensor | None], None]


class SpikingNetwork(nn.Module):
    """A graph with a layer of neurons at every activation.

    graph: its tensors decide dtype and device, which `.to` changes. neurons: activation node ->
    parameters of its neurons, {"theta": [C], "initial": ..., "theta_off"}; output node -> {"bias":
    [C]}, a correction of it. State is allocated at the first step for the shape of the batch and
    then reused, so memory does not grow with T. It outlives a run: `start(x)`, then `step()` as
    often as wanted, `feed(x)` for the next image of the same scene, and `snapshot()` wherever the
    output is wanted. `run` is made of these. observed: everything that a probe may look at is kept,
    and each layer gets the input of each step; slower.
    """

    neurons: nn.ModuleDict

    def __init__(
        self,
        graph: Graph,
        neurons: Mapping[str, Mapping[str, Tensor]],
        recipe: Recipe,
        simulation: SimulationOptions = SimulationOptions(),
        observed: bool = False,
    ):
        super().__init__()
        if missing := [node.name for node in graph.activations if node.name not in neurons]:
            raise UserError(
                f"no threshold for the activation {missing[0]!r}: convert the network again"
            )
        if observed:
            simulation = replace(simulation, event_driven=False)
        self.recipe, self.simulation = recipe, simulation
        self.plan = plan = NetworkPlan.of(graph, neurons, recipe, observed)
        backend = Backend(simulation.compiled, simulation.event_driven and plan.coding.once)
        self.synapses = Synapses(plan, simulation, backend)
        dtype = self.synapses.like.dtype
        self.neurons = modules(
            {
                n.name: build_neurons(
                    neurons[n.name], recipe, n.phi, plan.layer(n.name, simulation, dtype), backend
                )
                for n in plan.graph.activations
            }
        )
        # Neurons add their own.
        heads = [name for name in plan.graph.outputs if plan.graph[name].op != "activation"]
        corrections = {
            name: neurons[name]["bias"] for name in heads if "bias" in neurons.get(name, {})
        }
        self._input = ImageInput(recipe, simulation.event_driven)
        self._output = OutputSum(plan, self.synapses, recipe.readout.skip, corrections)
        # Of the run; None before the first.
        self._values: dict[str, Tensor | Active | None] | None = None
        self.t = 0

    @property
    def graph(self) -> Graph:
        """The graph as it is simulated, with max pooling before the neurons where the recipe says
        so.
        """
        return self.plan.graph

    # To run the network is to call it, so that PyTorch's forward hooks see both; the arguments are
    # those of `forward`.
    run = nn.Module.__call__

    @torch.no_grad()
    def forward(
        self,
        x: Tensor,
        T: int,
        steps: Iterable[int] = (),
        *,
        keep: bool = False,
        maps: bool = False,
        probes: Iterable[Probe] = (),
        progress: Callable[[int], Any] | None = None,
    ) -> Run:
        """Simulate a batch of images for T steps.

        Args:
            x: Images, [N, C, H, W].
            T: Number of timesteps.
            steps: Where to take snapshots, besides T.
            keep: x is the next image of the same scene (see `feed`), and costs go on from those of
                the image before.
            maps: Snapshots carry spike maps.
            probes: probe(layer name, t, layer, current), called after each layer's step; the
                network must be made with observed=True.
            progress: progress(t), called after every step.

        Returns:
            The snapshots by timestep, and what the run cost.

        Raises:
            UserError: A step lies outside of 1..T.
        """
        wanted = sorted({*steps, T})
        if T < 1 or wanted[0] < 1 or wanted[-1] > T:
            raise UserError(f"steps must lie in 1..T={T}, not {', '.join(map(str, wanted))}")
        if self.recipe.readout.skip >= T:
            raise UserError(
                f"readout.skip={self.recipe.readout.skip} leaves no step to read: it must be below"
                f" T={T}"
            )
        probes = tuple(probes)
        if probes and not self.plan.observed:
            raise ValueError("probes need a network made with observed=True")
        (self.feed if keep else self.start)(x)
        snapshots: dict[int, Snapshot] = {}
        for t in range(1, T + 1):
            active = self.step(probes)
            if t in wanted:
                snapshots[t] = self.snapshot(maps)
            if progress is not None:
                progress(t)
            if not active and self.spike_weight(T) == self.spike_weight(t):
                break
        if self._since < T:  # nothing changes up to T
            last = self.snapshot(maps)
            snapshots |= {s: replace(last, t=s) for s in wanted if s >= self._since}
        # What later steps do not compute again.
        kept = self._values or {}
        self._values = {name: value for name, value in kept.items() if name in self.plan.constant}
        sizes = {name: self._neurons(layer) for name, layer in self.layers()}
        activations = sum(self._shapes[source][1:].numel() for source in self.plan.sources.values())
        shown = None if self._input.shown is None else self._input.shown.counted()
        senders = {*self.neurons, *self.synapses.pooled_counts(), *self._input.counts()}
        macs = operations.total_macs(self.graph, self._shapes, senders, shown)
        return Run(snapshots, sizes, activations, self._since, *macs, self.quiet)

    @property
    def quiet(self) -> Quiet | None:
        """Since when nothing changes and until when; None if the next step may change something.

        In a step everything travels through the whole network. Once no layer sends before it
        receives something, the next step brings nothing to any of them, nor does a later one until
        spikes become finer.
        """
        if self._quiet_since is None:
            return None
        return Quiet(self._quiet_since, coding.next_refinement(self.recipe.encoding, self._since))

    @property
    def image(self) -> Tensor:
        """What has been sent of the images so far, [N, C, H, W]: the last one, but for pixels that
        hardly changed.
        """
        self._check_started()
        return self._input.image

    def start(self, x: Tensor) -> None:
        """Forget everything and present a batch of images, [N, C, H, W]."""
        self.synapses.absorb({name: layer.theta for name, layer in self.layers()})
        self._input.start(x)
        for _, layer in self.layers():
            layer.reset(self._input.keys)
        rests = {
            name: rest
            for name, layer in self.layers()
            if (rest := getattr(layer, "rest", None)) is not None
        }
        at_most_one = {name for name, layer in self.layers() if layer.sends_at_most_one}
        self.synapses.reset(
            at_most_one, rests, next((layer.digits for _, layer in self.layers()), count_digits)
        )
        self._output.reset()
        self._updates = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        self._shapes: dict[str, torch.Size] = {}
        self._values = {}
        # Steps in all, and with this image.
        self.t = self._since = 0
        self._quiet_since: int | None = None

    @torch.no_grad()
    def feed(self, x: Tensor) -> None:
        """Present the next batch of images, of the same shape, and keep the state: what has changed
        is sent.

        For differential coding only. The value of spikes starts again as for a new image. From now
        on neurons have their hysteresis. Raises UserError otherwise.
        """
        self._check_started()
        self._input.feed(x)
        self._since, self._quiet_since = 0, None
        for _, layer in self.layers():
            layer.later = True

    @torch.no_grad()
    def step(self, probes: tuple[Probe, ...] = ()) -> bool:
        """One timestep, up to what is read. Returns whether anything may happen while spikes keep
        their value.

        In rate coding that is always so.
        """
        self._check_started()
        assert self._values is not None
        self.t, self._since = self.t + 1, self._since + 1
        values, active, weight = self._values, False, self.spike_weight(self._since)
        for node in self.plan.stepped:
            name = node.name
            if self.t > 1 and name in self.plan.constant:
                continue
            given = [values[i] for i in node.inputs]
            if node.op == "input":
                values[name] = self._input.send(name, self.t)
            elif node.op == "activation":
                values[name] = self._fire(name, node.inputs[0], given[0], weight, probes)
                active = active or values[name] is not None or not self.layer(name).settled
            else:
                values[name] = self.synapses(
                    node, given, weight, self.t == 1 or not self.plan.coding.once
                )
            if self.t == 1:
                value = values[name]
                assert isinstance(value, Tensor)
                self._shapes[name] = value.shape
            for used in self.plan.releases[name]:
                del values[used]
        self._output.add(values, self.t)
        if not self.plan.coding.once or not all(layer.settled for _, layer in self.layers()):
            self._quiet_since = None
        elif self._quiet_since is None or weight != self.spike_weight(self._since - 1):
            self._quiet_since = self._since
        return active or not self.plan.coding.once

    def snapshot(self, maps: bool = False) -> Snapshot:
        """The output and the costs so far. maps: with spike maps. Raises ValueError before the
        first step.
        """
        self._check_started()
        if self.t == 0:
            raise ValueError("nothing has happened yet: call step() first")
        counts, drawn = self.counts(), {}
        totals = {
            name: Counts.unstacked(_per_image(count.stacked())) for name, count in counts.items()
        }
        switching = self.recipe.neuron.events == "switches"
        spikes = {
            name: _per_image(layer.count) if switching else totals[name].spikes
            for name, layer in self.layers()
        }
        if maps:
            drawn = {
                name: layer.count.mean(1) for name, layer in self.layers() if layer.count.ndim == 4
            }
        share = self.recipe.bias_share(self.spike_weight(self._since))
        outputs = self._output.read(self.t, self._shapes, share)
        sent = Counts.of(lambda *each: sum(each), *totals.values())
        by_layer = operations.operations_by_layer(self.graph, counts)
        nothing = Counts.alike(torch.zeros_like(self._updates))
        done = Counts.of(lambda *each: sum(each), nothing, *by_layer.values())
        updates = self._updates.clone()
        return Snapshot(self._since, outputs, spikes, sent, done, updates, drawn, totals, by_layer)

    def _check_started(self) -> None:
        if self._values is None:
            raise ValueError("there is no run to go on with: call start(x) first")

    def spike_weight(self, t: int) -> float:
        """What a spike is worth in step t of an image, in thetas."""
        return coding.spike_weight(self.recipe.encoding, t)

    def layers(self) -> Iterable[tuple[str, NeuronLayer]]:
        """The layers of neurons by name, in order."""
        return ((name, self.layer(name)) for name in self.neurons)

    def layer(self, name: str) -> NeuronLayer:
        """The layer of neurons at an activation."""
        layer = self.neurons[name]
        assert isinstance(layer, NeuronLayer)
        return layer

    def _fire(
        self,
        name: str,
        source: str,
        value: Tensor | Active | None,
        weight: float,
        probes: tuple[Probe, ...],
    ) -> Tensor | Active | None:
        """What a layer of neurons sends; None for silence in differential coding."""
        layer = self.layer(name)
        current = None if value is None else self.synapses.analogue(source, value)
        if current is None and layer.settled and layer.spike_weight == weight:
            layer.idle()
            return None
        spikes: Tensor | Active | None = layer(current, weight)
        self._updates += self._neurons(layer) * self._received(name, current)
        if self.plan.coding.once and self.t > 1 and layer.silent():
            spikes = None
        for probe in probes:  # of a network that is observed, in which nothing is left out
            assert not isinstance(current, Active)
            probe(name, self.t, layer, current)
        return spikes

    def _received(self, name: str, current: Tensor | Active | None) -> Tensor | int:
        """1 for each image of which a layer received something in this step, else 0."""
        if self.t == 1 or not self.plan.coding.once:
            return 1
        if isinstance(current, Active):
            return current.images()
        if current is None or (immediate(current) and len(current) == 1):  # silence is None
            return int(current is not None)
        received = current.flatten(1).any(1)
        pool = self.plan.sums.get(name)
        return (
            received
            if pool is None or immediate(current)
            else received & self.synapses.arrived[pool]
        )

    @staticmethod
    def _neurons(layer: NeuronLayer) -> int:
        return layer.count[0].numel() * layer.neurons_per_site

    def counts(self) -> dict[str, Counts]:
        """Events so far of everything that sends them, at each position: layers, max poolings, the
        image.
        """
        layers = {name: layer.counts for name, layer in self.layers()}
        return {**layers, **self.synapses.pooled_counts(), **self._input.counts()}

    def __getstate__(self) -> dict[str, Any]:
        """A copy, or what is pickled, has no run."""
        return {**self.__dict__, "_values": None}

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Moved to another device or dtype: the run is over."""
        self._values = None
        return super()._apply(fn, recurse)


def _per_image(count: Tensor) -> Tensor:
    return count.sum(tuple(range(1, count.ndim)), dtype=torch.float64)
