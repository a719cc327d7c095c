"""Scalar neurons in exact fractions: the second implementation of the neuron tests, and what they
are fed.

Inputs are multiples of 1/64, thresholds of 1/8 and slopes are powers of two, so that float64 makes
no error.
"""

from collections.abc import Iterator
from fractions import Fraction
from math import floor, trunc
from typing import Any

from hypothesis import strategies as st

currents = st.lists(st.integers(-640, 640).map(lambda n: Fraction(n, 64)), min_size=1, max_size=30)
thetas = st.integers(1, 40).map(lambda n: Fraction(n, 8))
gammas = st.sampled_from([1, 2, 4, 8])
initials = st.sampled_from([Fraction(0), Fraction(1, 2), Fraction(-1, 4)])
slopes = st.sampled_from([Fraction(1, 8), Fraction(1, 2)])


def clip(n: int, low: int, high: int) -> int:
    return max(low, min(n, high))


def phi(x: Fraction, slope: Fraction) -> Fraction:
    return x if x > 0 else slope * x


def scalar_if(
    zs: list, theta: Any, gamma: int, initial: Any, zero: bool = False, cap: Any = None
) -> Iterator[tuple[int, Fraction]]:
    """With a cap, spikes are worth at most cap * t in t steps, to the nearest spike."""
    u, sent = initial * theta, 0
    for t, z in enumerate(zs, 1):
        u += z
        n = clip(floor(u / theta), 0, gamma)
        if cap is not None:
            n = clip(floor(cap * t / theta + Fraction(1, 2)) - sent, 0, n)
        sent += n
        u = Fraction(0) if zero and n else u - n * theta
        yield n, u


def scalar_ibt(
    zs: list, theta: Any, gamma: int, initial: Any, slope: Any
) -> Iterator[tuple[int, Fraction]]:
    """Kim 2020: thresholds theta and -theta / alpha; the crossed one is taken off, as often as it
    was crossed.
    """
    u = initial * theta
    for z in zs:
        u += z
        if u >= 0:
            n = min(trunc(u / theta), gamma)
            u -= n * theta
        else:
            n = -min(trunc(-u / (theta / slope)), gamma)
            u -= n * (theta / slope)
        yield n, u


def scalar_memory(
    zs: list, theta: Any, gamma: int, initial: Any, slope: Any, cap: Any = None
) -> Iterator[tuple[int, Fraction]]:
    total, sent = Fraction(0), 0
    for z in zs:
        total += z
        due = phi(total, slope) if cap is None else min(phi(total, slope), cap)
        n = clip(floor(due / theta - sent + initial), -gamma, gamma)
        sent += n
        yield n, total
