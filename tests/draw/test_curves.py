"""Figures of a paper hold all their data and leave the global style alone."""

from itertools import pairwise

import matplotlib
import numpy as np
import pytest
from helpers.drawing import saved_figures
from matplotlib.colors import to_rgb

from spiking_yolo.convert.methods import list_methods
from spiking_yolo.draw.colours import ACCOUNT_COLOURS, colours_of
from spiking_yolo.draw.curves import bar_plot, line_plot, ranked_bars
from spiking_yolo.draw.figure import STYLE
from spiking_yolo.errors import UserError
from spiking_yolo.metrics.energy import every_account


@pytest.fixture
def saved(monkeypatch):
    return saved_figures(monkeypatch)


def test_line_plot_draws_series_bands_and_references(tmp_path, saved):
    t = [8, 16, 32]
    y = [1, 2, 3]
    series = {"a": (t, y, [0, 1, 2], [2, 3, 4]), "b": (t, np.array(y) + 1.0)}
    line_plot(tmp_path / "a.png", series, "T", "mAP", logx=True, hlines={"ANN": 5.0})
    (axes,) = saved[0].axes
    curves = {line.get_label(): line for line in axes.lines}
    assert list(curves["b"].get_ydata()) == [2, 3, 4] and set(curves["ANN"].get_ydata()) == {5.0}
    assert curves["a"].get_color() != curves["b"].get_color()
    assert curves["a"].get_marker() != curves["b"].get_marker()
    assert len(axes.collections) == 1
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["8", "16", "32"]
    legend = saved[0].legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "ANN"]
    saved[0].draw_without_rendering()
    assert not legend.get_window_extent().overlaps(axes.get_window_extent())


@pytest.mark.parametrize(
    "names",
    [["WWWWWWWWW" + c for c in "abcd"], [f"a method {i}" for i in range(19)], ["a"], ["x" * 90]],
)
def test_a_legend_is_not_cut_and_leaves_room(names, tmp_path, saved):
    line_plot(
        tmp_path / "a.png",
        {name: ([1, 2], [i, i]) for i, name in enumerate(names)},
        "epoch",
        "loss",
    )
    legend, window = saved[0].legends[0].get_window_extent(), saved[0].bbox
    # That one fits nowhere.
    assert names[0] == "x" * 90 or (legend.x0 >= 0 and legend.x1 <= window.x1)
    assert (
        legend.y1 <= window.y1
        and saved[0].axes[0].get_window_extent().height > 0.5 * 3.2 * saved[0].dpi
    )


def test_line_plot_marks_a_point_of_a_series(tmp_path, saved):
    series = {"a": ([0.5, 4], [0.25, 8]), "b": ([1, 2], [1, 2])}
    line_plot(
        tmp_path / "a.png",
        series,
        "x",
        "y",
        logx=True,
        logy=True,
        marks={"a": (1.5, 1.0)},
        stars="even",
    )
    (axes,) = saved[0].axes
    star, entry = (line for line in axes.lines if line.get_marker() == "*")
    assert (list(star.get_xdata()), list(star.get_ydata())) == ([1.5], [1.0])
    assert star.get_color() == axes.lines[0].get_color() and axes.get_yscale() == "log"
    assert entry.get_label() == "even" and not len(entry.get_xdata())
    assert "even" in [text.get_text() for text in saved[0].legends[0].get_texts()]


def test_figures_with_the_same_names_have_the_same_colours_and_markers(tmp_path, saved):
    colours = colours_of("abc")
    for names in ("abc", "bc", "c"):
        series = {name: ([1, 2], [1, 2]) for name in names}
        line_plot(tmp_path / "a.png", series, "x", "y", colours=colours)
    for name in "bc":
        styles = set()
        for figure in saved[: 2 + (name == "c")]:
            (line,) = (one for one in figure.axes[0].lines if one.get_label() == name)
            styles.add((line.get_color(), line.get_marker()))
        assert styles == {(colours[name], "osD"["abc".index(name)])}


