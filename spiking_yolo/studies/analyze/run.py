"""A converted network over some images, image by image: the chain of errors of every layer, and a sample of neurons."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.convert.calibrate_value import relative_error
from spiking_yolo.convert.converted import Converted
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Activation, Node, forward
from spiking_yolo.snn.backend.layout import per_channel
from spiking_yolo.snn.random import image_keys
from spiking_yolo.studies.analyze.chain import chain
from spiking_yolo.studies.analyze.cost import load, steps
from spiking_yolo.studies.analyze.totals import LayerTotals, short
from spiking_yolo.studies.analyze.watch import NeuronSample, Watch, choose


@dataclass(frozen=True)
class Analysis:
    """converted: with neurons in front of the pooling, so that layers compare one to one with the ANN's activations.

    layers: in order. sample: neurons of one layer on the first image. output_error: of the head's tensors at some
    timesteps, norm of the difference over norm of the ANN's, mean over images.
    """

    converted: Converted
    T: int
    images: tuple[str, ...]
    layers: tuple[LayerTotals, ...]
    sample: NeuronSample
    output_error: Mapping[int, float]

    @property
    def method(self) -> str:
        return self.converted.recipe.name


def analyze(
    converted: Converted,
    paths: Sequence[str],
    T: int,
    layer: str | None = None,
    device: str = "cpu",
    progress: Callable[[], Any] = lambda: None,
) -> Analysis:
    """Run every image for T steps. layer: where neurons are sampled; None is the middle of the network.

    progress() is called `work(converted, T)` times per image. One image is in memory at a time.
    Raises UserError for an unknown layer and for files that are not images.
    """
    neuron = replace(converted.recipe.neuron, pool_first=False)
    converted = replace(converted, recipe=replace(converted.recipe, neuron=neuron))
    graph, network = converted.graph.to(device), converted.network(device, observed=True)
    names = [node.name for node in graph.activations]
    layer = names[len(names) // 2] if layer is None else {short(name): name for name in names}.get(layer, layer)
    if layer not in names:
        raise UserError(f"no layer {layer!r}: choose from {', '.join(map(short, names))}")
    totals = {name: LayerTotals(name, T) for name in names}
    sample: NeuronSample | None = None
    errors = dict.fromkeys(steps(T), 0.0)
    for x in load(converted, paths, device):
        before: dict[str, tuple[Tensor, Activation]] = {}

        def tap(node: Node, pre: Tensor, post: Tensor, before: dict[str, tuple[Tensor, Activation]] = before) -> None:
            before[node.name] = pre, node.phi

        with torch.no_grad():
            expected = forward(graph, x, tap)
        watch = Watch(before, T)
        if sample is None:
            z, phi = before[layer]
            sample = watch.sample = choose(layer, phi(z), converted.neurons[layer]["theta"])
        run = network.run(x, T, steps(T), probes=[watch], progress=lambda t: progress())
        for _ in range(T - run.steps):
            progress()
        for t, snapshot in run.snapshots.items():
            errors[t] += relative_error(snapshot.outputs, expected) / len(paths)
        for name, (z, phi) in before.items():
            seen = watch.layers.pop(name)
            seen.finish()
            site, sums, keys = converted.neurons[name], (seen.received, seen.sent), image_keys(x)
            links = chain(site, converted.recipe, phi, name, z, *sums, T, network.spike_weight, keys)
            spikes = {t: float(s.spikes[name].sum()) for t, s in run.snapshots.items()}
            totals[name].add(links, per_channel(converted.neurons[name]["theta"], z), seen, spikes, run.neurons[name])
            progress()
    assert sample is not None
    names_ = tuple(str(path) for path in paths)
    return Analysis(converted, T, names_, tuple(totals.values()), sample, errors)


def work(converted: Converted, T: int) -> int:
    """Calls of progress for one image."""
    return T + len(converted.graph.activations)
