"""Thresholds of sampled neurons: over time, and against the ANN's activation (Fig. 4 and 6 of the
draft).
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spiking_yolo.apps.analyze.chain import OWN
from spiking_yolo.apps.analyze.run import Analysis, MethodCost
from spiking_yolo.apps.analyze.totals import short
from spiking_yolo.apps.analyze.watch import NeuronSample
from spiking_yolo.draw import FigureFormat
from spiking_yolo.draw.boxes import COLOURS
from spiking_yolo.draw.curves import MARKERS
from spiking_yolo.draw.figure import paper_figure
from spiking_yolo.io.tables import WIDTH, columns, percent


def changes(sample: NeuronSample) -> bool:
    """Whether thresholds differ between neurons or timesteps, in units of Theta: else there is
    nothing to see.
    """
    theta = np.stack(sample.theta) / sample.top
    return not np.allclose(theta, theta[0, 0])


def threshold_over_time(
    sample: NeuronSample, path: Path, caption: str, also: FigureFormat = "png"
) -> None:
    """Fig. 4: the threshold of some neurons over time, beside their membrane potential."""
    theta, potential = (
        np.stack(values) / sample.top for values in (sample.theta, sample.potential)
    )
    with paper_figure(path, 4.6, 4.2, also=also) as figure:
        above, below = figure.subplots(2, 1, sharex=True)
        shared = bool(np.allclose(theta, theta[:, :1]))
        if shared:
            caption += ", one threshold for all neurons"
            above.plot(sample.t, theta[:, 0], color="black", drawstyle="steps-mid")
        for i, k in enumerate(typical(sample)):
            activation = sample.activation[k] / sample.top[k]
            label = (
                f"ANN activation {activation:.2g} Θ" if activation > 0 else "inactive in the ANN"
            )
            below.plot(sample.t, potential[:, k], color=COLOURS[i], linewidth=1.2, label=label)
            if not shared:
                above.plot(
                    sample.t, theta[:, k], color=COLOURS[i], linewidth=1.2, drawstyle="steps-mid"
                )
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
    inactive = np.flatnonzero(relative <= 0)[:1].tolist()
    return list(dict.fromkeys([*chosen, *inactive]))


def threshold_and_activation(
    sample: NeuronSample, path: Path, caption: str, also: FigureFormat = "png"
) -> None:
    """Fig. 6: the threshold of every sampled neuron against its ANN activation, after different
    numbers of steps.
    """
    T = sample.t[-1]
    theta = np.stack(sample.theta) / sample.top
    steps = sorted({1, *(max(1, round(T ** (k / 3))) for k in (1, 2)), T})
    labels = {t: f"t = {t}" for t in steps}
    if np.allclose(theta, theta[:1]):
        labels = {T: "at every t"}
    with paper_figure(path, 4.6, 3.2, also=also) as figure:
        axes = figure.subplots()
        for i, (t, label) in enumerate(labels.items()):
            x, y = sample.activation / sample.top, theta[t - 1]
            axes.scatter(
                x,
                y,
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


def full(sample: NeuronSample, T: int) -> NeuronSample:
    """The sample at every timestep: a settled layer stays as it was when it was last seen."""
    index = np.searchsorted(sample.t, np.arange(1, T + 1), side="right") - 1
    theta, potential = ([values[i] for i in index] for values in (sample.theta, sample.potential))
    return NeuronSample(
        sample.name,
        sample.activation,
        sample.top,
        sample.where,
        list(range(1, T + 1)),
        theta,
        potential,
    )


def legend(panels: Sequence[Axes], columns: int) -> None:
    """One legend for all panels of a figure, above them."""
    entries = [
        entry for axes in panels for entry in zip(*axes.get_legend_handles_labels(), strict=True)
    ]
    figure = panels[0].get_figure()
    assert isinstance(figure, Figure)
    handles, names = zip(*entries, strict=True)
    loc = "outside upper center"
    figure.legend(handles, names, loc=loc, ncols=columns, handlelength=1.6, columnspacing=1.4)


_ERRORS = ("error", "clip", "quant", "spike", "below", "uneven")
_HEAD = [*_ERRORS, "sat", "silent", "dead", "SIN16", "SIN", "rate", "spikes"]


def layer_table(analysis: Analysis) -> str:
    """One line per layer, of at most 100 columns; NOTE explains the columns."""
    rows = [_HEAD]
    for layer in analysis.layers:
        norms = layer.norms()
        errors = (
            layer.relative_error,
            *(norms[name] for name in (*OWN, "inherited", "uneven arrival")),
        )
        cells = [percent(value) for value in (*errors, layer.saturated / layer.sites)]
        cells += [str(layer.count("silent")), str(layer.count("dead"))]
        cells += [percent(layer.sin(16)), percent(layer.sin(layer.T)), f"{layer.rate:.3f}"]
        rows.append([*cells, _compact(layer.spikes[layer.T] / layer.images)])
    room = WIDTH - sum(2 + max(len(row[i]) for row in rows) for i in range(len(_HEAD)))
    names = ["layer", *(_cut(short(layer.name), max(room, 5)) for layer in analysis.layers)]
    return columns([[name, *row] for name, row in zip(names, rows, strict=True)])


NOTE = """\
error: norm of the difference to the ANN, in % of the ANN activation's norm. Its parts, as norms:
clipping, quantisation, spike-inherent, and what comes from below, of which uneven arrival. sat: %
of neurons at their highest rate. silent: channels that the ANN uses and that never fired; dead:
channels that the ANN does not use. SIN: % of inactivated neurons that fired, by t = 16 and in
all. Here neurons stand in front of max pooling (neuron.pool_first=false): layers compare one to
one with the ANN's."""


def cost_table(costs: Mapping[str, MethodCost]) -> str:
    """Spikes and error of the output by method and timestep, each method as the tools run it."""
    times = sorted(next(iter(costs.values())).spikes)
    rows = [["method", *(f"spikes T={t}" for t in times), *(f"error T={t}" for t in times)]]
    for name, cost in costs.items():
        rows.append(
            [
                name,
                *(_compact(cost.spikes[t]) for t in times),
                *(_number(cost.error[t]) for t in times),
            ]
        )
    return columns(rows)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}" if value < 10 else f"{value:.3g}"


def _compact(count: float) -> str:
    for scale, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= scale:
            return f"{count / scale:.3g}{unit}"
    return f"{count:.3g}"


def _cut(name: str, room: int) -> str:
    return name if len(name) <= room else "…" + name[1 - room :]


def wrapped(words: Sequence[str]) -> str:
    """Sentences as lines that fit the width."""
    return "\n".join(
        textwrap.fill(line, WIDTH, break_on_hyphens=False, subsequent_indent="  ") for line in words
    )
