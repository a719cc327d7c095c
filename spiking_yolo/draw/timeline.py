"""The timeline of a video: cost of each frame against the ANN, and objects in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator, NullFormatter

from spiking_yolo.draw import FigureFormat
from spiking_yolo.draw.colours import COLOURS, RATE_COLOURS
from spiking_yolo.draw.figure import REFERENCE, paper_figure
from spiking_yolo.errors import UserError

# Inches: the width of a page, and the heights of the panels and of the x axis.
WIDTH = 6.3
HEIGHTS = {"operations": 1.45, "objects": 0.85, "layers": 1.35}
EDGE = 0.85
# Names of layers that fit beside their panel.
LAYER_NAMES = 13
MISSED = "#d55e00"
# Of the largest value; smaller ones, such as no operation at all, lie on the edge of a log axis.
DEEPEST = 1e-4
ANN_LINE: dict[str, Any] = {"color": REFERENCE, "linestyle": "--", "linewidth": 1.1, "zorder": 1}
CUT_LINE: dict[str, Any] = {"color": "#888888", "linestyle": ":", "linewidth": 1.1, "zorder": 0.9}


@dataclass
class Timeline:
    """Numbers of the frames of a video, which grow with it: a list has one per frame.

    Attributes:
        frames: Numbers of the frames.
        operations: Per multiply-accumulate of the ANN, whose line is at 1.
        objects: Boxes.
        cuts: Numbers of the frames in which the scene changed.
        ann_objects: Boxes of the ANN; empty: they are not shown.
        missed: Those of them that the spiking network lacks.
        layers: Layer -> its operations, as rows of colours.
    """

    frames: list[int] = field(default_factory=list)
    operations: list[float] = field(default_factory=list)
    objects: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    ann_objects: list[int] = field(default_factory=list)
    missed: list[int] = field(default_factory=list)
    layers: dict[str, list[float]] = field(default_factory=dict)

    def save(self, path: str | Path, also: FigureFormat = "png") -> None:
        """Save panels of operations, objects and layers over the frames.

        A panel whose values span more than a decade has a logarithmic axis.

        Args:
            path: Ends in .png, .pdf or .svg.
            also: A second format in which the figure is saved.

        Raises:
            UserError: There are no frames, lists differ in length, or a number is negative or not
                finite.
        """
        self._check()
        shown = ["operations", "objects"]
        if self.layers:
            shown.append("layers")
        heights = [HEIGHTS[name] for name in shown]
        with paper_figure(path, WIDTH, EDGE + sum(heights), also=also) as figure:
            grid = {"height_ratios": heights}
            panels = figure.subplots(len(shown), sharex=True, gridspec_kw=grid)
            by_name = dict(zip(shown, panels, strict=True))
            _draw_operations(by_name["operations"], self.frames, self.operations)
            self._draw_objects(by_name["objects"])
            if "layers" in by_name:
                _draw_layers(by_name["layers"], self.frames, self.layers)
            for frame in self.cuts:
                for axes in panels:
                    axes.axvline(frame, **CUT_LINE)
            if self.cuts:
                panels[0].plot([], [], label="scene cut", **CUT_LINE)
            for axes in panels:
                # In one row above the panel, where it hides nothing.
                _, labels = axes.get_legend_handles_labels()
                if labels:
                    style = {"borderaxespad": 0.2, "columnspacing": 1.4, "ncols": len(labels)}
                    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), **style)
            # A little room, so that a tall first frame is not hidden behind the axis.
            margin = max(1.0, 0.015 * (self.frames[-1] - self.frames[0]))
            ends = (self.frames[0] - margin, self.frames[-1] + margin)
            panels[-1].set(xlabel="frame", xlim=ends)
            panels[-1].xaxis.set_major_locator(MaxNLocator("auto", integer=True))
            figure.align_ylabels(panels)

    def _check(self) -> None:
        n = len(self.frames)
        if n == 0:
            raise UserError("there is no frame to draw: give a video with at least one")
        columns = {"operations": self.operations, "objects": self.objects}
        columns |= self.layers
        if self.ann_objects:
            columns |= {"ann_objects": self.ann_objects, "missed": self.missed}
        for name, column in columns.items():
            if len(column) != n:
                raise UserError(f"{name!r} needs one number for each of the {n} frames")
            values = np.asarray(column, float)
            if not (np.isfinite(values) & (values >= 0)).all():
                raise UserError(f"{name!r} has a number that is negative or not finite")

    def _draw_objects(self, axes: Axes) -> None:
        label = "spiking" if self.ann_objects else ""
        _draw_line(axes, self.frames, self.objects, label, COLOURS[0], drawstyle="steps-mid")
        most = max(1, *self.objects, *self.ann_objects)
        if self.ann_objects:
            style = {**ANN_LINE, "zorder": 3}
            axes.step(self.frames, self.ann_objects, where="mid", label="ANN", **style)
            share = 100 * sum(self.missed) / max(sum(self.ann_objects), 1)
            label = f"the ANN's that are missed, {share:.2g} %"
            width = _spacing(self.frames)
            axes.bar(self.frames, self.missed, width, label=label, color=MISSED, alpha=0.6)
        axes.set(ylabel="objects", ylim=(-0.06 * most, 1.15 * most))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))


def _draw_operations(axes: Axes, frames: Sequence[int], operations: Sequence[float]) -> None:
    label = "spiking"
    if len(frames) > 1:
        label += f", {np.mean(operations[1:]):.2g} per later frame"
    floor = _scale_axis(axes, [*operations, 1.0])
    _draw_line(axes, frames, np.maximum(operations, floor), label, COLOURS[0])
    axes.axhline(1, label="ANN", **ANN_LINE)
    axes.set_ylabel("operations\nper ANN MAC")


def _draw_layers(axes: Axes, frames: Sequence[int], layers: Mapping[str, Sequence[float]]) -> None:
    """A row of colours per layer, the first on top, on a logarithmic scale."""
    values = np.array(list(layers.values()))
    top = float(values.max()) or 1.0
    scale = LogNorm(top * DEEPEST, top, clip=True)
    width = _spacing(frames)
    edges = np.append(np.array(frames) - width / 2, frames[-1] + width / 2)
    rows = np.arange(len(layers) + 1) - 0.5
    axes.pcolormesh(edges, rows, np.maximum(values, top * DEEPEST), norm=scale, cmap=RATE_COLOURS)
    every = -(-len(layers) // LAYER_NAMES)
    axes.set(ylabel="operations\nby layer", ylim=(len(layers) - 0.5, -0.5))
    axes.set_yticks(range(0, len(layers), every), list(layers)[::every], fontsize=6)
    place = axes.inset_axes((1.012, 0.0, 0.014, 1.0))
    bar = axes.figure.colorbar(ScalarMappable(scale, RATE_COLOURS), cax=place)
    bar.ax.yaxis.set_major_formatter("{x:g}")
    bar.ax.tick_params(labelsize=6)
    bar.set_label("per ANN MAC", fontsize=6)


def _spacing(frames: Sequence[int]) -> float:
    """Between one frame and the next."""
    if len(frames) == 1:
        return 1.0
    return float(frames[1] - frames[0])


def _scale_axis(axes: Axes, values: Sequence[float]) -> float:
    """Make the axis logarithmic if its values span more than a decade. Returns the smallest value
    to draw.
    """
    low, top = min(values), max(values)
    axes.grid(True, axis="y")
    if top <= 10 * low or top <= 0:
        axes.set_ylim(0, 1.1 * top or 1)
        return 0.0
    floor = top * DEEPEST
    axes.set_yscale("log")
    axes.set_ylim(max(low / 1.25, floor), top * 1.6)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    return floor


def _draw_line(
    axes: Axes,
    frames: Sequence[int],
    values: Sequence[float] | np.ndarray,
    label: str,
    colour: str,
    **style: Any,
) -> None:
    if len(frames) == 1:
        style |= {"marker": "o", "markersize": 3}
    axes.plot(frames, values, label=label, color=colour, linewidth=1.1, **style)
