"""The neuron of whole numbers against one that computes value by value.

Float64 rounded to float32 after every operation is what float32 computes.
"""

import math
import struct
import zlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.whole_numbers import MORE
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.graph import Activation
from spiking_yolo.integer.neuron import WholeLayer, curve, curve_table, exp, fire, softmax
from spiking_yolo.recipe import Neuron

SIGNED = Neuron(kind="sigma-delta", events="digits")


def f32(x: float) -> float:
    """The nearest float32; halves to even."""
    return struct.unpack("f", struct.pack("f", x))[0]


def scalar(
    sums: Sequence[float],
    scales: Sequence[float],
    bias: float,
    offset: float,
    slope: float,
    slack: float,
    before: int = 0,
    dead_zone: float = 0.0,
    ceiling: float = math.inf,
) -> int:
    """k of one leaky ReLU neuron."""
    v = f32(sums[0] * scales[0])
    for k, scale in zip(sums[1:], scales[1:], strict=True):
        v = f32(v + f32(k * scale))
    v = f32(v + bias)
    if v <= 0:
        v = f32(v * slope)
    due = f32(f32(min(v, ceiling) + offset) - before)
    low = math.floor(due)
    change = low + (f32(due - low) >= f32(0.5 + f32(slack * MORE[low % 16])))
    if dead_zone and abs(due) < f32(0.5 + dead_zone):
        change = 0
    return max(-127, min(127, before + change))


def layer(channels: int, seed: int = 0, phi: Activation | None = None, **own: Any) -> WholeLayer:
    """One with random parameters."""
    draw = partial(torch.rand, channels, generator=torch.Generator().manual_seed(seed))
    values: dict[str, Any] = {
        "phi": phi or Activation(f32(0.1)),
        "settings": Neuron(kind="sigma-delta", events="digits", slack=0.2),
        "scales": (draw() * 0.3,),
        "bias": draw() * 8 - 4,
        "per_value": draw() * 40,
        "offset": draw() - 0.5,
        "ceiling": None,
    }
    return WholeLayer(**{**values, **own})


WHOLE = st.integers(-(2**24), 2**24).map(float)
FLOATS = partial(st.floats, width=32, allow_subnormal=False)


@given(
    sums=st.lists(WHOLE | st.integers(-300, 300).map(float), min_size=1, max_size=2),
    scales=st.tuples(FLOATS(2**-20, 1.0), FLOATS(2**-20, 1.0)),
    bias=FLOATS(-200, 200),
    offset=FLOATS(-3, 3),
    slope=st.sampled_from([0.0, f32(0.1), 1.0]),
    slack=FLOATS(0, 31 / 64),
    before=st.none() | st.integers(-127, 127),
    dead_zone=st.floats(0, 16),
    ceiling=st.none() | FLOATS(0.5, 64),
)
def test_against_a_scalar_neuron(**x: Any):
    sums, scales = x["sums"], x["scales"][: len(x["sums"])]
    own = {name: torch.tensor([x[name]]) for name in ("bias", "offset")}
    phi = Activation(x["slope"], x["ceiling"])
    ceiling = None if x["ceiling"] is None else torch.tensor([x["ceiling"]])
    many = tuple([torch.tensor([scale]) for scale in scales])
    chosen = Neuron(kind="sigma-delta", events="digits", slack=x["slack"])
    neurons = layer(1, phi=phi, settings=chosen, scales=many, ceiling=ceiling, **own)
    parameters = x | {"scales": scales, "before": x["before"] or 0}
    expected = scalar(**parameters | {"ceiling": x["ceiling"] or math.inf})
    tensors = [torch.full((1, 1, 1, 1), k) for k in sums]
    before = None
    if x["before"] is not None:
        before = torch.full((1, 1, 1, 1), float(x["before"]))
    assert fire([t.clone() for t in tensors], neurons, before, x["dead_zone"]).item() == expected


@given(st.floats(0.01, 1.0))
def test_the_dead_zone_ends_at_the_nearest_float(dead_zone: float):
    """Of 1/2 + the dead zone, of which neighbours are due."""
    edge = np.float32(0.5 + dead_zone)
    due = torch.tensor([np.nextafter(edge, np.float32(0)), edge])
    one = torch.ones(2)
    neurons = layer(2, settings=SIGNED, scales=(due,), bias=one * 0, offset=one * 0)
    found = fire([torch.ones(1, 2)], neurons, torch.zeros(1, 2), dead_zone)
    assert found.tolist() == [[0, int(dead_zone + 1)]]


def test_dead_zone_and_clamp_by_hand():
    """theta = 1, a quarter: fires at 3/4 and above, and sends the nearest whole number; k is never
    more than 127.
    """
    one = torch.ones(1)
    neurons = layer(1, settings=SIGNED, scales=(one / 100,), bias=one * 0, offset=one * 0)
    for x, before, k in ((74, 0, 0), (76, 0, 1), (174, 1, 1), (176, 1, 2), (24, 1, 0), (26, 1, 1)):
        old = torch.full((1, 1), float(before))
        assert fire([torch.tensor([[float(x)]])], neurons, old, 0.25).item() == k
    for x in (12700, 13000, 10**6, -13000):
        sums = torch.tensor([[float(x)]])
        linear = layer(1, phi=Activation(1.0), settings=SIGNED, scales=(one / 100,), bias=one * 0)
        assert fire([sums], linear, None).item() == math.copysign(127, x)
        # From there it comes back.
        back = fire([sums * 0], linear, torch.tensor([[127.0]])).item()
        assert back == fire([sums * 0], linear, None).item()


