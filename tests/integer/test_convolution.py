"""Sums of whole numbers: exact where they fit, rounded once where they do not."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from helpers.whole_numbers import convolve
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spiking_yolo.integer import convolution
from spiking_yolo.integer.convolution import Border, WholeConvolution


def geometry(
    stride: Any = 1, padding: Any = 1, dilation: int = 1, groups: int = 1
) -> dict[str, Any]:
    steps, pads = (np.broadcast_to(each, 2).tolist() for each in (stride, padding))
    return {"stride": steps, "padding": pads, "dilation": [dilation] * 2, "groups": groups}


def whole(shape: tuple[int, ...], low: int, high: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high + 1, shape, generator=generator).float()


def nearest(x: Tensor, levels: Tensor, attrs: dict[str, Any]) -> Tensor:
    """The sums in int64, each rounded to the nearest float32."""
    exact = convolve(x.long().numpy(), levels.long().numpy(), attrs)
    return torch.from_numpy(exact.astype(np.float32))


# Weights and what arrives, from so much on to 127: all alike, or random.
CASES = {"random": (-127, -127), "positive": (127, 90), "lopsided": (60, -127)}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    ("channels", "outputs", "size", "attrs"),
    [
        (64, 16, (3, 3), geometry()),
        (600, 16, (3, 3), geometry(stride=2)),
        (64, 64, (3, 3), geometry(groups=64)),
        (6, 4, (3, 3), geometry(padding=2, dilation=2, groups=2)),
        (7, 5, (2, 3), geometry(stride=2, padding=(0, 1))),
    ],
)
def test_sums_are_exact_or_rounded_once(case, channels, outputs, size, attrs):
    """600 channels pass 2^24 by far."""
    weight, least = CASES[case]
    levels = whole((outputs, channels // attrs["groups"], *size), weight, 127)
    x = whole((2, channels, 9, 11), least, 127, 1)
    layer, expected = WholeConvolution(levels, attrs, 127), nearest(x, levels, attrs)
    assert torch.equal(layer(x), expected)


def test_a_map_of_one_channel():
    """oneDNN's sums were wrong on processors with AVX-512 for narrow maps, channels last."""
    attrs, x = geometry(stride=(1, 2), padding=(1, 2)), whole((2, 9, 2, 1), -127, 127, 1)
    levels = whole((1, 1, 3, 5), -127, 127)
    for view in (x.movedim(3, 1), torch.cat([x, x], 3).movedim(3, 1)[:, 1:]):
        assert torch.equal(WholeConvolution(levels, attrs, 127)(view), nearest(view, levels, attrs))


def test_linear_layers():
    levels, x = whole((5, 9000), -100, 127), whole((3, 9000), -127, 127, 1)
    layer, expected = WholeConvolution(levels, {}, 127), nearest(x, levels, {})
    assert layer.wide and torch.equal(layer(x), expected)


def test_the_bound_is_that_of_the_worst_events():
    for k, wide in ((1039, False), (1041, True)):  # 127 * 127 * 1040.2 = 2^24
        assert WholeConvolution(torch.full((1, k, 1, 1), 127.0), geometry(), 127).wide == wide


@pytest.fixture
def rounding() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


def test_modes_that_round_products_to_bfloat16_change_nothing(rounding: None):
    levels, x = whole((16, 64, 3, 3), -127, 127), whole((1, 64, 9, 9), -127, 127, 1)
    layer = WholeConvolution(levels, geometry(), 127)
    assert torch.equal(layer(x), nearest(x, levels, geometry()))


@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 5)),
    attrs=st.builds(
        geometry,
        st.integers(1, 2),
        st.tuples(*[st.integers(0, 2)] * 2),
        groups=st.sampled_from([1, 2]),
    ),
    seed=st.integers(0, 99),
)
def test_border_is_what_padding_lacks(height: int, width: int, kernel: Any, attrs: Any, seed: int):
    """Every tap outside of the map lacks weight times value at rest, in exact fractions; halves are
    rounded to even.
    """
    groups, (ph, pw), (sh, sw) = attrs["groups"], attrs["padding"], attrs["stride"]
    if height + 2 * ph < kernel[0] or width + 2 * pw < kernel[1]:
        return
    levels = whole((4, 4 // groups, *kernel), -127, 127, seed)
    # Many are halves.
    resting = whole((4,), -9, 9, seed) / (2 if seed % 2 else 256)
    sums = whole(
        (1, 4, (height + 2 * ph - kernel[0]) // sh + 1, (width + 2 * pw - kernel[1]) // sw + 1),
        -9,
        9,
    )
    border = Border.of(levels.double(), attrs, resting.double(), (height, width))
    found = sums.clone() if border is None else border.add_to(sums.clone())
    for out, i, j in product(range(4), *map(range, sums.shape[2:])):
        lacking = Fraction(0)
        for c, a, b in product(range(4 // groups), *map(range, kernel)):
            y, x = i * sh - ph + a, j * sw - pw + b
            if not (0 <= y < height and 0 <= x < width):
                rest = Fraction(resting[out // (4 // groups) * (4 // groups) + c].item())
                lacking -= Fraction(int(levels[out, c, a, b])) * rest
        assert found[0, out, i, j] - sums[0, out, i, j] == round(lacking)


@pytest.mark.parametrize("attrs", [geometry(), geometry(2, (0, 1)), geometry(1, 2, 2, groups=2)])
def test_columns_of_taps_are_those_of_the_convolution(attrs: dict[str, Any]):
    """As other devices compute it: products of matrices."""
    levels, x = whole((4, 6 // attrs["groups"], 3, 2), -127, 127), whole((2, 6, 9, 7), -127, 127)
    size = attrs["stride"], attrs["padding"], attrs["dilation"]
    columns = convolution.unfolded(x, (3, 2), *size)
    taps = columns.unflatten(1, (attrs["groups"], -1)).flatten(2, 3)
    rows = levels.flatten(1).unflatten(0, (attrs["groups"], -1))
    sums = torch.einsum("gok,ngkhw->ngohw", rows, taps).flatten(1, 2)
    assert torch.equal(sums, nearest(x, levels, attrs))
