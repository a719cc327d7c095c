"""The timeline of a video shows every number it was given, and marks cuts and the ANN."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.drawing import saved_figures

from spiking_yolo.draw.timeline import Timeline
from spiking_yolo.errors import UserError

SEEN = Timeline(frames=[1, 2, 3, 4], operations=[0.75, 0.05, 0.0, 0.04], objects=[2, 0, 1, 1])


@pytest.fixture
def saved(monkeypatch):
    return saved_figures(monkeypatch)


def lines(axes, style: str = "-"):
    return [line for line in axes.lines if line.get_linestyle() == style and len(line.get_xdata())]


def labels(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_two_panels_with_their_numbers(tmp_path, saved):
    replace(SEEN, cuts=[3]).save(tmp_path / "a.png")
    top, bottom = saved[0].axes
    (spiking,), (objects,) = lines(top), lines(bottom)
    assert list(spiking.get_xdata()) == SEEN.frames
    assert list(spiking.get_ydata()) == pytest.approx([0.75, 0.05, 1e-4, 0.04])
    assert list(objects.get_ydata()) == [2, 0, 1, 1]
    assert labels(top) == ["spiking, 0.03 per later frame", "ANN", "scene cut"]
    assert [set(line.get_ydata()) for line in lines(top, "--")] == [{1}]
    assert all(lines(axes, ":")[0].get_xdata() == [3, 3] for axes in saved[0].axes)
    saved[0].draw_without_rendering()
    box = top.get_legend().get_window_extent()
    assert box.x1 <= saved[0].bbox.x1
    assert not any(box.overlaps(other.get_window_extent()) for other in saved[0].axes)


def test_the_ann_s_objects_and_those_that_are_missed(tmp_path, saved):
    replace(SEEN, ann_objects=[2, 2, 1, 0], missed=[0, 2, 0, 0]).save(tmp_path / "a.png")
    middle = saved[0].axes[1]
    assert [list(line.get_ydata()) for line in lines(middle, "--")] == [[2, 2, 1, 0]]
    assert [bar.get_height() for bar in middle.patches] == [0, 2, 0, 0]
    assert labels(middle) == ["spiking", "ANN", "the ANN's that are missed, 40 %"]


def test_layers_are_rows_of_colours(tmp_path, saved):
    layers = {"conv 2": [0.5, 0.01, 0.0, 0.02], "conv 3": [0.25, 0.04, 0.0, 0.02]}
    replace(SEEN, frames=[0, 5, 10, 15], layers=layers).save(tmp_path / "a.png")
    axes = saved[0].axes[2]
    assert [text.get_text() for text in axes.get_yticklabels()] == list(layers)
    (mesh,) = axes.collections
    shown = np.array(mesh.get_array()).reshape(2, 4)
    assert shown.tolist() == [[0.5, 0.01, 5e-5, 0.02], [0.25, 0.04, 5e-5, 0.02]]
    assert mesh.get_coordinates()[0, :, 0].tolist() == [-2.5, 2.5, 7.5, 12.5, 17.5]
    assert axes.yaxis_inverted()


def test_an_axis_is_logarithmic_where_it_spans_a_decade(tmp_path, saved):
    for operations, scale, low in (
        ([0.9, 0.5], "linear", 0),
        ([0.9, 0.11], "linear", 0),
        ([0.9, 0.09], "log", 0.072),
        ([0.9, 0], "log", 1e-4),
        ([0.0, 0.0], "log", 1e-4),
    ):
        Timeline(frames=[1, 2], operations=operations, objects=[0, 0]).save(tmp_path / "a.png")
        top, _ = saved[-1].axes
        assert top.get_yscale() == scale and top.get_ylim()[0] == pytest.approx(low)
        assert top.get_ylim()[1] > 1


def test_bad_numbers_are_named(tmp_path):
    for change, word in (
        ({"frames": []}, "no frame"),
        ({"objects": [1, 2]}, "'objects' needs one number"),
        ({"layers": {"a": [1.0]}}, "'a' needs one number"),
        ({"operations": [1, 2, float("nan"), 3]}, "'operations'"),
        ({"operations": [1, 2, -1, 3]}, "negative"),
    ):
        with pytest.raises(UserError, match=word):
            replace(SEEN, **change).save(tmp_path / "a.png")
        assert not list(tmp_path.iterdir())
