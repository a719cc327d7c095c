"""A video at a glance: what each frame cost against the ANN, and what was seen in it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullFormatter

from spiking_yolo.draw import FigureFormat
from spiking_yolo.draw.boxes import COLOURS
from spiking_yolo.draw.curves import Values
from spiking_yolo.draw.figure import paper_figure
from spiking_yolo.errors import UserError

SIZE = (6.3, 4.6)  # inches: the width of a page
_HEIGHTS = (1.5, 0.8, 1.5)  # of the panels
# Of the largest value; what is below, such as no operation at all, lies on the edge of a log axis.
_DEEPEST = 1e-4
_CHARACTERS = 88  # that a legend row takes
_ANN: dict[str, Any] = {"color": "#444444", "linestyle": "--", "linewidth": 1.1, "zorder": 1}
_CUT: dict[str, Any] = {"color": "#888888", "linestyle": ":", "linewidth": 1.1, "zorder": 0.9}


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
    """Save three panels over the frames as .png, .svg or .pdf: operations, objects and energy.

    frames: their numbers. operations: of each frame, per multiply-accumulate of the ANN, whose line
    is 1. objects: boxes in each frame. energies: account -> mJ of each frame. ann_energies: account
    -> mJ of an ANN's pass, a dashed line in the account's colour. cuts: numbers of frames where the
    scene changed. A panel whose values span decades has a logarithmic axis. Raises UserError for no
    frames, lists of another length, and numbers that are negative or not finite.
    """
    columns = {"operations": operations, "objects": objects, **energies}
    values = {name: np.asarray(column, float) for name, column in columns.items()}
    if not len(frames):
        raise UserError("there is no frame to draw: give a video with at least one")
    if uneven := [name for name, column in values.items() if column.shape != (len(frames),)]:
        raise UserError(f"{uneven[0]!r} needs one number for each of the {len(frames)} frames")
    if strange := [
        name for name, column in values.items() if not (np.isfinite(column) & (column >= 0)).all()
    ]:
        raise UserError(
            f"{strange[0]!r} has a number that is negative or not finite: leave that frame out"
        )
    with paper_figure(path, *SIZE, also=also) as figure:
        heights = _HEIGHTS if energies else _HEIGHTS[:2]
        panels = figure.subplots(
            len(heights), sharex=True, gridspec_kw={"height_ratios": heights}, squeeze=False
        )[:, 0]
        _operations(panels[0], frames, values["operations"])
        _line(panels[1], frames, values["objects"], "", COLOURS[2], drawstyle="steps-mid")
        most = max(1, values["objects"].max())
        panels[1].set(ylabel="objects", ylim=(-0.06 * most, 1.15 * most))
        panels[1].yaxis.set_major_locator(MaxNLocator(4, integer=True))
        if energies:
            _energies(panels[2], frames, {name: values[name] for name in energies}, ann_energies)
        for frame in cuts:
            for axes in panels:
                axes.axvline(
                    frame,
                    label="scene cut" if axes is panels[0] and frame == cuts[0] else None,
                    **_CUT,
                )
        for axes in panels[::2]:
            _legend(axes)
        panels[-1].set(xlabel="frame", xlim=_room(frames))
        panels[-1].xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        figure.align_ylabels(panels)


def _operations(axes: Axes, frames: Sequence[int], operations: np.ndarray) -> None:
    later = f", {operations[1:].mean():.2g} per later frame" if len(frames) > 1 else ""
    floor = _scale(axes, [operations, np.ones(1)])
    _line(axes, frames, np.maximum(operations, floor), f"spiking{later}", COLOURS[0])
    axes.axhline(1, label="ANN", **_ANN)
    axes.set_ylabel("operations\nper ANN MAC")


def _energies(
    axes: Axes, frames: Sequence[int], energies: Mapping[str, np.ndarray], ann: Mapping[str, float]
) -> None:
    floor = _scale(
        axes, [*energies.values(), *(np.array([ann[name]]) for name in energies if name in ann)]
    )
    for i, (name, values) in enumerate(energies.items()):
        colour = COLOURS[i % len(COLOURS)]
        _line(axes, frames, np.maximum(values, floor), name, colour)
        if name in ann:
            axes.axhline(ann[name], **{**_ANN, "color": colour})
    if ann:
        axes.plot([], [], label="the ANN's", **_ANN)
    axes.set_ylabel("energy\nper frame, mJ")


def _scale(axes: Axes, curves: Sequence[np.ndarray]) -> float:
    """Choose the axis: logarithmic when positive values span more than a decade. Returns the least
    value to draw.
    """
    every = np.concatenate(curves)
    low, top = every.min(), every.max()
    floor = top * _DEEPEST
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
    style |= {"marker": "o", "markersize": 3} if len(frames) == 1 else {}
    axes.plot(
        frames,
        values,
        label=label,
        color=colour,
        linewidth=1.1 if len(frames) < 500 else 0.7,
        **style,
    )


def _room(frames: Sequence[int]) -> tuple[float, float]:
    """Limits with a little room, so that a tall first frame is not hidden behind the axis."""
    margin = max(1.0, 0.015 * (frames[-1] - frames[0]))
    return frames[0] - margin, frames[-1] + margin


def _legend(axes: Axes) -> None:
    """Above the panel, where it hides nothing; in one row if that fits."""
    labels = axes.get_legend_handles_labels()[1]
    fits = sum(map(len, labels)) + 8 * len(labels) < _CHARACTERS
    columns = len(labels) if fits else max(1, _CHARACTERS // (max(map(len, labels)) + 8))
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=columns,
        handlelength=2.2,
        borderaxespad=0.2,
        columnspacing=1.4,
    )
