"""Signed digits: a whole number as few events as can be, each worth +-2^k (Reitwiesner 1960, the non-adjacent form).

n = sum of d_k 2^k with d_k in {-1, 0, 1} and no two neighbours that are not zero: 7 = 8 - 1. The form is unique, and no
other sum of signed powers of two has fewer terms. With b bits it has b / 3 digits on average, (b + 1) / 2 at most.
Functions take whole numbers in floating point, |n| < 2^22, and work on all of a tensor at once.
"""

from functools import cache

import torch
from torch import Tensor

from spiking_yolo.snn.backend.layout import beside

WHOLE = {torch.float32: (torch.int32, -(1 << 23)), torch.float64: (torch.int64, -(1 << 52))}  # sign and exponent bits


def count_digits(n: Tensor) -> Tensor:
    """How many digits of n are not zero: the ones of n xor 3n (Prodinger 2000)."""
    x = n.abs().to(torch.int32)
    return _ones_(x.bitwise_xor_(x * 3)).to(n.dtype)


def count_binary_digits(n: Tensor) -> Tensor:
    """How many ones whole numbers n >= 0 have in base two."""
    return _ones_(n.to(torch.int32)).to(n.dtype)


def _ones_(x: Tensor) -> Tensor:
    """How many bits of int32 x >= 0 are 1; x is used up."""
    x -= (x >> 1).bitwise_and_(0x55555555)  # how many in each pair of bits,
    y = (x >> 2).bitwise_and_(0x33333333)
    x &= 0x33333333
    x += y  # in four,
    x += x >> 4
    x &= 0x0F0F0F0F  # in eight,
    x *= 0x01010101
    return x.bitwise_right_shift_(24)  # and in all


def leading_digit(n: Tensor) -> Tensor:
    """The most significant digit of n, +-2^k, and 0 of 0: the power of two below 3|n| / 2, with the sign of n.

    |n| has it at k when 2^(k+1) / 3 < |n| < 2^(k+2) / 3, for the digits below it add up to less than 2^(k+1) / 3.
    """
    kind, mask = WHOLE[n.dtype]
    return ((n * 1.5).view(kind) & mask).view(n.dtype)  # a float's sign and exponent, without its fraction


def most_significant(n: Tensor, k: int) -> Tensor:
    """n without all but its k most significant digits."""
    rest = n
    for _ in range(k):
        rest = rest - leading_digit(rest)
    return n - rest


# Digits of a + 1 less those of a, by a mod 16; where higher bits decide (5 and 10), 0.
_MORE = (1, 0, 1, -1, 1, 0, 0, -1, 1, 0, 0, -1, 1, -1, 0, -1)


@cache
def _more(slack: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    return beside(torch.tensor(_MORE, dtype=dtype).mul_(slack).add_(0.5), torch.empty(0, dtype=dtype, device=device))


def thrifty_round(x: Tensor, slack: float) -> Tensor:
    """x rounded up or down, to the neighbour of least error^2 + 2 * slack * digits: an error of at most 1/2 + slack.

    Between a neighbour of d digits and one of d + 1 the point of decision is 1/2 + slack away from the former. Thus 0
    and other multiples of 4 attract more, 3 and 13 less. slack: 0..1/2; with 0 it rounds, and halves up.
    """
    low = x.floor()
    if not slack:
        return low.add_(x - low >= 0.5)
    last = low.to(torch.int32).bitwise_and_(15)
    cut = _more(slack, x.dtype, x.device).index_select(0, last.flatten()).view(x.shape)  # half the time of [last]
    return low.add_(x - low >= cut)
