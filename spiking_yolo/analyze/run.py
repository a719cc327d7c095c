"""A converted network over some images, image by image: the chain of errors of every layer, and a sample of neurons."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..convert.converter import Converted
from ..errors import UserError
from ..graph import Node, activation
from ..graph import run as run_ann
from ..images import fit, read_image
from ..snn.random import image_keys
from .chain import chain
from .totals import LayerTotals
from .watch import Sample, Watch, choose


@dataclass(frozen=True)
class Analysis:
    """converted: with neurons in front of the pooling, so that layers compare one to one with the ANN's activations.

    layers: in order. sample: neurons of one layer on the first image. output_error: of the head's tensors at some
    timesteps, norm of the difference over norm of the ANN's.
    """

    converted: Converted
    T: int
    images: tuple[str, ...]
    layers: tuple[LayerTotals, ...]
    sample: Sample
    output_error: Mapping[int, float]


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
    graph, network = converted.graph.to(device), converted.network(device)
    names = [node.name for node in graph.sites]
    layer = layer or names[len(names) // 2]
    if layer not in names:
        raise UserError(f"--layer: no layer {layer!r}; the layers are {', '.join(names)}")
    totals = {name: LayerTotals(name, T) for name in names}
    sample: Sample | None = None
    outputs = OutputError()
    for x in load(converted, paths, device):
        before: dict[str, tuple[Tensor, float]] = {}

        def tap(node: Node, pre: Tensor, post: Tensor, found=before) -> None:
            found[node.name] = pre, node.attrs["slope"]

        with torch.no_grad():
            expected = run_ann(graph, x, tap)
        watch = Watch(before, T)
        if sample is None:
            sample = watch.sample = choose(layer, activation(*before[layer]), converted.sites[layer]["theta"])
        run = network.run(x, T, steps(T), probes=[watch], progress=lambda t: progress())
        for _ in range(T - run.steps):
            progress()
        for t, snapshot in run.snapshots.items():
            outputs.add(t, snapshot.outputs, expected)
        for name, (z, slope) in before.items():
            seen = watch.layers.pop(name)
            seen.finish()
            links = chain(
                converted.sites[name], converted.recipe, slope, name, z, seen.received, seen.sent, T, network.quantum,
                image_keys(x),
            )  # fmt: skip
            spikes = {t: float(s.spikes[name].sum()) for t, s in run.snapshots.items()}
            totals[name].add(links, seen, spikes, run.neurons[name])
            progress()
    assert sample is not None
    names_ = tuple(str(path) for path in paths)
    return Analysis(converted, T, names_, tuple(totals.values()), sample, outputs.relative())


def work(converted: Converted, T: int) -> int:
    """Calls of progress for one image."""
    return T + len(converted.graph.sites)


def steps(T: int) -> list[int]:
    """The timesteps at which spikes are reported: a quarter, half and all of the run."""
    return sorted({max(1, T // 4), max(1, T // 2), T})


def load(converted: Converted, paths: Iterable[str], device: str) -> Iterable[Tensor]:
    """The network's input for each image file, [1, 3, H, W]."""
    for path in paths:
        yield fit(read_image(path), converted.spec)[0][None].to(device)


class OutputError:
    """Relative error of output tensors by timestep, over images."""

    def __init__(self):
        self._difference: dict[int, float] = {}
        self._expected: dict[int, float] = {}

    def add(self, t: int, got: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
        for g, e in zip(got, expected, strict=True):
            self._difference[t] = self._difference.get(t, 0.0) + float((g - e).double().square().sum())
            self._expected[t] = self._expected.get(t, 0.0) + float(e.double().square().sum())

    def relative(self) -> dict[int, float]:
        return {t: (d / max(self._expected[t], 1e-300)) ** 0.5 for t, d in self._difference.items()}


@dataclass(frozen=True)
class Cost:
    """What a method spends as the tools run it. spikes: per image, by timestep; error: of the output tensors."""

    spikes: Mapping[int, float]
    error: Mapping[int, float]


def cost(
    converted: Converted,
    paths: Sequence[str],
    T: int,
    device: str = "cpu",
    progress: Callable[[], Any] = lambda: None,
) -> Cost:
    """Spikes and error of a method at `steps(T)`. progress() is called T times per image."""
    graph, network = converted.graph.to(device), converted.network(device)
    spikes, outputs = dict.fromkeys(steps(T), 0.0), OutputError()
    for x in load(converted, paths, device):
        with torch.no_grad():
            expected = run_ann(graph, x)
        run = network.run(x, T, steps(T), progress=lambda t: progress())
        for _ in range(T - run.steps):
            progress()
        for t, snapshot in run.snapshots.items():
            spikes[t] += float(sum(n.sum() for n in snapshot.spikes.values())) / len(paths)
            outputs.add(t, snapshot.outputs, expected)
    return Cost(spikes, outputs.relative())