def test_neurons_of_many_levels_by_hand():
    """Few-spikes and multi-level: sign(v) * min(floor(|v| + initial), gamma)."""
    one = torch.ones(1)
    for kind in ("few-spikes", "multi-level"):
        chosen = Neuron(kind=kind, gamma=5, initial=0.5)
        own = {"phi": Activation(0.5), "scales": (one / 4,), "bias": one * 0, "offset": one * 0}
        neurons = layer(1, settings=chosen, **own)
        for x, k in ((1, 0), (2, 1), (5, 1), (6, 2), (90, 5), (-3, 0), (-4, -1), (-99, -5)):
            assert fire([torch.tensor([[float(x)]])], neurons, None).item() == k


def test_exp_is_that_of_the_mathematics_library():
    """To a few units in the last place, and as many more as |x| says, which multiplies log2(e)."""
    x = -torch.cat([torch.logspace(-8, 1.94, 20000), torch.tensor([0.0, 1.0, math.log(2)])])
    error = (exp(x).double() / x.double().exp() - 1).abs()
    assert (error <= (6 + x.abs()) * 2**-24).all()
    assert exp(torch.tensor([-1e4])).item() == 2.0**-126


CURVES = pytest.mark.parametrize(
    ("phi", "exact", "bound"),
    ((Activation(silu=True), F.silu, 1.1e-4), (Activation(mish=True), F.mish, 1.6e-4)),
    ids=("silu", "mish"),
)


@CURVES
def test_curves_are_near_those_of_pytorch(phi: Activation, exact: Any, bound: float):
    x = torch.linspace(-40, 40, 800_001)
    error = (curve(x, phi).double() - exact(x.double())).abs()
    assert bound / 2 < error.max() < bound
    # Far from 0 they are the lines to which SiLU and mish tend.
    assert torch.equal(curve(torch.tensor([-1e6, 1e6]), phi), torch.tensor([0, 1e6]))


@CURVES
@given(x=FLOATS(-14, 14))
def test_a_curve_value_by_value(phi: Activation, exact: Any, bound: float, x: float):
    """The parabola through three values of phi(x) - x / 2, in the segment of |x|, by numpy."""
    size = np.float32(abs(x))
    segment = min(int(size * np.float32(1 / 0.375)), 31)
    within = np.float32(size - np.float32(segment * 0.375))
    nodes = 0.1875 * (1 - np.cos(np.array([1, 3, 5]) * np.pi / 6))
    at = torch.from_numpy(nodes + segment * 0.375) * (-1 if x < 0 else 1)
    wanted = np.polyfit(nodes, (exact(at) - at / 2).numpy(), 2)
    if segment == 31:
        wanted = np.array([0, 0.5, 31 * 0.375 / 2])
    value = np.polyval(wanted, within) + x / 2
    assert curve(torch.tensor([x]), phi).item() == pytest.approx(value, abs=2e-6)


def test_the_tables_are_the_same_bits_everywhere():
    """Another mathematics library could round one of their numbers otherwise: none may."""
    numbers = [curve_table(mish).numpy().astype("<f4").tobytes() for mish in (False, True)]
    assert [zlib.crc32(each) for each in numbers] == [2703487953, 2822494711]


@given(st.lists(FLOATS(-30, 30), min_size=1, max_size=70))
def test_softmax(scores: list[float]):
    """Of weights that are rounded to multiples of 2^-24 times the tokens, to the power of two."""
    found = softmax(torch.tensor([scores]))
    size = np.exp(np.array(scores) - max(scores))
    assert found.sum().item() == pytest.approx(1, abs=1e-6)
    step = 2.0 ** ((len(scores) - 1).bit_length() - 24)
    tolerance = (len(scores) / 2 + 1) * step + 4 * 2**-24
    assert np.abs(found[0].numpy() - size / size.sum()).max() <= tolerance


def test_curves_come_before_thetas():
    """phi(v) / theta, after scale and bias, each rounded: by hand of the functions above."""
    generator = torch.Generator().manual_seed(1)
    sums = torch.randint(-500, 501, (1, 5, 3, 3), generator=generator).float()
    for phi in (Activation(silu=True), Activation(mish=True)):
        neurons = layer(5, phi=phi, settings=SIGNED)
        each = [value.reshape(-1, 1, 1) for value in (*neurons.scales, neurons.bias)]
        v = sums * each[0] + each[1]
        due = curve(v, phi) * neurons.per_value.reshape(-1, 1, 1) + neurons.offset.reshape(-1, 1, 1)
        expected = (due + 0.5).floor().clamp(-127, 127)
        assert torch.equal(fire([sums], neurons, None), expected)
