"""Analyse a network on images: run them, collect every layer's errors, and write the results."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.apps.analyze.chain import OWN, PARTS, chain
from spiking_yolo.apps.analyze.records import LayerTotals, Watch
from spiking_yolo.convert.converted import Converted
from spiking_yolo.draw import FigureFormat
from spiking_yolo.graph import Activation, Graph, Node, forward
from spiking_yolo.graph.graph import layer_labels, short_name
from spiking_yolo.io.json import write_json
from spiking_yolo.io.tables import WIDTH, columns, percent, write_csv
from spiking_yolo.observe import Observer, mean_rate, read_input, relative_error
from spiking_yolo.options import silent, versions

NOTE = """\
error: norm of the difference between SNN and ANN, in % of the norm of the ANN's activation. Norms
of its parts: clip(ping), quant(isation), spike(-inherent), and what comes from the layers below,
of which uneven (arrival). Parts cancel each other, so norms do not add up; what parts contribute,
in error.png, does: their projections on the whole difference. SIN: % of inactivated neurons that
fired, by t = 16 and in all. Neurons stand in front of max pooling here (neuron.pool_first=false),
so that layers compare one to one with the ANN's."""
_HEAD = ("error", "clip", "quant", "spike", "below", "uneven", "SIN16", "SIN", "rate", "spikes")


@dataclass(frozen=True)
class Analysis:
    """Where the error of a conversion comes from.

    Attributes:
        converted: The network, with neurons in front of max pooling: its layers compare one to one
            with the ANN's activations.
        T: Timesteps of a run.
        images: The image files.
        layers: In the network's order.
        output_error: Relative error of the head tensors by timestep, the mean over images.
    """

    converted: Converted
    T: int
    images: tuple[str, ...]
    layers: tuple[LayerTotals, ...]
    output_error: Mapping[int, float]

    def text(self) -> str:
        """A table that fits 100 columns, and the largest error in a sentence."""
        labels = layer_labels(self.converted.graph)
        worst = max(self.layers, key=lambda layer: layer.error / (layer.ann or 1.0))
        shares = worst.shares()
        largest = max(PARTS, key=lambda name: shares[name])
        said = (
            f"The output's relative error is {self.output_error[self.T]:.3g} after {self.T} steps."
            f" The largest of a layer is {worst.relative_error:.3g}, in"
            f" {labels.get(worst.name, worst.name)}, most of it {largest}."
        )
        return f"{layer_table(self)}\n\n{NOTE}\n\n{textwrap.fill(said, WIDTH)}"

    def save(self, folder: Path, figures: FigureFormat = "png") -> None:
        """Write layers.csv, analysis.json and the figures, as .png and in the format `figures`."""
        from spiking_yolo.apps.analyze.figures import error_by_layer, wrong_spikes

        write_csv(folder / "layers.csv", [layer.row() for layer in self.layers])
        write_json(folder / "analysis.json", self.content(), indent=1)
        error_by_layer(self.layers, folder / "error.png", figures)
        wrong_spikes(self.layers, folder / "wrong-spikes.png", figures)

    def content(self) -> dict[str, Any]:
        """analysis.json: the rows of layers.csv with the SIN ratio of every step, and where all of
        it comes from.
        """
        layers = []
        for layer in self.layers:
            sin = [layer.sin(t) for t in range(1, layer.T + 1)]
            layers.append({**layer.row(), "sin": sin})
        return {
            **self.converted.recipe.facts(),
            "weights_sha256": self.converted.provenance.get("weights_sha256"),
            "versions": versions(),
            "T": self.T,
            "images": [Path(image).name for image in self.images],
            "output_error": {str(t): error for t, error in self.output_error.items()},
            "layers": layers,
        }


def layer_table(analysis: Analysis) -> str:
    """One line per layer, of at most WIDTH columns; NOTE explains the columns."""
    table = [["layer", *_HEAD]]
    labels = layer_labels(analysis.converted.graph)
    for layer in analysis.layers:
        norms = layer.norms()
        cells = [percent(layer.relative_error)]
        for part in (*OWN, "inherited", "uneven arrival"):
            cells.append(percent(norms[part]))
        cells += [percent(layer.sin(16)), percent(layer.sin(layer.T))]
        spikes = f"{layer.spikes / layer.images:,.0f}"
        name = labels.get(layer.name) or short_name(layer.name)
        table.append([name[-30:], *cells, f"{layer.rates / layer.images:.3f}", spikes])
    return columns(table)


def analyze(
    converted: Converted,
    paths: Sequence[str],
    T: int,
    device: str = "cpu",
    progress: Callable[[str, int, int], Any] = silent,
) -> Analysis:
    """Run every image for T steps, and split the error of every layer into its parts.

    Args:
        converted: The network. Its neurons are put in front of max pooling.
        paths: Image files, of which one is in memory at a time.
        T: Timesteps.
        device: Where the network runs.
        progress: progress("images", done, total), called after every image.

    Raises:
        UserError: A file is not an image.
    """
    neuron = replace(converted.recipe.neuron, pool_first=False)
    converted = replace(converted, recipe=replace(converted.recipe, neuron=neuron))
    network = converted.network(device, observed=True)
    graph = converted.graph.to(device)
    observer = Observer(network, graph, converted.spec)
    totals = {node.name: LayerTotals(node.name, T) for node in graph.activations}
    errors = dict.fromkeys(sorted({max(1, T // 4), max(1, T // 2), T}), 0.0)
    for done, path in enumerate(paths, 1):
        image = read_input(path, converted.spec)
        x = image.x[None].to(device)
        before, outputs = _pre_activations(graph, x)
        probe = Watch(before, T)
        (seen,) = observer.observe([image], T, list(errors), want=(), probes=[probe])
        for t in errors:
            errors[t] += relative_error(seen.steps[t].outputs, outputs) / len(paths)
        for name, total in totals.items():
            watch = probe.layers.pop(name)
            watch.finish()
            links = chain(
                converted.neurons[name],
                converted.recipe,
                watch.phi,
                name,
                watch.before,
                watch.received,
                watch.sent,
                T,
                partial(network.spike_weight, name=name),
            )
            spikes = seen.steps[T].spikes[name]
            rate = mean_rate(spikes, seen.neurons_by_layer[name], seen.last.active_steps)
            total.add(links, watch, spikes, rate)
        progress("images", done, len(paths))
    return Analysis(converted, T, tuple(map(str, paths)), tuple(totals.values()), errors)


@torch.no_grad()
def _pre_activations(
    graph: Graph, x: Tensor
) -> tuple[dict[str, tuple[Tensor, Activation]], tuple[Tensor, ...]]:
    """The ANN's pre-activations by layer, with their activation functions, and its outputs."""
    before: dict[str, tuple[Tensor, Activation]] = {}

    def tap(node: Node, pre: Tensor, post: Tensor) -> None:
        before[node.name] = pre, node.phi

    outputs = forward(graph, x, tap)
    return before, tuple(output.cpu() for output in outputs)
