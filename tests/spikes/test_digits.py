"""Signed digits against a search over all sums of signed powers of two, and against the definition
digit by digit.
"""

from fractions import Fraction
from functools import cache
from math import floor

import torch
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.spikes.counting import count_digits, digit_saving_round

numbers = st.integers(-(2**22) + 1, 2**22 - 1)


@cache
def fewest() -> dict[int, int]:
    """n -> how few terms +-2^k, k <= 10, add up to it, by breadth first, for what at most four of
    them reach.
    """
    terms = [sign << k for k in range(11) for sign in (1, -1)]
    found, last = {0: 0}, {0}
    for many in range(1, 5):
        last = {n + term for n in last for term in terms} - set(found)
        found |= dict.fromkeys(last, many)
    return found


def digits(n: int) -> list[int]:
    """The non-adjacent form by its definition, as the values of the digits, the least significant
    first.
    """
    found, weight = [], 1
    while n:
        d = 2 - n % 4 if n % 2 else 0
        found += [d * weight] if d else []
        n, weight = (n - d) // 2, weight * 2
    return found


def test_no_sum_of_signed_powers_of_two_has_fewer_terms():
    known = {n: many for n, many in fewest().items() if abs(n) <= 2**9}
    assert len(known) > 900
    counted = count_digits(torch.tensor(list(known), dtype=torch.float32))
    assert counted.tolist() == list(known.values())


@given(st.lists(numbers, min_size=1), st.sampled_from([torch.float32, torch.float64]))
def test_digits_are_those_of_the_definition(values: list[int], dtype: torch.dtype):
    n = torch.tensor(values, dtype=dtype)
    expected = [digits(value) for value in values]
    assert count_digits(n).tolist() == [len(d) for d in expected]


@given(st.floats(-2000, 2000), st.floats(0, 0.5))
def test_digit_saving_rounding_is_the_cheaper_neighbour(value: float, slack: float):
    """Of least error^2 + 2 slack digits; in 2 of 16 intervals, where digits differ by higher bits,
    the nearer.
    """
    low = floor(value)
    count = {n: 0 if low % 16 in (5, 10) else len(digits(n)) for n in (low, low + 1)}
    price = {n: (value - n) ** 2 + 2 * slack * count[n] for n in count}
    chosen = digit_saving_round(torch.tensor([value], dtype=torch.float64), slack).item()
    assert price[int(chosen)] <= min(price.values()) + 1e-9
    assert digit_saving_round(torch.tensor([value], dtype=torch.float64), 0.0).item() == floor(
        Fraction(value) + Fraction(1, 2)
    )


def test_what_lies_on_the_edge_is_rounded_up():
    """From 0 to 1 and from 3 to 4, where the edge lies at 1/2 + slack and 1/2 - slack."""
    on_and_below = torch.tensor([0.75, 0.7499, 3.25, 3.2499])
    assert digit_saving_round(on_and_below, 0.25).tolist() == [1, 0, 4, 3]