def test_a_note_is_whole_and_the_plot_stays_as_high(tmp_path, saved):
    note = "Not shown: " + ", ".join(f"method-{i}" for i in range(40))
    for text in ("", note):
        line_plot(tmp_path / "a.png", {"a": ([1, 2], [1, 2])}, "x", "y", note=text)
    for figure in saved:
        figure.draw_without_rendering()
    without, with_note = (figure.axes[0].get_window_extent().height for figure in saved)
    assert with_note == pytest.approx(without, rel=0.05)
    assert saved[1].get_supxlabel().split() == note.split()
    below = saved[1]._supxlabel.get_window_extent()  # type: ignore[attr-defined]
    assert below.x0 >= 0 and below.x1 <= saved[1].bbox.x1 and below.y0 >= 0
    assert below.y1 <= saved[1].axes[0].xaxis.label.get_window_extent().y0


def test_accounts_have_colours_of_their_own():
    assert list(ACCOUNT_COLOURS) == [account.name for account in every_account()]
    assert len(set(ACCOUNT_COLOURS.values())) == len(ACCOUNT_COLOURS)


def test_every_method_has_its_colour_and_the_reference_none_of_them(tmp_path, saved):
    methods = {name: ([1, 2], [i, i]) for i, name in enumerate(list_methods())}
    line_plot(
        tmp_path / "a.png",
        methods,
        "T",
        "mAP",
        hlines={"ANN": 5.0},
        points={"ANN's cost": (1.5, 5.0)},
    )
    *curves, line, point = saved[0].axes[0].lines
    colours = {curve.get_color() for curve in curves}
    assert len(colours) == len(methods) >= 19
    # Seen on white.
    assert all(np.dot(to_rgb(colour), (0.299, 0.587, 0.114)) < 0.71 for colour in colours)
    assert line.get_color() == point.get_color() and point.get_color() not in colours
    assert (*point.get_xdata(), *point.get_ydata()) == (1.5, 5.0)


def test_a_small_difference_looks_small(tmp_path, saved):
    series = {"a": ([1, 2], [40.0, 40.2])}
    line_plot(
        tmp_path / "a.png",
        series,
        "T",
        "mAP",
        hlines={"ANN": 40.1},
        hbands={"ANN": (38, 41)},
        least=10,
    )
    (axes,) = saved[0].axes
    low, high = axes.get_ylim()
    assert high - low == pytest.approx(10) and low < 38 and axes.patches[-1].get_y() == 38


def test_curves_on_each_other_are_nested(tmp_path, saved):
    x = [1, 2, 4]
    line_plot(
        tmp_path / "a.png",
        {"a": (x, [1, 2, 3]), "b": (x, [1, 2, 3]), "c": (x, [3, 2, 1])},
        "x",
        "y",
    )
    below, above, other = (line.get_linewidth() for line in saved[0].axes[0].lines)
    assert below > above == other


def test_ranked_bars_keep_their_order_and_values(tmp_path, saved):
    ranked_bars(tmp_path / "a.png", {"cat": -2.5, "dog": 0.0, "bird": 4.0}, "points")
    (axes,) = saved[0].axes
    assert [bar.get_width() for bar in axes.patches] == [-2.5, 0, 4] and axes.yaxis_inverted()
    assert [text.get_text() for text in axes.get_yticklabels()] == ["cat", "dog", "bird"]
    assert [text.get_text() for text in axes.texts] == ["-2.5", "+0.0", "+4.0"]
    saved[0].draw_without_rendering()
    window = saved[0].bbox
    assert all(
        window.contains(*text.get_window_extent().min)
        for text in (*axes.texts, *axes.get_yticklabels())
    )


