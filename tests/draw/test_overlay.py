"""Spike rates over a photograph and timelines: what they draw is what the maps and counts say."""

import numpy as np
import pytest
from helpers.drawing import NAMES, detections, picture
from matplotlib.figure import Figure

from spiking_yolo import UserError
from spiking_yolo.data.images import Placement
from spiking_yolo.draw.boxes import class_colour
from spiking_yolo.draw.figure import chosen_layers, draw_rates, draw_timeline, pixels

# An image of 80 x 40 within an input of 64 x 64: 64 x 32 below 16 rows of grey.
PLACEMENT = Placement((80, 40), (64, 32), (0, 16), (64, 64))
RATES = {
    "layers_0_act": np.arange(64.0).reshape(8, 8) / 64,
    "layers_8_act": np.array([[0.0, 0.5], [0.25, 0.125]]),
}


def figure(**changes) -> Figure:
    boxes = detections((8, 10, 40, 30, 0.9, 1), (60, 2, 80, 38, 0.5, 2))
    drawn = {"image": picture(40, 80), "rates": RATES, "placement": PLACEMENT, "boxes": boxes}
    return draw_rates(**{**drawn, "names": NAMES, "title": "a.png: msat, T = 4", **changes})


def test_an_overlay_shows_the_maps_where_they_belong():
    one = figure()
    assert one.texts[0].get_text() == "a.png: msat, T = 4"
    pictures, bars = one.axes[::2], one.axes[1::2]
    assert [axes.get_title() for axes in pictures] == ["layers_0_act, 8 x 8", "layers_8_act, 2 x 2"]
    for axes, bar, rate in zip(pictures, bars, RATES.values(), strict=True):
        photograph, colours = axes.images
        assert (np.asarray(photograph.get_array()) == 128).all()
        assert (np.asarray(colours.get_array()) == rate).all()
        # A pixel of the input is 1.25 of the image, and 16 rows of it lie above.
        assert list(colours.get_extent()) == [0, 80, 60, -20]
        assert (axes.get_xlim(), axes.get_ylim()) == ((0, 80), (40, 0))
        assert colours.get_clim() == (0, rate.max()) and colours.cmap.name == "viridis"
        assert bar.get_xlabel() == "spikes per neuron and timestep"
        assert bar.get_xlim() == (0, rate.max())
        frame = axes.patches[1]
        assert (*frame.get_xy(), frame.get_width(), frame.get_height()) == (8, 10, 32, 20)
        assert [text.get_text() for text in axes.texts] == ["bicycle 0.90", f"{NAMES[2]} 0.50"]


def test_a_cell_of_the_map_has_its_colour_in_the_picture():
    rates = {"a": np.array([[0.0, 0.0], [0.0, 2.0]])}
    drawn = pixels(figure(rates=rates, boxes=detections()))
    axes = figure(rates=rates).axes[0].get_position()
    height, width = drawn.shape[:2]

    def at(x: float, y: float) -> np.ndarray:
        """The colour at fractions of the picture."""
        row = height * (1 - axes.y1 + y * axes.height)
        return drawn[int(row), int(width * (axes.x0 + x * axes.width))]

    # 0.6 of viridis' ends (68, 1, 84) and (253, 231, 37), and 0.4 of grey 128.
    np.testing.assert_allclose(at(0.25, 0.75), [92, 52, 102], atol=2)
    np.testing.assert_allclose(at(0.75, 0.75), [203, 190, 73], atol=2)


def test_frames_of_a_video_have_one_scale():
    colours = figure(tops={"layers_0_act": 4.0, "layers_8_act": 2.0}).axes[2].images[1]
    assert colours.get_clim() == (0, 2) and float(colours.norm(0.5)) == 0.5


def test_labels_stay_inside_and_apart():
    crowd = detections(*[(70, 10 + k, 80, 30, 0.9 - k / 10, k % 3) for k in range(3)])
    axes = figure(rates={"a": np.ones((2, 2))}, boxes=crowd).axes[0]
    labels = [patch for patch in axes.patches if patch.get_fill()]
    corners = np.array([(*p.get_xy(), p.get_width(), p.get_height()) for p in labels])
    assert len(labels) == 3 and labels[0].get_facecolor()[:3] == pytest.approx(
        [value / 255 for value in class_colour(0)]
    )
    assert (corners[:, :2] >= 0).all() and (corners[:, 0] + corners[:, 2] <= 80).all()
    rows = sorted(corners[:, 1])
    assert (np.diff(rows) >= corners[0, 3]).all()


def test_layers_are_chosen_by_name():
    names = [f"layers_{k}_act" for k in (0, 2, 8, 13, 21)]
    assert chosen_layers((), names) == ["layers_0_act", "layers_8_act", "layers_21_act"]
    assert chosen_layers((), names[:1]) == names[:1] and chosen_layers((), ()) == []
    wanted = ("layer13", "layers_2", "layers_0_act")
    assert chosen_layers(wanted, names) == ["layers_13_act", "layers_2_act", "layers_0_act"]
    with pytest.raises(UserError, match=r"no layer layer9 has .*: layer0, layer2, layer8,"):
        chosen_layers(("layer8", "layer9"), names)


def test_a_timeline_shows_the_counts():
    spikes = np.array([[0, 100, 50], [0, 0, 7]])
    one = draw_timeline(spikes, [0.5, 1.5, 2.5, 4.5], ["a", "b"], "timestep", "msat, T = 4")
    axes, bar = one.axes
    cells = axes.collections[0].get_array()
    assert (cells.mask == (spikes == 0)).all() and (cells.filled(0) == spikes).all()
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"]
    assert axes.get_ylim() == (2, 0) and axes.get_xlim() == (0.5, 4.5)
    assert axes.get_title() == "msat, T = 4" and "spikes per timestep" in bar.get_ylabel()
    # Nothing was sent at all.
    assert pixels(draw_timeline(np.zeros((2, 1)), [0, 1], "ab", "frame", "")).ndim == 3
