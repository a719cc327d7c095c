"""The timeline of a video: cost of each frame against the ANN, and objects in it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator, NullFormatter

from spiking_yolo.draw import FigureFormat
from spiking_yolo.draw.colours import (
    ACCOUNT_COLOURS,
    COLOURS,
    RATE_COLOURS,
    colours_of,
    hexadecimal,
    track_colour,
)
from spiking_yolo.draw.curves import Values
from spiking_yolo.draw.figure import paper_figure
from spiking_yolo.errors import UserError

# Inches: the width of a page, and the heights of the panels.
WIDTH = 6.3
OPERATIONS, OBJECTS, LAYERS, ENERGY = 1.45, 0.85, 1.35, 1.45
PER_TRACK, BESIDE_TRACKS = 0.13, 0.3
# Of axis, legend and what lies between the panels.
EDGE, BETWEEN = 0.45, 0.08
# Tracks that are shown, the longest.
MOST_TRACKS = 20
# Names of layers that fit beside their panel.
LAYER_NAMES = 13
MISSED = "#d55e00"
# Id, from 1, and class.
Track = tuple[int, str]
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
    *,
    ann_objects: Values = (),
    missed: Values = (),
    tracks: Mapping[Track, Sequence[int]] | None = None,
    layers: Mapping[str, Values] | None = None,
) -> None:
    """Save panels of operations, objects, tracks and energy over the frames of a video.

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
        ann_objects: Boxes of the ANN in each frame; none: they are not shown.
        missed: Those of them that the spiking network lacks.
        tracks: Id and class of a track -> the frames in which it is seen, a row of bars each.
        layers: Of each layer, the operations of each frame, as rows of colours.

    Raises:
        UserError: There are no frames, lists differ in length, or a number is negative or not
            finite.
    """
    of_ann = {"the ANN's objects": ann_objects, "missed": missed} if len(ann_objects) else {}
    values = _checked(frames, {"operations": operations, "objects": objects, **of_ann, **energies})
    by_layer = _checked(frames, layers or {})
    longest = _longest(tracks or {})
    heights = [OPERATIONS, OBJECTS]
    heights += [LAYERS] if by_layer else []
    heights += [BESIDE_TRACKS + PER_TRACK * len(longest)] if longest else []
    heights += [ENERGY] if energies else []
    height = EDGE + sum(heights) + BETWEEN * len(heights)
    with paper_figure(path, WIDTH, height, also=also) as figure:
        panels = figure.subplots(
            len(heights), sharex=True, gridspec_kw={"height_ratios": heights}, squeeze=False
        )[:, 0]
        following = iter(panels)
        _operations(next(following), frames, values["operations"])
        _objects(next(following), frames, values["objects"], *(values[name] for name in of_ann))
        if by_layer:
            _layers(next(following), frames, by_layer)
        if longest:
            _tracks(next(following), frames, longest, len(tracks or {}))
        if energies:
            by_account = {name: values[name] for name in energies}
            _energies(next(following), frames, by_account, ann_energies)
        for axes in panels:
            for frame in cuts:
                label = "scene cut" if axes is panels[0] and frame == cuts[0] else None
                axes.axvline(frame, label=label, **CUT_LINE)
        for axes in panels:
            if axes.get_legend_handles_labels()[1]:
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


def _objects(
    axes: Axes,
    frames: Sequence[int],
    objects: np.ndarray,
    ann: np.ndarray | None = None,
    missed: np.ndarray | None = None,
) -> None:
    label = "" if ann is None else "spiking"
    _line(axes, frames, objects, label, COLOURS[0], drawstyle="steps-mid")
    most = max(1, objects.max())
    if ann is not None and missed is not None:
        axes.step(frames, ann, where="mid", label="ANN", **{**ANN_LINE, "zorder": 3})
        share = missed.sum() / max(ann.sum(), 1)
        label = f"the ANN's that are missed, {100 * share:.2g} %"
        axes.bar(frames, missed, _spacing(frames), label=label, color=MISSED, alpha=0.6, zorder=2)
        most = max(most, ann.max())
    axes.set(ylabel="objects", ylim=(-0.06 * most, 1.15 * most))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))


def _layers(axes: Axes, frames: Sequence[int], layers: Mapping[str, np.ndarray]) -> None:
    """A row of colours per layer, the first on top, on a logarithmic scale."""
    values = np.stack(list(layers.values()))
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


def _longest(tracks: Mapping[Track, Sequence[int]]) -> dict[Track, Sequence[int]]:
    """The tracks that are shown, in the order of their ids."""
    by_length = sorted(tracks, key=lambda track: -len(tracks[track]))[:MOST_TRACKS]
    return {track: tracks[track] for track in sorted(by_length)}


def _tracks(
    axes: Axes, frames: Sequence[int], tracks: Mapping[Track, Sequence[int]], count: int
) -> None:
    """Bars where a track is seen, in its colour in the video."""
    width = _spacing(frames)
    for row, ((track_id, _), seen) in enumerate(tracks.items()):
        bars = [(frame - width / 2, width) for frame in seen]
        colour = hexadecimal(track_colour(track_id))
        axes.broken_barh(bars, (row - 0.36, 0.72), color=colour, linewidth=0)
    title = "tracks" if count == len(tracks) else f"tracks\n({len(tracks)} of {count})"
    axes.set(ylabel=title, ylim=(len(tracks) - 0.4, -0.6))
    names = [f"{track_id} {name}" for track_id, name in tracks]
    axes.set_yticks(range(len(tracks)), names, fontsize=6)


def _spacing(frames: Sequence[int]) -> float:
    """Between one frame and the next."""
    return float(frames[1] - frames[0]) if len(frames) > 1 else 1.0


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
