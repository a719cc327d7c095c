"""Sums of whole numbers: exact where they fit, rounded once where they do not, the same by bytes and
by floats.
"""

import os
import platform
import subprocess
import sys
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
from spiking_yolo.integer.convolution import Border, WholeConvolution, has_exact_int8


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


# Weights and what arrives: all alike, of one sign and so with sums of bytes beyond 2^24 where those
# of events are not, or random.
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
    """By bytes and by floats, with the same bits; 600 channels pass 2^24 by far."""
    weight, least = CASES[case]
    levels = whole((outputs, channels // attrs["groups"], *size), weight, 127)
    x = whole((2, channels, 9, 11), least, 127, 1)
    layer, expected = WholeConvolution(levels, attrs, 127), nearest(x, levels, attrs)
    assert torch.equal(layer(x), expected)
    assert torch.equal(layer((x + 128).to(torch.uint8)), expected)


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
    assert torch.equal(layer((x + 128).to(torch.uint8)), expected)


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


def saturating(x: Tensor, levels: Tensor, outputs: int, attrs: Any) -> Tensor:
    """As without VNNI: pairs of products, here of channels, are added in 16 bits."""
    total: Any = 0
    for k in range(0, levels.shape[1], 2):
        pair = convolve(x[:, k : k + 2].long().numpy(), levels[:, k : k + 2].long().numpy(), attrs)
        total = total + pair.clip(-(2**15), 2**15 - 1)
    taken = convolve(np.full(x.shape, 128), levels.long().numpy(), attrs)
    return torch.from_numpy(total - taken).float()


def missing(*args: Any) -> Tensor:
    raise AttributeError("'_OpNamespace' 'onednn' object has no attribute 'qconv2d_pointwise'")


def of_one_channel(x: Tensor, levels: Tensor, outputs: int, attrs: Any) -> Tensor:
    """Wrong by one where layers are depthwise."""
    sums = convolve(x.long().numpy() - 128, levels.long().numpy(), attrs)
    return torch.from_numpy(sums + (attrs["groups"] > 1)).float()


@pytest.mark.parametrize("wrong", [saturating, missing, of_one_channel])
def test_wrong_sums_are_found_and_floats_serve(monkeypatch, wrong):
    levels, x = whole((4, 8, 3, 3), -127, 127), whole((1, 8, 5, 5), -127, 127, 1)
    monkeypatch.setattr(convolution, "pack", lambda levels, attrs: levels)
    monkeypatch.setattr(convolution, "convolve_bytes", wrong)
    # Checked anew.
    monkeypatch.setattr(convolution, "has_exact_int8", has_exact_int8.__wrapped__)
    assert not convolution.has_exact_int8()
    layer = WholeConvolution(levels, geometry(), 127)
    assert torch.equal(layer((x + 128).to(torch.uint8)), nearest(x, levels, geometry()))


def test_each_layer_is_checked_at_its_own_geometry(monkeypatch: pytest.MonkeyPatch):
    """oneDNN's sums were wrong where maps are two wide."""

    def of_two_columns(x: Tensor, levels: Tensor, outputs: int, attrs: Any) -> Tensor:
        sums = convolve(x.long().numpy() - 128, levels.long().numpy(), attrs)
        return torch.from_numpy(sums + (x.shape[3] == 2)).float()

    monkeypatch.setattr(convolution, "pack", lambda levels, attrs: levels)
    monkeypatch.setattr(convolution, "convolve_bytes", of_two_columns)
    monkeypatch.setattr(convolution, "has_exact_int8", lambda: True)
    for groups in (1, 4):
        shape = 20, 8 // groups, 3, 3
        layer = WholeConvolution(whole(shape, -127, 127), geometry(2, groups=groups), 127)
        assert layer.bytes_are_exact((6, 3)) and layer.bytes_are_exact((6, 3), images=5)
        assert not layer.bytes_are_exact((6, 2))
        monkeypatch.setattr(convolution, "has_exact_int8", lambda: False)
        assert layer.bytes_are_exact((6, 2))
        monkeypatch.setattr(convolution, "has_exact_int8", lambda: True)


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="of processors without VNNI")
def test_wrong_sums_of_onednn_are_found():
    """Instructions of AVX2, as any processor can have them, are wrong by far."""
    code = (
        "import torch; from spiking_yolo.integer import convolution as c;"
        "a = dict(stride=[1, 1], padding=[0, 0], dilation=[1, 1], groups=1);"
        "w = torch.full((16, 64, 3, 3), 127.0);"
        "x = torch.full((1, 64, 9, 9), 255, dtype=torch.uint8);"
        "x = x.contiguous(memory_format=torch.channels_last);"
        "y = c.convolve_bytes(x, c.pack(w, a), 16, a);"
        "print((y - 127 * 127 * 576).abs().max().item() > 1000, c.has_exact_int8())"
    )
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    run = [sys.executable, "-c", code]
    found = subprocess.run(run, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["True", "False"]


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
