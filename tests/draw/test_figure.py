"""Figures hold all their data, look the same every time and leave the global style alone."""

import matplotlib
import numpy as np
import pytest
from helpers.drawing import saved_figures

from spiking_yolo.draw.colours import colours_of
from spiking_yolo.draw.figure import MARKERS, STYLE, draw_curves, draw_reference, log_steps, plot


@pytest.fixture
def saved(monkeypatch):
    return saved_figures(monkeypatch)


def test_curves_bands_and_references(tmp_path, saved):
    t, y = [8, 16, 32], [1, 2, 3]
    with plot(tmp_path / "a.png", "T", "mAP") as axes:
        draw_curves(axes, {"a": (t, y, [0, 1, 2], [2, 3, 4]), "b": (t, np.array(y) + 1.0)})
        draw_reference(axes, "ANN", 5.0)
        log_steps(axes)
    curves = {line.get_label(): line for line in axes.lines}
    assert list(curves["b"].get_ydata()) == [2, 3, 4] and set(curves["ANN"].get_ydata()) == {5.0}
    assert curves["a"].get_color() != curves["b"].get_color()
    assert curves["a"].get_marker() != curves["b"].get_marker()
    assert len(axes.collections) == 1 and axes.get_xscale() == "log"
    legend = saved[0].legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "ANN"]
    saved[0].draw_without_rendering()
    assert not legend.get_window_extent().overlaps(axes.get_window_extent())


@pytest.mark.parametrize("names", [[f"a method {i}" for i in range(19)], ["a"], ["x" * 50]])
def test_a_legend_is_not_cut_and_leaves_room(names, tmp_path, saved):
    with plot(tmp_path / "a.png", "x", "y") as axes:
        draw_curves(axes, {name: ([1, 2], [i, i]) for i, name in enumerate(names)})
    legend, window = saved[0].legends[0].get_window_extent(), saved[0].bbox
    assert legend.x0 >= 0 and legend.x1 <= window.x1 and legend.y1 <= window.y1
    assert saved[0].axes[0].get_window_extent().height > 0.5 * 3.2 * saved[0].dpi


def test_figures_with_the_same_names_have_the_same_colours_and_markers(tmp_path, saved):
    colours = colours_of("abc")
    with plot(tmp_path / "a.png", "x", "y") as axes:
        draw_curves(axes, {"c": ([1, 2], [1, 2])}, colours)
    assert (axes.lines[0].get_color(), axes.lines[0].get_marker()) == (colours["c"], MARKERS[2])


@pytest.mark.parametrize(("kind", "start"), [("pdf", b"%PDF"), ("png", b"\x89PNG")])
def test_the_suffix_decides_and_the_global_style_stays(kind, start, tmp_path):
    path = tmp_path / "new" / f"a.{kind}"
    with plot(path, "x", "y") as axes:
        draw_curves(axes, {"cost in $": ([1, 2], [3, 4])})
    assert path.read_bytes().startswith(start)
    assert all(matplotlib.rcParams[key] == matplotlib.rcParamsDefault[key] for key in STYLE)
