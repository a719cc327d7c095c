"""Heat maps tell the truth about rates, and animations are complete."""

import matplotlib
import numpy as np
import pytest
import torch
from helpers.drawing import NAMES, changed, colour_bars, detections, picture, saved_figures
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from spiking_yolo.data.images import place
from spiking_yolo.draw.animate import save_gif, timeline_frames
from spiking_yolo.draw.boxes import draw_detections
from spiking_yolo.draw.colours import class_colour
from spiking_yolo.draw.overlay import (
    UNIT,
    RateMap,
    blend,
    map_to_image,
    rate_overlay,
    rate_range,
    summary_overlay,
)
from spiking_yolo.errors import UserError
from spiking_yolo.models.spec import Spec


@pytest.fixture
def saved(monkeypatch):
    return saved_figures(monkeypatch)


def rates(values: torch.Tensor, neurons: int = 1) -> RateMap:
    return RateMap(values, float(values.mean()), neurons)


def test_map_to_image_removes_the_letterbox():
    # Content 416x312 below 52 rows of grey.
    placement = place(500, 375, Spec("detect", ("a",), 416, 416))
    rate = torch.zeros(8, 8)
    # Rows 0-51 and 364-415 of the input: exactly the bars.
    rate[0] = rate[-1] = 9.0
    rate[1:7] = torch.arange(6.0)[:, None]
    out = map_to_image(rate, placement)
    assert out.shape == (375, 500) and out.max() == 5.0
    centres = (torch.arange(6) + 0.5) * 375 / 6
    assert out[centres.long(), 250].tolist() == [0, 1, 2, 3, 4, 5]


@settings(max_examples=25, deadline=None)
@given(
    width=st.integers(1, 900),
    height=st.integers(1, 900),
    x=st.floats(0.1, 0.9),
    y=st.floats(0.1, 0.9),
)
def test_map_to_image_agrees_with_the_way_of_boxes(width, height, x, y):
    """A hot pixel of a full-resolution map lands where Placement.to_image sends it."""
    placement = place(width, height, Spec("detect", ("a",), 96, 128))
    column = placement.pad[0] + int(x * placement.resized[0])
    row = placement.pad[1] + int(y * placement.resized[1])
    rate = torch.zeros(96, 128)
    rate[row, column] = 1
    cell = torch.tensor([column / 128, row / 96, (column + 1) / 128, (row + 1) / 96])
    x1, y1, x2, y2 = placement.to_image(cell).tolist()
    rows, columns = map_to_image(rate, placement).nonzero(as_tuple=True)
    if len(rows):  # a shrinking nearest neighbour may skip the cell
        assert x1 - 0.51 <= columns.min() + 0.5 and columns.max() + 0.5 <= x2 + 0.51
        assert y1 - 0.51 <= rows.min() + 0.5 and rows.max() + 0.5 <= y2 + 0.51
    else:
        assert x2 - x1 < 1 or y2 - y1 < 1


def test_blend_is_the_stated_mixture():
    image = np.array([[[255, 255, 255], [0, 0, 0]]], np.uint8)
    out = blend(image, torch.tensor([[0.0, 0.5]]), 0.0, 0.5)
    low, high = (np.array(matplotlib.colormaps["magma"](v)[:3]) for v in (0.0, 1.0))
    # White becomes .8, black .2.
    assert np.abs(out[0, 0] - 255 * (0.7 * low + 0.3 * 0.8)).max() <= 1
    assert np.abs(out[0, 1] - 255 * (0.7 * high + 0.3 * 0.2)).max() <= 1


def test_maps_that_cannot_be_drawn_are_refused(tmp_path):
    for rate in (torch.tensor([[float("nan")]]), torch.zeros(3), torch.zeros(0, 2)):
        with pytest.raises(UserError, match="rate map"):
            blend(picture(4, 4), rate, 0, 1)
    with pytest.raises(UserError, match="at least one layer"):
        summary_overlay(picture(4, 4), {}, tmp_path / "a.png")
    with pytest.raises(UserError, match=r"\.png, \.pdf or \.svg"):
        rate_overlay(picture(4, 4), rates(torch.rand(2, 2)), "a", tmp_path / "a.jpg")
    assert not list(tmp_path.iterdir())


def test_colour_bar_spans_the_data_and_the_title_gives_the_numbers(tmp_path, saved):
    rate_overlay(
        picture(30, 40),
        RateMap(torch.tensor([[0.125, 0.25], [0.25, 0.375]]), 0.26, 8),
        "conv1",
        tmp_path / "a.png",
    )
    assert colour_bars(saved[0]) == [(0.125, 0.375)]
    (panel,) = saved[0].axes
    assert panel.get_title() == "conv1\ncolours 0.12 to 0.38, mean 0.26"
    assert panel.child_axes[0].get_ylabel() == UNIT
    with Image.open(tmp_path / "a.png") as png:
        assert png.format == "PNG" and png.width > 900


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_constant_maps_have_a_colour_bar_too(tmp_path, saved, value):
    rate_overlay(picture(30, 40), rates(torch.full((2, 2), value)), "constant", tmp_path / "a.png")
    low, high = colour_bars(saved[0])[0]
    assert low == pytest.approx(value) and high > low
    assert rate_range(torch.zeros(1)) == (0.0, 1e-3)