@pytest.mark.parametrize(("kind", "starts"), [("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_every_figure_is_saved_in_another_format_too(kind, starts, tmp_path):
    bar_plot(tmp_path / "a.png", {"a": {"x": 1.0}}, "y", also=kind)
    bar_plot(tmp_path / "b.png", {"a": {"x": 1.0}}, "y")
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", f"a.{kind}", "b.png"}
    assert (tmp_path / f"a.{kind}").read_bytes().startswith(starts)


@pytest.mark.parametrize(("x", "whole"), [([3], True), ([1, 2, 3], True), ([0.1, 0.2], False)])
def test_epochs_have_ticks_at_whole_numbers_only(x, whole, tmp_path, saved):
    line_plot(tmp_path / "a.png", {"a": (x, x)}, "epoch", "loss")
    assert all(tick == round(tick) for tick in saved[0].axes[0].get_xticks()) == whole


@pytest.mark.parametrize(
    "x",
    [
        [0.69, 0.861, 1.68, 1.77, 2.84, 3.96],
        [0.713],
        [0.69, 0.70],
        [1.5, 2.5],
        [0.05, 12.5],
        [0.00017, 0.027, 0.63, 4.9],
        [1, 2, 4, 256],
    ],
)
def test_ticks_of_a_logarithmic_axis_can_be_read(x, tmp_path, saved):
    """At least one, and none over another; timesteps are ticks themselves."""
    line_plot(tmp_path / "a.png", {"a": (x, x)}, "operations", "AP", logx=True)
    (axes,), low, high = saved[0].axes, *saved[0].axes[0].get_xlim()
    saved[0].draw_without_rendering()
    labels = [
        text
        for text in axes.get_xticklabels()
        if low <= text.get_position()[0] <= high and text.get_text()
    ]
    boxes = [text.get_window_extent() for text in labels]
    assert labels and not any(a.overlaps(b) for a, b in pairwise(boxes))
    assert x != [1, 2, 4, 256] or [float(text.get_text()) for text in labels] == x


def test_bar_plot_places_every_value(tmp_path, saved):
    bar_plot(tmp_path / "a.png", {"ANN": {"x": 1.0, "y": 2.0}, "SNN": {"y": 3.0}}, "energy")
    (axes,) = saved[0].axes
    bars = sorted((bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in axes.patches)
    assert np.allclose(bars, [(-0.2, 1), (0.8, 2), (1.2, 3)]), "side by side around their category"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["x", "y"]
    assert {text.get_text() for text in axes.texts} == {"1", "2", "3"}


def test_pdf_is_a_pdf_and_the_same_every_time(tmp_path):
    for name in ("a.pdf", "b.pdf"):
        line_plot(tmp_path / "new" / name, {"a": ([1, 2], [3, 4])}, "x", "y")
    a, b = ((tmp_path / "new" / name).read_bytes() for name in ("a.pdf", "b.pdf"))
    assert a.startswith(b"%PDF") and b"CreationDate" not in a and a == b


def test_figures_leave_the_global_style_alone(tmp_path):
    bar_plot(tmp_path / "a.png", {"a": {"x": 1.0}}, "y")
    assert all(matplotlib.rcParams[key] == matplotlib.rcParamsDefault[key] for key in STYLE)


def test_bad_series_are_named(tmp_path):
    path = tmp_path / "a.png"
    with pytest.raises(UserError, match="'a' needs"):
        line_plot(path, {"a": ([1, 2], [1])}, "x", "y")
    with pytest.raises(UserError, match="nothing to plot"):
        line_plot(path, {}, "x", "y")
    with pytest.raises(UserError, match="above 0"):
        line_plot(path, {"a": ([0, 1], [1, 2])}, "x", "y", logx=True)
    with pytest.raises(UserError, match="no bar"):
        bar_plot(path, {}, "y")
    assert not path.exists()


def test_a_dollar_sign_in_a_name_is_a_dollar_sign(tmp_path):
    """matplotlib would take it for the start of a formula, and fail on this one."""
    bar_plot(tmp_path / "x.png", {"$a_$": {"b$_{$": 1.0}, "$": {"b$_{$": 2.0}}, "y")
    line_plot(tmp_path / "y.png", {"$a_$": ([1, 2], [3, 4])}, "x", "y")
