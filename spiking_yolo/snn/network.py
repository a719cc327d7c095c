"""The time loop: one run to T gives the output at every t <= T."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, Node
from spiking_yolo.graph.rewrites import constant_nodes, pool_before_neuron
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn import encoding, neurons, operations
from spiking_yolo.snn.blocks import Scratch, channels_last
from spiking_yolo.snn.options import SimulationOptions
from spiking_yolo.snn.random import image_keys
from spiking_yolo.snn.readout import Readout
from spiking_yolo.snn.snapshot import Run, Snapshot
from spiking_yolo.snn.wiring import Wiring

Probe = Callable[[str, int, neurons.Layer, Tensor | None], None]


class SpikingNetwork:
    """A graph with a layer of neurons at every activation site.

    graph: float tensors decide dtype and device. sites: activation node -> {"theta": [C], "initial": ..., "theta_off"}.
    State is allocated at the first step for the shape of the batch and then reused, so memory does not grow with T.
    """

    def __init__(
        self,
        graph: Graph,
        sites: Mapping[str, Mapping[str, Tensor]],
        recipe: Recipe,
        simulation: SimulationOptions = SimulationOptions(),  # noqa: B008
    ):
        if missing := [node.name for node in graph.activations if node.name not in sites]:
            raise UserError(f"no threshold for the activation {missing[0]!r}: convert the network again")
        self.recipe = recipe
        self.differential = recipe.encoding.coding == "differential"
        if recipe.neuron.kind == "memory" and recipe.neuron.pool_first:
            graph = pool_before_neuron(graph)
        self.graph = graph
        self.simulation = simulation
        poisson = recipe.encoding.input == "poisson"
        self._constant = set() if self.differential or poisson else constant_nodes(graph)
        values = {node.name: sites[node.name]["theta"] for node in graph.activations}
        self._wiring = Wiring(graph, values, self._constant, simulation)
        self._input_events: dict[str, Tensor] = {}
        heads = [name for name in graph.outputs if graph[name].op != "activation"]  # a neuron adds its bias itself
        corrections = {name: sites[name]["bias"] for name in heads if "bias" in sites.get(name, {})}
        self._readout = Readout(graph, self._wiring, recipe.readout.skip, self.differential, corrections)
        self.layers = {n.name: neurons.build(sites[n.name], recipe, n.phi, n.name) for n in graph.activations}
        for name, layer in self.layers.items():
            layer.constant = set(graph[name].inputs) <= self._constant
            if simulation.precision == "bf16":
                layer.out_dtype = simulation.synapses(self._wiring.like.dtype)
        self._pool_of = self._pools_of_sums()
        scratch = Scratch()
        for layer in self.layers.values():
            layer.scratch = scratch
        if simulation.compiled:
            for part in (*self.layers.values(), *self._wiring.pools.values()):
                part.compile()
        self._stepped = [node for node in graph.nodes if node not in self._wiring.readout]
        last = {name: node.name for node in self._stepped for name in node.inputs}
        keep = self._readout.sources | self._constant
        self._release = {
            node.name: [i for i in set(node.inputs) if last[i] == node.name and i not in keep] for node in self._stepped
        }

    def _pools_of_sums(self) -> dict[str, str]:
        """Layer -> max pooling before it, where the neurons follow the sum of their input, which the pooling keeps."""
        users = self.graph.consumers()
        behind = {name: self.graph[name].inputs[0] for name, layer in self.layers.items() if layer.follows_sums}
        alone = {name for name in self._wiring.pools if len(users[name]) == 1 and name not in self.graph.outputs}
        return {name: pool for name, pool in behind.items() if pool in alone}

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

        x: [N, C, H, W]. steps: where to take snapshots, besides T. maps: snapshots carry spike maps.
        progress(t) is called after every step; probes(layer name, t, layer, current) after every layer's step.
        """
        wanted = sorted({*steps, T})
        if T < 1 or wanted[0] < 1 or wanted[-1] > T:
            raise UserError(f"steps must lie in 1..T={T}, not {', '.join(map(str, wanted))}")
        if self.recipe.readout.skip >= T:
            raise UserError(f"readout.skip={self.recipe.readout.skip} leaves no step to read: it must be below T={T}")
        self._keys = image_keys(x) if self._is_random else []
        x, probes = channels_last(x), tuple(probes)
        pool_of = {} if probes else self._pool_of  # a probe wants to see what arrives in each step
        for name, layer in self.layers.items():
            layer.summed = name in pool_of
            layer.reset(self._keys, watched=bool(probes))
        self._wiring.reset(pool_of.values())
        self._input_events = {}
        self._shapes: dict[str, torch.Size] = {}
        self._values: dict[str, Tensor | None] = {}
        self._readout.reset()
        snapshots: dict[int, Snapshot] = {}
        t = 0
        for t in range(1, T + 1):
            active = self._step(x if t == 1 or not self.differential else None, t, probes)
            self._readout.add(self._values, t)
            if t in wanted:
                snapshots[t] = self._snapshot(t, maps)
            if progress is not None:
                progress(t)
            if not active and self.spike_weight(T) == self.spike_weight(t):
                break
        if t < T:  # settled: nothing changes any more
            settled = self._snapshot(t, maps)
            snapshots |= {s: replace(settled, t=s) for s in wanted if s >= t}
        self._values.clear()
        sizes = {name: layer.count[0].numel() * layer.neurons_per_site for name, layer in self.layers.items()}
        return Run(snapshots, sizes, t, *operations.total_macs(self.graph, self._shapes, self._counts()))

    def _step(self, x: Tensor | None, t: int, probes: tuple[Probe, ...]) -> bool:
        """One timestep up to what is read. Returns whether anything may still happen."""
        values, active, spike_weight = self._values, False, self.spike_weight(t)
        biased = t == 1 or not self.differential
        for node in self._stepped:
            name = node.name
            if t > 1 and name in self._constant:
                continue
            if node.op == "input":
                values[name] = self._encode(name, x, t)
            elif node.op == "activation":
                values[name] = self._fire(node, self._plain(node.inputs[0]), t, spike_weight, probes)
                active = active or values[name] is not None or not self.layers[name].settled
            else:
                values[name] = self._transmit(node, [values[i] for i in node.inputs], spike_weight, biased)
            if t == 1:
                value = values[name]
                assert value is not None
                self._shapes[name] = value.shape
            for used in self._release[name]:
                del values[used]
        return active or not self.differential

    def _fire(
        self, node: Node, current: Tensor | None, t: int, spike_weight: float, probes: tuple[Probe, ...]
    ) -> Tensor | None:
        layer = self.layers[node.name]
        if current is None and layer.settled and layer.spike_weight == spike_weight:
            layer.rest()
            return None
        spikes: Tensor | None = layer.step(current, spike_weight)
        if self.differential:
            silent = layer.silent()
            layer.settled = silent and layer.quiet()
            if silent and t > 1:
                spikes = None
        for probe in probes:
            probe(node.name, t, layer, current)
        return spikes

    @property
    def _is_random(self) -> bool:
        return self.recipe.encoding.input == "poisson" or self.recipe.msat.confidence != "off"

    def _encode(self, name: str, x: Tensor | None, t: int) -> Tensor | None:
        """What the image sends in step t."""
        e = self.recipe.encoding
        if x is None or e.input == "analogue":
            return x
        sent, fired = encoding.poisson(x, e.seed, self._keys, name, t)
        self._input_events[name] = fired if t == 1 else self._input_events[name].add_(fired)
        return sent

    def spike_weight(self, t: int) -> float:
        """Value of a spike in step t, in units."""
        return encoding.spike_weight(self.recipe.encoding, t)

    def _transmit(self, node: Node, given: Sequence[Tensor | None], spike_weight: float, biased: bool) -> Tensor | None:
        return self._wiring.transmit(node, given, spike_weight, biased)

    def _plain(self, name: str) -> Tensor | None:
        value = self._values[name]
        return None if value is None else self._wiring.plain(name, value)

    def _snapshot(self, t: int, maps: bool) -> Snapshot:
        spikes = {name: _per_image(layer.count) for name, layer in self.layers.items()}
        events = {name: _per_image(layer.events) for name, layer in self.layers.items()}
        drawn = {}
        if maps:
            drawn = {name: layer.count.mean(1) for name, layer in self.layers.items() if layer.count.ndim == 4}
        outputs = self._readout.outputs(t, self._transmit, self._shapes)
        work = operations.total_operations(self.graph, self._counts())
        return Snapshot(t, outputs, spikes, events, work, drawn)

    def _counts(self) -> dict[str, Tensor]:
        """Events so far of everything that sends them."""
        neurons_ = {name: layer.events for name, layer in self.layers.items()}
        pools = {name: pool.count for name, pool in self._wiring.pools.items() if not pool.summed}
        return {**neurons_, **pools, **self._input_events}


def _per_image(count: Tensor) -> Tensor:
    return count.sum(tuple(range(1, count.ndim)), dtype=torch.float64)