def test_summary_shows_every_layer_and_all_their_neurons(tmp_path, saved):
    """Of 10 neurons 9 are in b."""
    maps = {"a": rates(torch.full((2, 2), 0.1), 1), "b": rates(torch.tensor([[0.2, 0.4]]), 9)}
    summary_overlay(picture(30, 40), maps, tmp_path / "a.png")
    titles = [a.get_title() for a in saved[0].axes if a.get_title()]
    assert titles == [
        "a\ncolours 0.1 to 0.1, mean 0.1",
        "b\ncolours 0.2 to 0.4, mean 0.3",
        "all these neurons\ncolours 0.19 to 0.37, mean 0.28",
    ]
    assert np.allclose(colour_bars(saved[0]), [(0.1, 0.2), (0.2, 0.4), (0.19, 0.37)]), (
        "a scale for each"
    )


@pytest.mark.parametrize(("height", "width"), [(1, 1), (10, 20000), (20000, 10)])
def test_overlays_of_extreme_pictures(tmp_path, height, width):
    rate_overlay(picture(height, width), rates(torch.rand(3, 3)), "a", tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as png:
        assert max(png.size) < 3000


def test_timeline_has_one_frame_per_timestep_in_order():
    found = detections((5, 30, 60, 70, 0.9, 0))
    frames = timeline_frames(picture(80, 100), {16: found, 4: detections()}, NAMES)
    assert [changed(f[-80:]).any() for f in frames] == [False, True]
    assert frames[0].shape == frames[1].shape
    edge = torch.tensor([[0.0, 0.8], [0.0, 0.8]])
    by_step = {4: rates(edge), 16: rates(edge / 20 + 0.01)}
    both = timeline_frames(picture(80, 100), {16: found, 4: detections()}, NAMES, by_step)
    assert (both[1][-80:, :100] == frames[1][-80:]).all()
    dark, bright = (
        both[1][-80:, columns].mean() for columns in (slice(-100, -50), slice(-50, None))
    )
    assert bright > dark + 100, "a step with few spikes shows where they are"
    assert (both[0][-80:, -100:] == both[1][-80:, -100:]).all()
    with pytest.raises(UserError, match="different timesteps"):
        timeline_frames(picture(80, 100), {4: found}, NAMES, by_step)


def test_gif_keeps_frames_size_duration_and_colours(tmp_path):
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    save_gif([np.full((20, 30, 3), c, np.uint8) for c in colours], tmp_path / "a.gif", fps=5)
    with Image.open(tmp_path / "a.gif") as gif:
        assert (gif.n_frames, gif.size, gif.info["loop"]) == (3, (30, 20), 0)
        for i, colour in enumerate(colours):
            gif.seek(i)
            assert gif.info["duration"] == 200
            assert gif.convert("RGB").getpixel((15, 10)) == colour


def test_a_class_keeps_its_colour_over_the_frames_of_a_gif(tmp_path):
    """Boxes of two classes come and go on noise, which has more colours than a GIF holds."""
    noise = np.random.default_rng(0).integers(0, 256, (3, 90, 120, 3), np.uint8)
    found = [detections((5, 30, 50, 80, 0.9, c), (70, 30, 110, 80, 0.8, 2 - c)) for c in (0, 1, 2)]
    frames = [
        draw_detections(image, boxes, NAMES) for image, boxes in zip(noise, found, strict=True)
    ]
    save_gif(frames, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        for k in range(3):
            gif.seek(k)
            left, right = (gif.convert("RGB").getpixel((x, 55)) for x in (5, 70))
            assert (left, right) == (class_colour(k), class_colour(2 - k))


def test_a_gif_is_not_larger_than_it_may_be(tmp_path):
    frames = list(np.random.default_rng(0).integers(0, 256, (4, 200, 300, 3), np.uint8))
    save_gif(frames, tmp_path / "a.gif", most=60_000)
    with Image.open(tmp_path / "a.gif") as gif:
        assert (
            gif.n_frames == 4
            and gif.width < 300
            and gif.width / gif.height == pytest.approx(1.5, abs=0.05)
        )
    assert 20_000 < (tmp_path / "a.gif").stat().st_size <= 60_000


def test_gif_of_nothing_of_two_sizes_or_too_fast_is_refused(tmp_path):
    for frames, fps in (
        ([], 4),
        ([picture(2, 2), picture(3, 2)], 4),
        ([picture(2, 2)], 0),
        ([picture(2, 2)], 51),
    ):
        with pytest.raises(UserError):
            save_gif(frames, tmp_path / "a.gif", fps)
