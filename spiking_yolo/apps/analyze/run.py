"""Analyse networks on images: run them, collect every layer's errors, and write the results."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.apps.analyze import AnalyzeOptions
from spiking_yolo.apps.analyze.chain import Chain, chain
from spiking_yolo.apps.analyze.diagnosis import NOTE, cost_table, diagnose, layer_table, wrapped
from spiking_yolo.apps.analyze.records import (
    Analysis,
    LayerTotals,
    LayerWatch,
    MethodCost,
    NeuronSample,
    Watch,
    sample_neurons,
)
from spiking_yolo.convert.converted import Converted
from spiking_yolo.draw import FigureFormat
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Activation, Graph, Node, forward
from spiking_yolo.graph.graph import activation_named, listed_activations
from spiking_yolo.io.json import write_json
from spiking_yolo.io.tables import write_csv
from spiking_yolo.observe import Observation, Observer, read_input, relative_error
from spiking_yolo.options import versions
from spiking_yolo.snn.coding import image_keys
from spiking_yolo.snn.layout import per_channel
from spiking_yolo.snn.network import SpikingNetwork

Before = dict[str, tuple[Tensor, Activation]]


@dataclass(frozen=True)
class Explanation:
    """An analysis, what it means, and what the compared methods cost.

    Attributes:
        analysis: Of the first method.
        costs: By method, if there are several.
        diagnosis: Sentences.
        tolerance: The relative error that a layer may have.
        remarks: "METHOD: what to say of it", see Recipe.remark.
    """

    analysis: Analysis
    costs: Mapping[str, MethodCost]
    diagnosis: Sequence[str]
    tolerance: float
    remarks: Sequence[str] = ()

    def text(self) -> str:
        """Tables that fit 100 columns, and the diagnosis."""
        parts = [layer_table(self.analysis), NOTE]
        if self.costs:
            parts.append(cost_table(self.costs))
        if self.remarks:
            parts.append("\n".join(self.remarks))
        return "\n\n".join([*parts, wrapped(self.diagnosis)])

    def save(self, folder: Path, figures: FigureFormat = "png") -> None:
        """Write layers.csv, analysis.json and the figures, as .png and in the format `figures`."""
        from spiking_yolo.apps.analyze.figures import draw_all

        write_csv(folder / "layers.csv", [layer.row() for layer in self.analysis.layers])
        write_json(folder / "analysis.json", self.content(), indent=1)
        draw_all(self.analysis, self.costs, folder, figures)

    def content(self) -> dict[str, Any]:
        """analysis.json: the rows of layers.csv with the SIN ratio of every step, the sampled
        neurons, and where all of it comes from.
        """
        analysis = self.analysis
        sample = analysis.sample
        network = analysis.converted
        layers = []
        for layer in analysis.layers:
            sin = [layer.sin(t) for t in range(1, layer.T + 1)]
            layers.append({**layer.row(), "sin": sin})
        return {
            **network.recipe.facts(),
            "weights_sha256": network.provenance.get("weights_sha256"),
            "versions": versions(),
            "T": analysis.T,
            "images": [Path(image).name for image in analysis.images],
            "limit": self.tolerance,
            "diagnosis": list(self.diagnosis),
            "output_error": {str(t): error for t, error in analysis.output_error.items()},
            "layers": layers,
            "sample": {
                "layer": sample.name,
                "activation": sample.activation.tolist(),
                "Theta": sample.top.tolist(),
                "t": sample.t,
                "theta": [values.tolist() for values in sample.theta],
                "potential": [values.tolist() for values in sample.potential],
            },
            "methods": {name: asdict(cost) for name, cost in self.costs.items()},
            "remarks": list(self.remarks),
        }


def explain(
    networks: Mapping[str, Converted],
    photographs: Sequence[str],
    options: AnalyzeOptions = AnalyzeOptions(),
    progress: Callable[[str, int, int], Any] = lambda what, done, total: None,
) -> Explanation:
    """Analyse the first network; of several, compare also their spikes and the output's error.

    Args:
        networks: By method.
        photographs: Image files.
        options: How long to run, which layer to sample, and how much error is too much.
        progress: Called as progress(what, done, total) after each timestep.

    Raises:
        UserError: A layer is unknown, a device is missing, or a file is not an image.
    """
    T, device = options.T, options.device
    first = next(iter(networks.values()))

    def ticks(what: str, per_image: int) -> Callable[[], Any]:
        done = count(1)
        return lambda: progress(what, next(done), len(photographs) * per_image)

    tick = ticks("layers", work(first, T))
    analysis = analyze(first, photographs, T, options.layer, device, tick)
    costs: dict[str, MethodCost] = {}
    if len(networks) > 1:
        for name, network in networks.items():
            costs[name] = method_cost(network, photographs, T, device, ticks(name, T))
    recipes = {name: network.recipe for name, network in networks.items()}
    remarks = [f"{name}: {recipe.remark}" for name, recipe in recipes.items() if recipe.remark]
    diagnosis = diagnose(analysis, options.tolerance)
    return Explanation(analysis, costs, diagnosis, options.tolerance, remarks)


def steps(T: int) -> list[int]:
    """The timesteps at which spikes are reported: a quarter, half and all of the run."""
    return sorted({max(1, T // 4), max(1, T // 2), T})


def work(converted: Converted, T: int) -> int:
    """How often `analyze` calls progress for one image."""
    return T + len(converted.graph.activations)


def method_cost(
    converted: Converted,
    paths: Sequence[str],
    T: int,
    device: str = "cpu",
    progress: Callable[[], Any] = lambda: None,
) -> MethodCost:
    """Spikes and error of a method at `steps(T)`. progress() is called T times per image."""
    observer = Observer(converted.network(device), converted.graph.to(device), converted.spec)
    spikes = dict.fromkeys(steps(T), 0.0)
    errors = dict.fromkeys(steps(T), 0.0)
    for seen in observer.observe(paths, T, steps(T), want={"ann"}, progress=lambda t: progress()):
        _tick_the_rest(seen, progress)
        for t, step in seen.steps.items():
            spikes[t] += step.total_spikes / len(paths)
            errors[t] += seen.error(t) / len(paths)
    return MethodCost(spikes, errors)


def analyze(
    converted: Converted,
    paths: Sequence[str],
    T: int,
    layer: str | None = None,
    device: str = "cpu",
    progress: Callable[[], Any] = lambda: None,
) -> Analysis:
    """Run every image for T steps, and split the error of every layer into its parts.

    Args:
        converted: The network. Its neurons are put in front of max pooling.
        paths: Image files, of which one is in memory at a time.
        T: Timesteps.
        layer: Where neurons are sampled; None: in the middle of the network.
        device: Where the network runs.
        progress: Called `work(converted, T)` times per image.

    Raises:
        UserError: The layer is unknown, or a file is not an image.
    """
    neuron = replace(converted.recipe.neuron, pool_first=False)
    converted = replace(converted, recipe=replace(converted.recipe, neuron=neuron))
    network = converted.network(device, observed=True)
    graph = converted.graph.to(device)
    observer = Observer(network, graph, converted.spec)
    names = [node.name for node in graph.activations]
    layer = _layer_of(graph, names, layer)
    totals = {name: LayerTotals(name, T) for name in names}
    sample: NeuronSample | None = None
    errors = dict.fromkeys(steps(T), 0.0)
    for path in paths:
        image = read_input(path, converted.spec)
        x = image.x[None].to(device)
        before, outputs = _pre_activations(graph, x)
        watch = Watch(before, T)
        if sample is None:
            z, phi = before[layer]
            sample = sample_neurons(layer, phi(z), converted.neurons[layer]["theta"])
            watch.sample = sample
        run = observer.observe(
            [image], T, steps(T), want=(), probes=[watch], progress=lambda t: progress()
        )
        seen = next(iter(run))
        _tick_the_rest(seen, progress)
        for t, step in seen.steps.items():
            errors[t] += relative_error(step.outputs, outputs) / len(paths)
        keys = image_keys(x)
        for name in names:
            record = watch.layers.pop(name)
            record.finish()
            links = _chain_of(name, record, converted, network, keys)
            theta = per_channel(converted.neurons[name]["theta"], record.before)
            spikes = {t: step.spikes[name] for t, step in seen.steps.items()}
            neurons = seen.neurons_by_layer[name]
            totals[name].add(links, theta, record, spikes, neurons, seen.last.active_steps)
            progress()
    assert sample is not None
    images = tuple(str(path) for path in paths)
    return Analysis(converted, T, images, tuple(totals.values()), sample, errors)


def _chain_of(
    name: str,
    record: LayerWatch,
    converted: Converted,
    network: SpikingNetwork,
    keys: Sequence[int],
) -> Chain:
    return chain(
        converted.neurons[name],
        converted.recipe,
        record.phi,
        name,
        record.before,
        record.received,
        record.sent,
        record.T,
        partial(network.spike_weight, name=name),
        keys,
    )


def _layer_of(graph: Graph, names: Sequence[str], layer: str | None) -> str:
    """The full name of a layer; by default the middle one."""
    if layer is None:
        return names[len(names) // 2]
    name = activation_named(graph, layer)
    if name is None or name not in names:
        raise UserError(f"no layer {layer!r}: choose from {listed_activations(graph)}")
    return name


@torch.no_grad()
def _pre_activations(graph: Graph, x: Tensor) -> tuple[Before, tuple[Tensor, ...]]:
    """The ANN's pre-activations by layer, with their activation functions, and its outputs."""
    before: Before = {}

    def tap(node: Node, pre: Tensor, post: Tensor) -> None:
        before[node.name] = pre, node.phi

    outputs = forward(graph, x, tap)
    return before, tuple(output.cpu() for output in outputs)


def _tick_the_rest(seen: Observation, progress: Callable[[], Any]) -> None:
    """Progress of the steps that were not simulated, since nothing changes in them."""
    for _ in range(seen.T - seen.simulated):
        progress()
