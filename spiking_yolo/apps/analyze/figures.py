"""The figures of an analysis: errors, wrong spikes and spike counts by layer or method, and the
thresholds of sampled neurons (Fig. 2 to 6 of the draft paper).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spiking_yolo.apps.analyze.chain import INHERITED, PARTS
from spiking_yolo.apps.analyze.records import (
    Analysis,
    LayerTotals,
    MethodCost,
    NeuronSample,
)
from spiking_yolo.draw import FigureFormat
from spiking_yolo.draw.colours import COLOURS
from spiking_yolo.draw.figure import MARKERS, bar_plot, paper_figure
from spiking_yolo.graph.graph import short_name

# More curves cannot be told apart.
CURVES = 6
_PART_COLOURS = (COLOURS[3], COLOURS[1], COLOURS[4], COLOURS[0], COLOURS[5])


def draw_all(
    analysis: Analysis,
    costs: Mapping[str, MethodCost],
    folder: Path,
    figures: FigureFormat = "png",
) -> None:
    """Draw error.png, wrong-spikes.png and spikes.png, and of changing thresholds
    threshold-time.png and threshold-activation.png too.

    Args:
        analysis: Of one method.
        costs: By method; without any, spikes.png shows the layers of the analysed network.
        folder: Where the figures go.
        figures: A second format of every figure.
    """
    sample = analysis.sample.at_every_step(analysis.T)
    caption = f"{analysis.converted.recipe.title}, layer {short_name(sample.name)}"
    error_by_layer(analysis.layers, folder / "error.png", figures)
    wrong_spikes(analysis.layers, folder / "wrong-spikes.png", figures)
    if thresholds_change(sample):
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
    """Fig. 5: spikes by method after several numbers of steps; without methods, by layer."""
    T = analysis.T
    bars: dict[str, dict[str, float]] = {}
    xlabel = ""
    if costs:
        for t in sorted(next(iter(costs.values())).spikes):
            bars[f"T = {t}"] = {name: cost.spikes[t] for name, cost in costs.items()}
    else:
        xlabel = f"layer ({analysis.converted.recipe.title}, T = {T})"
        layers = analysis.layers
        bars[f"T = {T}"] = {short_name(one.name): one.spikes[T] / one.images for one in layers}
    largest = max(max(counts.values()) for counts in bars.values())
    scale, unit = 1.0, ""
    if largest >= 1e6:
        scale, unit = 1e6, " (10⁶)"
    elif largest >= 1e3:
        scale, unit = 1e3, " (10³)"
    for counts in bars.values():
        for name in counts:
            counts[name] /= scale
    bar_plot(path, bars, f"spikes per image{unit}", xlabel, also)


def error_by_layer(layers: Sequence[LayerTotals], path: Path, also: FigureFormat = "png") -> None:
    """Fig. 2: the relative error of every layer, as a stack of what each part contributes."""
    place = np.arange(len(layers))
    with paper_figure(path, max(4.6, 0.36 * len(layers) + 1.4), 3.2, also=also) as figure:
        axes = figure.subplots()
        up = np.zeros(len(layers))
        down = np.zeros(len(layers))
        for name, colour in zip(PARTS, _PART_COLOURS, strict=True):
            share = np.array([layer.shares()[name] for layer in layers])
            label = f"inherited: {name}" if name in INHERITED else name
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
        _layer_ticks(axes, [short_name(layer.name) for layer in layers])
        legend((axes,), 3)


def wrong_spikes(layers: Sequence[LayerTotals], path: Path, also: FigureFormat = "png") -> None:
    """Fig. 3: the neurons that are inactive in the ANN and have fired, over time."""
    with paper_figure(path, 4.6, 3.2, also=also) as figure:
        axes = figure.subplots()
        shown = spread(layers, CURVES)
        if len(shown) < len(layers):
            axes.set_title(f"{len(shown)} of {len(layers)} layers")
        for i, layer in enumerate(shown):
            t = range(1, layer.T + 1)
            axes.plot(
                t,
                [100 * layer.sin(k) for k in t],
                color=COLOURS[i],
                label=f"layer {short_name(layer.name)}",
                marker=MARKERS[i],
                markevery=max(1, len(t) // 8),
                markeredgecolor="white",
                mew=0.5,
            )
        axes.set(xlabel="timestep t", ylabel="inactivated neurons that fired (%)", ylim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(True)
        legend((axes,), 3)


def spread(layers: Sequence[LayerTotals], most: int) -> list[LayerTotals]:
    """At most so many layers, evenly spaced from the first to the last."""
    places = np.linspace(0, len(layers) - 1, most).round().astype(int)
    return [layers[i] for i in sorted(set(places))]


def _layer_ticks(axes: Axes, names: Sequence[str]) -> None:
    axes.tick_params(axis="x", length=0)
    if max(map(len, names)) > 4:
        axes.set_xticks(range(len(names)), names, rotation=35, ha="right", rotation_mode="anchor")
    else:
        axes.set_xticks(range(len(names)), names)
        axes.set_xlabel("layer")


def thresholds_change(sample: NeuronSample) -> bool:
    """Whether thresholds, in units of Theta, differ between neurons or timesteps."""
    theta = np.stack(sample.theta) / sample.top
    return not np.allclose(theta, theta[0, 0])


def threshold_over_time(
    sample: NeuronSample, path: Path, caption: str, also: FigureFormat = "png"
) -> None:
    """Fig. 4: thresholds and membrane potentials of some neurons over time."""
    theta = np.stack(sample.theta) / sample.top
    potential = np.stack(sample.potential) / sample.top
    with paper_figure(path, 4.6, 4.2, also=also) as figure:
        above, below = figure.subplots(2, 1, sharex=True)
        shared = bool(np.allclose(theta, theta[:, :1]))
        if shared:
            caption += ", one threshold for all neurons"
            above.plot(sample.t, theta[:, 0], color="black", drawstyle="steps-mid")
        for i, k in enumerate(typical(sample)):
            activation = sample.activation[k] / sample.top[k]
            label = "inactive in the ANN"
            if activation > 0:
                label = f"ANN activation {activation:.2g} Θ"
            style = {"color": COLOURS[i], "linewidth": 1.2}
            below.plot(sample.t, potential[:, k], label=label, **style)
            if not shared:
                above.plot(sample.t, theta[:, k], drawstyle="steps-mid", **style)
        above.set(ylabel="threshold θ(t) / Θ", title=caption)
        below.set(xlabel="timestep t", ylabel="potential U(t) / Θ")
        _threshold_scale(above, theta)
        for axes in (above, below):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(True)
        legend((above, below), 2)


def typical(sample: NeuronSample) -> list[int]:
    """A neuron with the largest activation, some with fractions of it, and an inactive one."""
    relative = sample.activation / sample.top
    targets = relative.max() * np.array([1.0, 0.3, 0.1])
    chosen = [int(np.abs(relative - target).argmin()) for target in targets if target > 0]
    chosen += np.flatnonzero(relative <= 0)[:1].tolist()
    return list(dict.fromkeys(chosen))


def threshold_and_activation(
    sample: NeuronSample, path: Path, caption: str, also: FigureFormat = "png"
) -> None:
    """Fig. 6: thresholds of all sampled neurons against their ANN activation, at several steps."""
    T = sample.t[-1]
    theta = np.stack(sample.theta) / sample.top
    # About evenly spaced on a logarithmic axis.
    steps = {1, max(1, round(T ** (1 / 3))), max(1, round(T ** (2 / 3))), T}
    labels = {t: f"t = {t}" for t in sorted(steps)}
    if np.allclose(theta, theta[:1]):
        labels = {T: "at every t"}
    with paper_figure(path, 4.6, 3.2, also=also) as figure:
        axes = figure.subplots()
        for i, (t, label) in enumerate(labels.items()):
            axes.scatter(
                sample.activation / sample.top,
                theta[t - 1],
                s=11,
                color=COLOURS[i],
                marker=MARKERS[i],
                alpha=0.7,
                linewidths=0,
                rasterized=True,
                label=label,
            )
        axes.set(xlabel="ANN activation / Θ", ylabel="threshold θ(t) / Θ", title=caption)
        _threshold_scale(axes, theta)
        axes.grid(True)
        legend((axes,), 4)


def _threshold_scale(axes: Axes, theta: np.ndarray) -> None:
    """From zero where thresholds are alike, else powers of two."""
    if theta.max() > 8 * theta.min() > 0:
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter("{x:g}")
    else:
        axes.set_ylim(min(0.0, theta.min()), 1.08 * theta.max())


def legend(panels: Sequence[Axes], columns: int) -> None:
    """One legend for all panels of a figure, above them."""
    handles, names = [], []
    for axes in panels:
        more_handles, more_names = axes.get_legend_handles_labels()
        handles += more_handles
        names += more_names
    figure = panels[0].get_figure()
    assert isinstance(figure, Figure)
    loc = "outside upper center"
    figure.legend(handles, names, loc=loc, ncols=columns, handlelength=1.6, columnspacing=1.4)
