"""Heat maps tell the truth about rates."""

import matplotlib
import numpy as np
import pytest
import torch
from helpers.drawing import colour_bars, picture, saved_figures
from hypothesis import given, settings
from hypothesis import strategies as st

from spiking_yolo.data.images import place
from spiking_yolo.draw.overlay import RateMap, blend, map_to_image, save_rates
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
        save_rates(tmp_path / "a.png", picture(4, 4), {})


def test_every_layer_has_a_panel_and_all_their_neurons_too(tmp_path, saved):
    """Of 10 neurons 9 are in b."""
    maps = {"a": rates(torch.full((1, 2), 0.1), 1), "b": rates(torch.tensor([[0.2, 0.4]]), 9)}
    save_rates(tmp_path / "a.png", picture(30, 40), maps)
    assert [axes.get_title() for axes in saved[0].axes if axes.get_title()] == [
        "a\n0.1 to 0.1, mean 0.1",
        "b\n0.2 to 0.4, mean 0.3",
        "all these neurons\n0.19 to 0.37, mean 0.28",
    ]
    assert np.allclose(colour_bars(saved[0]), [(0.1, 0.2), (0.2, 0.4), (0.19, 0.37)])
