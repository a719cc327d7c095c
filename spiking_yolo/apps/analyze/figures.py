"""The figures of the draft paper, from data: Fig. 2 to 6."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from spiking_yolo.apps.analyze.chain import INHERITED, PARTS
from spiking_yolo.apps.analyze.run import Analysis, MethodCost
from spiking_yolo.apps.analyze.tables import (
    COLOURS,
    changes,
    full,
    legend,
    threshold_and_activation,
    threshold_over_time,
)
from spiking_yolo.apps.analyze.totals import LayerTotals, short
from spiking_yolo.draw import FigureFormat
from spiking_yolo.draw.curves import MARKERS, bar_plot
from spiking_yolo.draw.figure import paper_figure

CURVES = 6  # more cannot be told apart


def draw_all(
    analysis: Analysis,
    costs: Mapping[str, MethodCost],
    folder: Path,
    figures: FigureFormat = "png",
) -> None:
    """error.png, wrong-spikes.png and spikes.png; where thresholds change, threshold-time.png and
    threshold-activation.png too.

    costs: by method; without any, spikes.png shows the layers of the analysed network.
    figures: a second format of every figure.
    """
    sample = full(analysis.sample, analysis.T)
    caption = f"{analysis.method}, layer {short(sample.name)}"
    error_by_layer(analysis.layers, folder / "error.png", figures)
    wrong_spikes(analysis.layers, folder / "wrong-spikes.png", figures)
    if changes(sample):
        threshold_over_time(sample, folder / "threshold-time.png", caption, figures)
        path = folder / "threshold-activation.png"
        threshold_and_activation(sample, path, caption, figures)
    spike_count(analysis, costs, folder / "spikes.png", figures)


def spike_count(
    analysis: Analysis,
    costs: Mapping[str, MethodCost],
    path: Path,
    also: FigureFormat = "png",
) -> None:
    """Fig. 5: spikes by method after several numbers of steps; without methods, by layer of the
    analysed network.
    """
    T = analysis.T
    if costs:
        times = sorted(next(iter(costs.values())).spikes)
        bars = {f"T = {t}": {name: cost.spikes[t] for name, cost in costs.items()} for t in times}
    else:
        bars = {
            f"T = {T}": {short(one.name): one.spikes[T] / one.images for one in analysis.layers}
        }
    largest = max(max(counts.values()) for counts in bars.values())
    scale, unit = (
        (1e6, " (10⁶)") if largest >= 1e6 else (1e3, " (10³)") if largest >= 1e3 else (1, "")
    )
    scaled = {name: {key: n / scale for key, n in counts.items()} for name, counts in bars.items()}
    bar_plot(
        path,
        scaled,
        f"spikes per image{unit}",
        "" if costs else f"layer ({analysis.method}, T = {T})",
        ".2g",
        also,
    )


def error_by_layer(layers: Sequence[LayerTotals], path: Path, also: FigureFormat = "png") -> None:
    """Fig. 2: the relative error of every layer, as a stack of what each part contributes."""
    colours = dict(
        zip(PARTS, (COLOURS[3], COLOURS[1], COLOURS[4], COLOURS[0], COLOURS[5]), strict=True)
    )
    place = np.arange(len(layers))
    with paper_figure(path, max(4.6, 0.36 * len(layers) + 1.4), 3.2, also=also) as figure:
        axes = figure.subplots()
        up, down = np.zeros(len(layers)), np.zeros(len(layers))
        for name in PARTS:
            share = np.array([layer.shares()[name] for layer in layers])
            label = f"inherited: {name}" if name in INHERITED else name
            axes.bar(
                place, share, 0.72, np.where(share >= 0, up, down), color=colours[name], label=label
            )
            up, down = up + share.clip(min=0), down + share.clip(max=0)
        total = [layer.relative_error for layer in layers]
        axes.plot(place, total, "D", color="black", markersize=3.5, label="total", clip_on=False)
        axes.margins(y=0.06)
        if down.min() < -1e-3 * up.max():
            axes.axhline(0, color="#444444", linewidth=0.8)
        axes.grid(True, axis="y")
        axes.set_ylabel("relative error")
        _layer_ticks(axes, [short(layer.name) for layer in layers])
        legend((axes,), 3)


def wrong_spikes(layers: Sequence[LayerTotals], path: Path, also: FigureFormat = "png") -> None:
    """Fig. 3: neurons that the ANN leaves inactive and that have fired, over time."""
    chosen = spread(layers, CURVES)
    with paper_figure(path, 4.6, 3.2, also=also) as figure:
        axes = figure.subplots()
        for i, layer in enumerate(chosen):
            t = range(1, layer.T + 1)
            ratio = [100 * layer.sin(k) for k in t]
            style = {
                "marker": MARKERS[i],
                "markevery": max(1, len(t) // 8),
                "markeredgecolor": "white",
                "mew": 0.5,
            }
            axes.plot(t, ratio, color=COLOURS[i], label=f"layer {short(layer.name)}", **style)
        axes.set(xlabel="timestep t", ylabel="inactivated neurons that fired (%)", ylim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(True)
        legend((axes,), 3)


def spread(layers: Sequence[LayerTotals], most: int) -> list[LayerTotals]:
    """At most so many of the layers, from the first to the last."""
    return [
        layers[i] for i in sorted(set(np.linspace(0, len(layers) - 1, most).round().astype(int)))
    ]


def _layer_ticks(axes: Axes, names: Sequence[str]) -> None:
    axes.tick_params(axis="x", length=0)
    long = max(map(len, names)) > 4
    turn = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if long else {}
    axes.set_xticks(range(len(names)), names, **turn)
    if not long:
        axes.set_xlabel("layer")
