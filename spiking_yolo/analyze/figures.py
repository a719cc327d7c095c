"""The figures of the draft paper, from data: Fig. 2 to 6."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ..draw.curves import MARKERS, bar_plot
from ..draw.figure import paper_figure
from ..draw.palette import PALETTE, hex_colour
from .chain import INHERITED, PARTS
from .run import Analysis, Cost
from .totals import LayerTotals, short
from .watch import Sample

COLOURS = [hex_colour(colour) for colour in PALETTE]
CURVES = 6  # more cannot be told apart
SHOWN = 4  # neurons whose threshold is drawn over time


def draw_all(analysis: Analysis, costs: Mapping[str, Cost], folder: Path) -> None:
    """error.png, wrong-spikes.png, threshold-time.png, spikes.png and threshold-activation.png.

    costs: by method; without any, spikes.png shows the layers of the analysed network.
    """
    recipe, sample = analysis.converted.recipe, full(analysis.sample, analysis.T)
    caption = f"{recipe.name}, layer {short(sample.name)}"
    error_by_layer(analysis.layers, folder / "error.png")
    wrong_spikes(analysis.layers, folder / "wrong-spikes.png")
    threshold_over_time(sample, folder / "threshold-time.png", caption)
    threshold_and_activation(sample, folder / "threshold-activation.png", caption)
    spikes = {name: cost.spikes for name, cost in costs.items()} or {
        short(layer.name): {t: n / layer.images for t, n in layer.spikes.items()} for layer in analysis.layers
    }
    largest = max(max(counts.values()) for counts in spikes.values())
    scale, unit = (1e6, "10⁶") if largest >= 1e6 else (1e3, "10³") if largest >= 1e3 else (1, "")
    bars = {
        f"T = {t}": {name: counts[t] / scale for name, counts in spikes.items()}
        for t in sorted(next(iter(spikes.values())))
    }
    bar_plot(folder / "spikes.png", bars, f"spikes per image ({unit})" if unit else "spikes per image")


def error_by_layer(layers: Sequence[LayerTotals], path: Path) -> None:
    """Fig. 2: the relative error of every layer, as a stack of what each part contributes."""
    colours = dict(zip(PARTS, (COLOURS[3], COLOURS[1], COLOURS[4], COLOURS[0], COLOURS[5]), strict=True))
    place = np.arange(len(layers))
    with paper_figure(path, max(4.6, 0.36 * len(layers) + 1.4), 3.2) as figure:
        axes = figure.subplots()
        up, down = np.zeros(len(layers)), np.zeros(len(layers))
        for name in PARTS:
            share = np.array([layer.shares()[name] for layer in layers])
            label = f"inherited: {name}" if name in INHERITED else name
            axes.bar(place, share, 0.72, np.where(share >= 0, up, down), color=colours[name], label=label)
            up, down = up + share.clip(min=0), down + share.clip(max=0)
        total = [layer.relative_error for layer in layers]
        axes.plot(place, total, "D", color="black", markersize=3.5, label="total", clip_on=False)
        if down.min() < -1e-3 * up.max():
            axes.axhline(0, color="#444444", linewidth=0.8)
        axes.grid(True, axis="y")
        axes.set_ylabel("relative error")
        _layer_ticks(axes, [short(layer.name) for layer in layers])
        _legend(axes, 3)


def wrong_spikes(layers: Sequence[LayerTotals], path: Path) -> None:
    """Fig. 3: neurons that the ANN leaves inactive and that have fired, over time."""
    chosen = spread(layers, CURVES)
    with paper_figure(path, 4.6, 3.2) as figure:
        axes = figure.subplots()
        for i, layer in enumerate(chosen):
            t = np.arange(1, layer.T + 1)
            ratio = [layer.sin(k) for k in t]
            style = {"marker": MARKERS[i], "markevery": max(1, len(t) // 8), "markeredgecolor": "white", "mew": 0.5}
            axes.plot(t, ratio, color=COLOURS[i], label=short(layer.name), **style)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        axes.set(xlabel="timestep t", ylabel="inactivated neurons that fired", ylim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(True)
        _legend(axes, 3)


def threshold_over_time(sample: Sample, path: Path, caption: str) -> None:
    """Fig. 4: the threshold of some neurons, and their membrane potential below it."""
    order = np.argsort(-sample.activation)
    active = order[sample.activation[order] > 0]
    ranks = np.linspace(0, len(active) - 1, SHOWN - 1).round().astype(int) if len(active) else []
    chosen = [*active[list(dict.fromkeys(ranks))], *order[len(active) :][:1]]
    theta, potential = (np.stack(values) / sample.top for values in (sample.theta, sample.potential))
    with paper_figure(path, 4.6, 4.2) as figure:
        above, below = figure.subplots(2, 1, sharex=True)
        for i, k in enumerate(chosen):
            activation = sample.activation[k] / sample.top[k]
            label = f"ANN {activation:.2g} Θ" if activation > 0 else "inactive in the ANN"
            # Constant thresholds lie on top of each other: thinner lines leave all of them visible.
            width = 1.6 if np.ptp(theta) > 1e-6 else 4.4 - 1.2 * i
            above.plot(sample.t, theta[:, k], color=COLOURS[i], label=label, linewidth=width, drawstyle="steps-mid")
            below.plot(sample.t, potential[:, k], color=COLOURS[i], linewidth=1.2)
        above.set_ylabel("threshold θ(t) / Θ")
        below.set(xlabel="timestep t", ylabel="potential U(t) / Θ")
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
        for axes in (above, below):
            axes.grid(True)
        top = float(theta.max())
        if top > 8 * float(theta.min()):
            above.set_yscale("log", base=2)
            above.yaxis.set_major_formatter("{x:g}")
        else:
            above.set_ylim(min(0, float(theta.min())), 1.08 * top)
        above.set_title(caption)
        _legend(above, 2)


def threshold_and_activation(sample: Sample, path: Path, caption: str) -> None:
    """Fig. 6: the threshold of every sampled neuron against its ANN activation, after different numbers of steps."""
    T = sample.t[-1]
    steps = sorted({1, *(max(1, round(T ** (k / 3))) for k in (1, 2)), T})
    with paper_figure(path, 4.6, 3.2) as figure:
        axes = figure.subplots()
        for i, t in enumerate(steps):
            theta = sample.theta[t - 1] / sample.top
            style = {"s": 9, "linewidths": 0, "alpha": 0.75, "rasterized": True}
            label = "t = 1 (first step)" if t == 1 and T > 1 else f"t = {t}"
            axes.scatter(
                sample.activation / sample.top, theta, color=COLOURS[i], marker=MARKERS[i], label=label, **style
            )
        axes.set(xlabel="ANN activation / Θ", ylabel="threshold θ(t) / Θ", title=caption)
        axes.set_ylim(0, None)
        axes.grid(True)
        _legend(axes, 4)


def full(sample: Sample, T: int) -> Sample:
    """The sample at every timestep: a settled layer stays as it was when it was last seen."""
    index = np.searchsorted(sample.t, np.arange(1, T + 1), side="right") - 1
    theta, potential = ([values[i] for i in index] for values in (sample.theta, sample.potential))
    return Sample(sample.name, sample.activation, sample.top, sample.where, list(range(1, T + 1)), theta, potential)


def spread(layers: Sequence[LayerTotals], most: int) -> list[LayerTotals]:
    """At most so many of the layers, from the first to the last."""
    return [layers[i] for i in sorted(set(np.linspace(0, len(layers) - 1, most).round().astype(int)))]


def _layer_ticks(axes: Axes, names: Sequence[str]) -> None:
    axes.tick_params(axis="x", length=0)
    long = max(map(len, names)) > 4
    turn = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if long else {}
    axes.set_xticks(range(len(names)), names, **turn)
    if not long:
        axes.set_xlabel("layer")


def _legend(axes: Axes, columns: int) -> None:
    handles, names = axes.get_legend_handles_labels()
    figure = axes.get_figure()
    assert figure is not None
    figure.legend(handles, names, loc="outside upper center", ncols=columns, handlelength=1.6, columnspacing=1.4)
