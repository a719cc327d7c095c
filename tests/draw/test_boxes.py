"""Boxes and labels stay where they belong, and figures hold all their data."""

import math
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
import torch
from helpers.drawing import NAMES, changed, detections, picture, saved_figures
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.draw.boxes import (
    NO_TRACK_COLOUR,
    PALETTE,
    class_colour,
    colours_of,
    draw_detections,
    titled,
    track_colour,
)
from spiking_yolo.draw.figure import MARKERS, STYLE, draw_curves, draw_reference, log_steps, plot


def test_a_frame_covers_its_box_and_nothing_outside():
    drawn = draw_detections(picture(200, 300), detections((50.2, 60.7, 250, 180, 0.9, 1)), NAMES)
    mask = changed(drawn)
    assert mask[60:180, 50].all() and mask[60:180, 249].all()
    assert mask[60, 50:250].all() and mask[179, 50:250].all()
    assert (drawn[120, 50] == class_colour(1)).all()
    assert not mask[:, :50].any() and not mask[:, 250:].any() and not mask[180:].any()
    assert not mask[100:170, 60:240].any(), "the object itself must stay visible"
    assert not mask[:30].any(), "only the label may stand above the box"


def test_tracks_have_colours_and_numbers():
    boxes = detections((20, 60, 80, 150, 0.9, 1), (120, 60, 180, 150, 0.8, 1))
    drawn = draw_detections(picture(200, 200), replace(boxes, track_id=torch.tensor([3, 8])), NAMES)
    assert (drawn[100, 20] == track_colour(3)).all() and (drawn[100, 120] == track_colour(8)).all()
    boxes_of_one = replace(boxes, track_id=torch.tensor([-1, 8]))
    alone = draw_detections(picture(200, 200), boxes_of_one, NAMES)
    assert (alone[100, 20] == NO_TRACK_COLOUR).all()
    # The second box is as it was, the first one's label lacks the number.
    assert (alone[:, 110:] == drawn[:, 110:]).all()
    label = changed(draw_detections(picture(200, 200), boxes, NAMES))[:60].any(0).sum()
    assert changed(drawn)[:60].any(0).sum() > label == changed(alone)[:60, :110].any(0).sum() * 2
    assert track_colour(1) == PALETTE[0] == track_colour(1 + len(PALETTE))


def test_labels_make_way_for_each_other():
    found = detections((50, 60, 200, 160, 0.9, 0), (50, 62, 200, 160, 0.8, 1))
    both = draw_detections(picture(200, 300), found, NAMES)
    for k in range(2):
        alone = draw_detections(picture(200, 300), found.take(torch.tensor([k])), NAMES)
        label = (alone == class_colour(k)).all(2)[:60].sum()
        assert (both == class_colour(k)).all(2)[:60].sum() == label > 0


def test_a_label_at_the_right_edge_stays_inside():
    def label(left: int) -> np.ndarray:
        box = detections((left, 60, left + 20, 90, 0.9, 1))
        return (draw_detections(picture(200, 300), box, NAMES) == class_colour(1)).all(2)[:60]

    inside, at_the_edge = label(100), label(280)
    columns = np.flatnonzero(inside.any(0))
    # All of it is there, moved to the left by as much as it would stand out.
    moved = np.roll(inside, 299 - columns[-1], axis=1)
    assert (at_the_edge == moved).all() and inside.sum() > 0


def test_a_line_above_a_picture_ends_inside():
    text = "ANN: 2 x person, dog, bicycle"
    for width in (100, 150, 600):
        above = titled(picture(120, width), text)[:-120]
        assert (above[:, -2:] == 255).all() and (above != 255).any(2).any(0).sum() > 50


def test_boxes_that_cannot_be_seen_are_skipped():
    for box in ((math.nan, 0, 9, 9), (0, 0, math.inf, 9), (30, 30, 30, 40), (-9, -9, -1, -1)):
        image = picture(50, 50)
        assert (draw_detections(image, detections((*box, 0.5, 0)), NAMES) == image).all()


@given(
    height=st.integers(1, 120),
    width=st.integers(1, 120),
    boxes=st.lists(st.tuples(*[st.floats(-200, 200, width=32)] * 4), max_size=6),
)
def test_any_size_and_any_box(height, width, boxes):
    found = detections(*[(*box, 0.5, i % 3) for i, box in enumerate(boxes)])
    drawn = draw_detections(picture(height, width), found, NAMES)
    assert drawn.shape == (height, width, 3) and drawn.dtype == np.uint8


@pytest.fixture
def saved(monkeypatch):
    return saved_figures(monkeypatch)


def test_curves_bands_and_references(tmp_path, saved):
    t, y = [8, 16, 32], [1, 2, 3]
    with plot(tmp_path / "a.png", "T", "mAP") as axes:
        draw_curves(axes, {"a": (t, y, [0, 1, 2], [2, 3, 4]), "b": (t, np.array(y) + 1.0)})
        draw_curves(axes, {"dot": ([8], [4], [3.5], [4.5])})
        draw_reference(axes, "ANN", 5.0)
        log_steps(axes)
    curves = {line.get_label(): line for line in axes.lines}
    assert list(curves["b"].get_ydata()) == [2, 3, 4] and set(curves["ANN"].get_ydata()) == {5.0}
    assert curves["a"].get_color() != curves["b"].get_color()
    assert curves["a"].get_marker() != curves["b"].get_marker()
    assert axes.get_xscale() == "log"
    band, _, bar = axes.collections
    assert len(band.get_paths()[0].vertices) > 4
    assert bar.get_segments()[0].tolist() == [[8, 3.5], [8, 4.5]]
    legend = saved[0].legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "dot", "ANN"]
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


@pytest.mark.parametrize(
    ("kind", "start"), [("pdf", b"%PDF"), ("png", b"\x89PNG"), ("svg", b"<?x")]
)
def test_the_suffix_decides_and_the_global_style_stays(kind, start, tmp_path):
    path = tmp_path / "new" / f"a.{kind}"
    with plot(path, "x", "y") as axes:
        draw_curves(axes, {"cost in $": ([1, 2], [3, 4])})
    assert path.read_bytes().startswith(start)
    assert all(matplotlib.rcParams[key] == matplotlib.rcParamsDefault[key] for key in STYLE)
