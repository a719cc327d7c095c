"""Analyse a network on images: run them, collect every layer's errors, and write the results."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from spiking_yolo.apps.analyze.chain import INHERITED, OWN, PARTS, chain, whole_chain
from spiking_yolo.apps.analyze.records import LayerTotals, Watch
from spiking_yolo.convert.converted import Converted
from spiking_yolo.draw.colours import COLOURS
from spiking_yolo.draw.figure import MARKERS, paper_figure
from spiking_yolo.graph import Activation, Graph, Node, forward
from spiking_yolo.graph.titles import layer_labels
from spiking_yolo.integer.network import IntegerNetwork
from spiking_yolo.integer.stream import Network
from spiking_yolo.io.json import WIDTH, columns, percent, write_csv, write_json
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

    @property
    def labels(self) -> dict[str, str]:
        """Layer -> what tables and figures call it, such as "conv 5"."""
        labels = layer_labels(self.converted.graph)
        return {one.name: labels.get(one.name, one.name) for one in self.layers}

    def text(self) -> str:
        """A table that fits 100 columns, and the largest error in a sentence."""
        worst = max(self.layers, key=lambda layer: layer.error / (layer.ann or 1.0))
        shares = worst.shares()
        largest = max(PARTS, key=lambda name: shares[name])
        said = (
            f"The output's relative error is {self.output_error[self.T]:.3g} after {self.T} steps."
            f" The largest of a layer is {worst.relative_error:.3g}, in"
            f" {self.labels[worst.name]}, most of it {largest}."
        )
        return f"{layer_table(self)}\n\n{NOTE}\n\n{textwrap.fill(said, WIDTH)}"

    def save(self, folder: Path) -> None:
        """Write layers.csv, analysis.json and the figures."""
        write_csv(folder / "layers.csv", [layer.row() for layer in self.layers])
        write_json(folder / "analysis.json", self.content(), indent=1)
        error_by_layer(self, folder / "error.png")
        wrong_spikes(self, folder / "wrong-spikes.png")

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
    for layer in analysis.layers:
        norms = layer.norms()
        cells = [percent(layer.relative_error)]
        for part in (*OWN, "inherited", "uneven arrival"):
            cells.append(percent(norms[part]))
        cells += [percent(layer.sin(16)), percent(layer.sin(layer.T))]
        spikes = f"{layer.spikes / layer.images:,.0f}"
        name = analysis.labels[layer.name][-30:]
        table.append([name, *cells, f"{layer.rates / layer.images:.3f}", spikes])
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
    network: Network
    if converted.recipe.complete:
        network = converted.network(device)
    else:
        network = converted.simulator(device, observed=True)
    graph = converted.graph.to(device)
    observer = Observer(network, graph, converted.spec)
    totals = {node.name: LayerTotals(node.name, T) for node in graph.activations}
    errors = dict.fromkeys(sorted({max(1, T // 4), max(1, T // 2), T}), 0.0)
    for done, path in enumerate(paths, 1):
        image = read_input(path, converted.spec)
        x = image.x[None].to(device)
        before, outputs = _pre_activations(graph, x)
        probe, sent = Watch(before, T), dict[str, Tensor]()
        if isinstance(network, IntegerNetwork):
            with torch.no_grad():
                sent = network(x).sent
        probes = [] if sent else [probe]
        (seen,) = observer.observe([image], T, list(errors), want=(), probes=probes)
        for t in errors:
            errors[t] += relative_error(seen.steps[t].outputs, outputs) / len(paths)
        for name, total in totals.items():
            watch = probe.layers.pop(name)
            if isinstance(network, IntegerNetwork):
                links = whole_chain(network, name, watch.before, watch.phi, sent[name])
                watch.see_whole(links.snn)
            else:
                links = chain(
                    converted.neurons[name],
                    converted.recipe,
                    watch.phi,
                    name,
                    watch.before,
                    watch.received,
                    watch.sent,
                    T,
                )
            watch.finish()
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


# More curves cannot be told apart.
CURVES = 6
_PART_COLOURS = (COLOURS[3], COLOURS[1], COLOURS[4], COLOURS[0], COLOURS[5])


def error_by_layer(analysis: Analysis, path: Path) -> None:
    """Fig. 2: the relative error of every layer, as a stack of what each part contributes."""
    layers = analysis.layers
    place = np.arange(len(layers))
    with paper_figure(path, max(4.6, 0.36 * len(layers) + 1.4), 3.2) as figure:
        axes = figure.subplots()
        up = np.zeros(len(layers))
        down = np.zeros(len(layers))
        for name, colour in zip(PARTS, _PART_COLOURS, strict=True):
            share = np.array([layer.shares()[name] for layer in layers])
            label = name
            if name in INHERITED:
                label = f"inherited: {name}"
            bottom = np.where(share >= 0, up, down)
            axes.bar(place, share, 0.72, bottom, color=colour, label=label)
            up += share.clip(min=0)
            down += share.clip(max=0)
        total = [layer.relative_error for layer in layers]
        axes.plot(place, total, "D", color="black", markersize=3.5, label="total", clip_on=False)
        axes.margins(y=0.06)
        if down.min() < -1e-3 * up.max():
            axes.axhline(0, color="#444444", linewidth=0.8)
        axes.grid(True, axis="y")
        axes.set_ylabel("relative error")
        axes.tick_params(axis="x", length=0)
        turned = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(len(layers)), analysis.labels.values(), **turned)
        _legend(axes)


def wrong_spikes(analysis: Analysis, path: Path) -> None:
    """Fig. 3: the neurons that are inactive in the ANN and have fired, over time."""
    layers = analysis.layers
    with paper_figure(path, 4.6, 3.2) as figure:
        axes = figure.subplots()
        places = np.linspace(0, len(layers) - 1, CURVES).round().astype(int)
        shown = [layers[i] for i in sorted(set(places))]
        if len(shown) < len(layers):
            axes.set_title(f"{len(shown)} of {len(layers)} layers")
        for i, layer in enumerate(shown):
            t = range(1, layer.T + 1)
            axes.plot(
                t,
                [100 * layer.sin(k) for k in t],
                color=COLOURS[i],
                label=analysis.labels[layer.name],
                marker=MARKERS[i],
                markevery=max(1, len(t) // 8),
                markeredgecolor="white",
                mew=0.5,
            )
        axes.set(xlabel="timestep t", ylabel="inactivated neurons that fired (%)", ylim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(True)
        _legend(axes)


def _legend(axes: Axes) -> None:
    """A legend above the figure."""
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    loc = "outside upper center"
    figure.legend(loc=loc, ncols=3, handlelength=1.6, columnspacing=1.4)
