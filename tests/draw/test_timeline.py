"""The timeline of a video shows every number it was given, and marks cuts and the ANN."""

import numpy as np
import pytest
from helpers.drawing import saved_figures

from spiking_yolo.draw.colours import ACCOUNT_COLOURS, track_colour
from spiking_yolo.draw.timeline import MOST_TRACKS, timeline
from spiking_yolo.errors import UserError

FRAMES = [1, 2, 3, 4]
OPERATIONS = [0.75, 0.05, 0.0, 0.04]
ENERGIES = {"arithmetic": [7.5, 0.5, 0.0, 0.4], "with memory": [40.0, 3.0, 1.0, 2.0]}
ANN = {"arithmetic": 12.0, "with memory": 10.0}


@pytest.fixture
def saved(monkeypatch):
    return saved_figures(monkeypatch)


def lines(axes, style: str = "-"):
    return [line for line in axes.lines if line.get_linestyle() == style and len(line.get_xdata())]


def labels(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_three_panels_with_their_numbers(tmp_path, saved):
    timeline(tmp_path / "a.png", FRAMES, OPERATIONS, [2, 0, 1, 1], ENERGIES, ANN, cuts=[3])
    top, middle, bottom = saved[0].axes
    (spiking,), (objects,), accounts = lines(top), lines(middle), lines(bottom)
    assert list(spiking.get_xdata()) == FRAMES and list(spiking.get_ydata()) == pytest.approx(
        [0.75, 0.05, 1e-4, 0.04]
    )
    assert list(objects.get_ydata()) == [2, 0, 1, 1]
    assert [list(line.get_ydata()) for line in accounts] == [
        pytest.approx([7.5, 0.5, 0.004, 0.4]),
        ENERGIES["with memory"],
    ]
    assert labels(top) == ["spiking, 0.03 per later frame", "ANN", "scene cut"]
    assert labels(bottom) == ["arithmetic", "with memory", "the ANN's"]


def test_the_ann_s_objects_and_those_that_are_missed(tmp_path, saved):
    timeline(
        tmp_path / "a.png", FRAMES, OPERATIONS, [2, 0, 1, 1], ENERGIES, ANN,
        ann_objects=[2, 2, 1, 0], missed=[0, 2, 0, 0],
    )  # fmt: skip
    middle = saved[0].axes[1]
    assert [list(line.get_ydata()) for line in lines(middle, "--")] == [[2, 2, 1, 0]]
    assert [bar.get_height() for bar in middle.patches] == [0, 2, 0, 0]
    assert labels(middle) == ["spiking", "ANN", "the ANN's that are missed, 40 %"]


def test_layers_are_rows_of_colours(tmp_path, saved):
    layers = {"conv 2": [0.5, 0.01, 0.0, 0.02], "conv 3": [0.25, 0.04, 0.0, 0.02]}
    timeline(tmp_path / "a.png", [0, 5, 10, 15], OPERATIONS, [1] * 4, {}, {}, layers=layers)
    axes = saved[0].axes[2]
    assert [text.get_text() for text in axes.get_yticklabels()] == list(layers)
    (mesh,) = axes.collections
    shown = np.array(mesh.get_array()).reshape(2, 4)
    assert shown.tolist() == [[0.5, 0.01, 5e-5, 0.02], [0.25, 0.04, 5e-5, 0.02]]
    assert mesh.get_coordinates()[0, :, 0].tolist() == [-2.5, 2.5, 7.5, 12.5, 17.5]
    assert axes.yaxis_inverted()


def test_tracks_are_bars_in_their_colours(tmp_path, saved):
    tracks = {(7, "dog"): [2, 4], (1, "person"): [1, 2, 3]}
    timeline(tmp_path / "a.png", FRAMES, OPERATIONS, [1] * 4, {}, {}, tracks=tracks)
    axes = saved[0].axes[2]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["1 person", "7 dog"]
    bars = []
    for collection in axes.collections:
        boxes = [path.get_extents() for path in collection.get_paths()]
        bars.append([(box.x0, box.x1) for box in boxes])
    assert bars == [[(0.5, 1.5), (1.5, 2.5), (2.5, 3.5)], [(1.5, 2.5), (3.5, 4.5)]]
    colours = [
        tuple(np.rint(255 * one.get_facecolor()[0][:3]).astype(int)) for one in axes.collections
    ]
    assert colours == [track_colour(1), track_colour(7)]


def test_of_many_tracks_the_longest_are_shown(tmp_path, saved):
    tracks = {(n, "ant"): [1] if n % 2 else [1, 2] for n in range(1, 2 * MOST_TRACKS + 1)}
    timeline(tmp_path / "a.png", FRAMES, OPERATIONS, [1] * 4, {}, {}, tracks=tracks)
    axes = saved[0].axes[2]
    shown = [text.get_text() for text in axes.get_yticklabels()]
    assert shown == [f"{n} ant" for n in range(2, 2 * MOST_TRACKS + 1, 2)]
    assert axes.get_ylabel() == f"tracks\n({MOST_TRACKS} of {2 * MOST_TRACKS})"


def test_an_account_has_its_colour(tmp_path, saved):
    energies = {"SRAM, 16": [1.0], "8 bit": [2.0]}
    timeline(tmp_path / "a.png", [0], [0.5], [1], energies, {"8 bit": 3.0})
    colours = {line.get_label(): line.get_color() for line in lines(saved[0].axes[2])}
    assert colours == {name: ACCOUNT_COLOURS[name] for name in energies}


def test_the_ann_and_cuts_are_lines(tmp_path, saved):
    timeline(tmp_path / "a.png", FRAMES, OPERATIONS, OPERATIONS, ENERGIES, ANN, cuts=[2, 4])
    top, _, bottom = saved[0].axes
    assert [set(line.get_ydata()) for line in lines(top, "--")] == [{1}]
    assert [(line.get_color(), *set(line.get_ydata())) for line in lines(bottom, "--")] == [
        (line.get_color(), ANN[line.get_label()]) for line in lines(bottom)
    ]
    for axes in saved[0].axes:
        assert [set(line.get_xdata()) for line in lines(axes, ":")] == [{2}, {4}]


@pytest.mark.parametrize(
    ("operations", "scale", "low"),
    [
        ([0.9, 0.5], "linear", 0),
        ([0.9, 0.11], "linear", 0),
        ([0.9, 0.09], "log", 0.072),
        ([0.9, 0], "log", 1e-4),
    ],
)
def test_an_axis_is_logarithmic_where_it_spans_a_decade(operations, scale, low, tmp_path, saved):
    timeline(tmp_path / "a.png", [1, 2], operations, [0, 0], {}, {})
    top = saved[0].axes[0]
    assert (
        top.get_yscale() == scale
        and top.get_ylim()[0] == pytest.approx(low)
        and top.get_ylim()[1] > 1
    )
    assert len(saved[0].axes) == 2, "without energies there is no panel for them"


@pytest.mark.parametrize("count", [1, 3, 1400])
def test_legends_hide_nothing_and_fit_the_page(count, tmp_path, saved):
    values = np.linspace(0, 2, count)
    names = [f"an account with a rather long name {k}" for k in range(5)]
    timeline(
        tmp_path / "a.png",
        range(count),
        values,
        values,
        dict.fromkeys(names, values),
        dict.fromkeys(names, 1.0),
        [0],
    )
    figure = saved[0]
    figure.draw_without_rendering()
    for axes in figure.axes[::2]:
        box = axes.get_legend().get_window_extent()
        assert box.x1 <= figure.bbox.x1 and not any(
            box.overlaps(other.get_window_extent()) for other in figure.axes
        )
    assert figure.axes[0].get_window_extent().width > 0.75 * figure.bbox.width


def test_all_zero_is_drawn(tmp_path, saved):
    timeline(tmp_path / "a.png", [1, 2], [0, 0], [0, 0], {"arithmetic": [0, 0]}, {})
    assert saved[0].axes[2].get_ylim() == (0, 1) and labels(saved[0].axes[2]) == ["arithmetic"]


@pytest.mark.parametrize(
    ("suffix", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")]
)
def test_the_suffix_gives_the_format_and_the_file_is_always_the_same(suffix, start, tmp_path):
    files = [tmp_path / f"{name}.{suffix}" for name in "ab"]
    for file in files:
        timeline(file, FRAMES, OPERATIONS, OPERATIONS, ENERGIES, ANN)
    first, second = (file.read_bytes() for file in files)
    assert first.startswith(start) and first == second


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": [], "operations": [], "objects": [], "energies": {}}, "no frame to draw"),
        ({"objects": [1, 2]}, "'objects' needs one number for each of the 4 frames"),
        ({"energies": {"a": [1.0]}}, "'a' needs one number"),
        (
            {"operations": [1, 2, float("nan"), 3]},
            "'operations' has a number that is negative or not finite",
        ),
        ({"operations": [1, 2, -1, 3]}, "'operations' has a number"),
    ],
)
def test_bad_numbers_are_named(change, message, tmp_path):
    arguments = {
        "frames": FRAMES,
        "operations": OPERATIONS,
        "objects": OPERATIONS,
        "energies": ENERGIES,
        **change,
    }
    with pytest.raises(UserError, match=message):
        timeline(tmp_path / "a.png", ann_energies=ANN, **arguments)
    with pytest.raises(UserError, match=r"\.png, \.pdf or \.svg"):
        timeline(tmp_path / "a.jpg", FRAMES, OPERATIONS, OPERATIONS, ENERGIES, ANN)
    assert not list(tmp_path.iterdir())
