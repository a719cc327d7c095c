"""Pictures of an analysis: errors and wrong spikes by layer (Fig. 2 and 3 of the draft paper)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spiking_yolo.apps.analyze.chain import INHERITED, PARTS
from spiking_yolo.apps.analyze.records import LayerTotals
from spiking_yolo.draw import FigureFormat
from spiking_yolo.draw.colours import COLOURS
from spiking_yolo.draw.figure import MARKERS, paper_figure
from spiking_yolo.graph.graph import short_name

# More curves cannot be told apart.
CURVES = 6
_PART_COLOURS = (COLOURS[3], COLOURS[1], COLOURS[4], COLOURS[0], COLOURS[5])


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
        names = [short_name(layer.name) for layer in layers]
        axes.tick_params(axis="x", length=0)
        if max(map(len, names)) > 4:
            turned = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
            axes.set_xticks(range(len(names)), names, **turned)
        else:
            axes.set_xticks(range(len(names)), names)
            axes.set_xlabel("layer")
        _legend(axes)


def wrong_spikes(layers: Sequence[LayerTotals], path: Path, also: FigureFormat = "png") -> None:
    """Fig. 3: the neurons that are inactive in the ANN and have fired, over time."""
    with paper_figure(path, 4.6, 3.2, also=also) as figure:
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
                label=f"layer {short_name(layer.name)}",
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
