"""The timeline of a video: cost of each frame against the ANN, and objects in it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullFormatter

from spiking_yolo.draw import FigureFormat
from spiking_yolo.draw.colours import ACCOUNT_COLOURS, COLOURS, colours_of
from spiking_yolo.draw.curves import Values
from spiking_yolo.draw.figure import paper_figure
from spiking_yolo.errors import UserError

# Inches: the width of a page.
SIZE = (6.3, 4.6)
# Heights of the panels, relative to each other.
HEIGHTS = (1.5, 0.8, 1.5)
# Of the largest value; smaller ones, such as no operation at all, lie on the edge of a log axis.
DEEPEST = 1e-4
# So many fit in a row of a legend.
CHARACTERS = 88
ANN_LINE: dict[str, Any] = {"color": "#444444", "linestyle": "--", "linewidth": 1.1, "zorder": 1}
CUT_LINE: dict[str, Any] = {"color": "#888888", "linestyle": ":", "linewidth": 1.1, "zorder": 0.9}


def timeline(
    path: str | Path,
    frames: Sequence[int],
    operations: Values,
    objects: Values,
    energies: Mapping[str, Values],
    ann_energies: Mapping[str, float],
    cuts: Sequence[int] = (),
    also: FigureFormat = "png",
) -> None:
    """Save panels of operations, objects and energy over the frames of a video.

    A panel whose values span more than a decade has a logarithmic axis.

    Args:
        path: Ends in .png, .pdf or .svg.
        frames: Numbers of the frames.
        operations: Of each frame, per multiply-accumulate of the ANN, whose line is at 1.
        objects: Boxes in each frame.
        energies: Account -> mJ of each frame, in the colour of ACCOUNT_COLOURS; without any there
            is no panel of energy.
        ann_energies: Account -> mJ of an ANN's pass, a dashed line in the account's colour.
        cuts: Numbers of the frames in which the scene changed.
        also: A second format in which the figure is saved.

    Raises:
        UserError: There are no frames, lists differ in length, or a number is negative or not
            finite.
    """
    values = _checked(frames, {"operations": operations, "objects": objects, **energies})
    with paper_figure(path, *SIZE, also=also) as figure:
        heights = HEIGHTS if energies else HEIGHTS[:2]
        panels = figure.subplots(
            len(heights), sharex=True, gridspec_kw={"height_ratios": heights}, squeeze=False
        )[:, 0]
        _operations(panels[0], frames, values["operations"])
        _objects(panels[1], frames, values["objects"])
        if energies:
            by_account = {name: values[name] for name in energies}
            _energies(panels[2], frames, by_account, ann_energies)
        for axes in panels:
            for frame in cuts:
                label = "scene cut" if axes is panels[0] and frame == cuts[0] else None
                axes.axvline(frame, label=label, **CUT_LINE)
        for axes in panels[::2]:
            _legend(axes)
        # A little room, so that a tall first frame is not hidden behind the axis.
        margin = max(1.0, 0.015 * (frames[-1] - frames[0]))
        panels[-1].set(xlabel="frame", xlim=(frames[0] - margin, frames[-1] + margin))
        panels[-1].xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        figure.align_ylabels(panels)


def _checked(frames: Sequence[int], columns: Mapping[str, Values]) -> dict[str, np.ndarray]:
    if not len(frames):
        raise UserError("there is no frame to draw: give a video with at least one")
    values: dict[str, np.ndarray] = {}
    for name, column in columns.items():
        array = np.asarray(column, float)
        if array.shape != (len(frames),):
            raise UserError(f"{name!r} needs one number for each of the {len(frames)} frames")
        if not (np.isfinite(array) & (array >= 0)).all():
            raise UserError(
                f"{name!r} has a number that is negative or not finite: leave that frame out"
            )
        values[name] = array
    return values


def _operations(axes: Axes, frames: Sequence[int], operations: np.ndarray) -> None:
    label = "spiking"
    if len(frames) > 1:
        label += f", {operations[1:].mean():.2g} per later frame"
    floor = _scale(axes, [operations, np.ones(1)])
    _line(axes, frames, np.maximum(operations, floor), label, COLOURS[0])
    axes.axhline(1, label="ANN", **ANN_LINE)
    axes.set_ylabel("operations\nper ANN MAC")


def _objects(axes: Axes, frames: Sequence[int], objects: np.ndarray) -> None:
    _line(axes, frames, objects, "", COLOURS[3], drawstyle="steps-mid")
    most = max(1, objects.max())
    axes.set(ylabel="objects", ylim=(-0.06 * most, 1.15 * most))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))


def _energies(
    axes: Axes, frames: Sequence[int], energies: Mapping[str, np.ndarray], ann: Mapping[str, float]
) -> None:
    of_ann = [np.array([ann[name]]) for name in energies if name in ann]
    floor = _scale(axes, [*energies.values(), *of_ann])
    colours = colours_of(energies) | ACCOUNT_COLOURS
    for name, values in energies.items():
        colour = colours[name]
        _line(axes, frames, np.maximum(values, floor), name, colour)
        if name in ann:
            axes.axhline(ann[name], **{**ANN_LINE, "color": colour})
    if ann:
        axes.plot([], [], label="the ANN's", **ANN_LINE)
    axes.set_ylabel("energy\nper frame, mJ")


def _scale(axes: Axes, curves: Sequence[np.ndarray]) -> float:
    """Choose the axis: logarithmic if positive values span more than a decade. Returns the smallest
    value to draw.
    """
    every = np.concatenate(curves)
    low = every.min()
    top = every.max()
    floor = top * DEEPEST
    axes.grid(True, axis="y")
    if top <= 10 * low or top <= 0:
        axes.set_ylim(0, 1.1 * top or 1)
        return 0.0
    axes.set_yscale("log")
    axes.set_ylim(low / 1.25 if low > floor else floor, top * 1.6)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    return floor


def _line(
    axes: Axes, frames: Sequence[int], values: np.ndarray, label: str, colour: str, **style: Any
) -> None:
    if len(frames) == 1:
        style |= {"marker": "o", "markersize": 3}
    width = 1.1 if len(frames) < 500 else 0.7
    axes.plot(frames, values, label=label, color=colour, linewidth=width, **style)


def _legend(axes: Axes) -> None:
    """Above the panel, where it hides nothing; in one row if that fits."""
    labels = axes.get_legend_handles_labels()[1]
    columns = len(labels)
    if sum(map(len, labels)) + 8 * len(labels) >= CHARACTERS:
        columns = max(1, CHARACTERS // (max(map(len, labels)) + 8))
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=columns,
        handlelength=2.2,
        borderaxespad=0.2,
        columnspacing=1.4,
    )
