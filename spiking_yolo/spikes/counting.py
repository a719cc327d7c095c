"""Three ways to count what travels in a step, for a neuron that sends n thresholds at once.

A burst of n unit spikes counts n. As signed digits (`count_digits`) it is the sum of a few events
+-2^k, each an address, a sign and a small exponent. As one message with n as its payload it is a
single event, as on Loihi 2.
"""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any, Literal, NamedTuple, ParamSpec, Self

import torch
from torch import Tensor

from spiking_yolo.spikes.layout import empty

P = ParamSpec("P")
LIBRARY = torch.library.Library("spiking_yolo", "FRAGMENT")

Counting = Literal["spikes", "digits", "messages"]


class Counts(NamedTuple):
    """A quantity in each of the three countings: events per neuron, or a sum over neurons or
    images.
    """

    spikes: Any
    digits: Any
    messages: Any

    @classmethod
    def alike(cls, value: Any) -> Self:
        """Counts of events that are one spike, one digit and one message each."""
        return cls(value, value, value)

    @classmethod
    def of(cls, f: Callable[..., Any], *counts: "Counts") -> Self:
        """f of the same counting of each."""
        return cls(*map(f, *counts))

    def stacked(self) -> Tensor:
        """Stack all three, [N, ...] each, in one tensor [3 * N, ...]."""
        return torch.cat(self)

    @classmethod
    def unstacked(cls, values: Tensor) -> Self:
        """Split what `stacked` made, or what was computed from it row by row."""
        return cls(*values.chunk(3))

    def of_image(self, k: int) -> dict[str, float]:
        """The counts of one image of a batch, by counting: plain numbers."""
        return {name: float(value[k]) for name, value in self._asdict().items()}


def operator(function: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Let torch.export leave an element-wise function whole, as an operator of its name, because
    what it does to bits is written otherwise in ONNX: see onnx/operators.py.
    """
    name = function.__name__
    LIBRARY.define(name + torch.library.infer_schema(function, mutates_args=()))
    LIBRARY.impl(name, function, "CompositeExplicitAutograd")
    torch.library.register_fake(
        f"spiking_yolo::{name}", lambda x, *others: torch.empty_like(x), lib=LIBRARY
    )
    exported = getattr(torch.ops.spiking_yolo, name)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        if torch.compiler.is_exporting():
            return exported(*args, **kwargs)
        return function(*args, **kwargs)

    return call


class Tally:
    """Spikes of a layer so far, and the events that they make.

    Args:
        like: [N, C, ...], of the dtype and on the device to use.
        bursts: Whether a neuron can send more than one spike in a step; otherwise the three
            countings are equal, and made of the spikes.
        by_channel: Whether events are told apart by channel.
        switches: Whether the events are switches, see neuron.events.

    Attributes:
        count: Spikes so far, [N, C, ...].
        events: Those of bursts so far in the three countings, float64 [N, 3, ...] or, by channel,
            [N, 3 * C, ...]; else None.
        switches: Switches so far, if these are counted.
        previous: Where switches are counted, what was sent in the last step.
    """

    def __init__(self, like: Tensor, bursts: bool, by_channel: bool, switches: bool = False):
        self.by_channel = by_channel
        self.count = empty(like.shape, like, like.dtype).zero_()
        self.events: Tensor | None = None
        self.switches: Tensor | None = None
        self.previous: Tensor | None = None
        if switches:
            self.switches, self.previous = self.count.clone(), self.count.clone()
        elif bursts:
            channels = 3 * like.shape[1] if by_channel else 3
            shape = torch.Size((len(like), channels, *like.shape[2:]))
            self.events = empty(shape, like, torch.float64).zero_()

    def add(self, spikes: Tensor) -> None:
        """Count the output of a step: bursts of n = `spikes` >= 0."""
        self.count.add_(spikes)
        if self.events is None:
            return
        counted = Counts(spikes, count_digits(spikes), spikes.clamp(max=1))
        if not self.by_channel:
            counted = Counts.of(lambda n: n.sum(1, keepdim=True), counted)
        self.events.add_(torch.cat(counted, 1))

    def switch(self, out: Tensor, spike_weight: float) -> None:
        """Count where the output of a step differs from that of the last one."""
        assert self.switches is not None and self.previous is not None
        self.switches.add_((out - self.previous).abs_().div_(spike_weight))
        self.previous.copy_(out)

    def counts(self) -> Counts:
        """Events so far at each position, float64 [N, 1, ...], or [N, C, ...] by channel."""
        if self.events is not None:
            return Counts(*self.events.chunk(3, 1))
        alike = self.count if self.switches is None else self.switches
        if self.by_channel:
            return Counts.alike(alike.double())
        return Counts.alike(alike.sum(1, keepdim=True, dtype=torch.float64))


@operator
def count_digits(n: Tensor) -> Tensor:
    """Count the digits of n that are not zero: the ones of n xor 3n (Prodinger 2000)."""
    x = n.abs().to(torch.int32)
    return _ones_(x.bitwise_xor_(x * 3)).to(n.dtype)


@operator
def count_binary_digits(n: Tensor) -> Tensor:
    """Count the ones of whole numbers n >= 0 in base two."""
    return _ones_(n.to(torch.int32)).to(n.dtype)


def _ones_(x: Tensor) -> Tensor:
    """Count the bits of int32 x >= 0 that are 1; x is overwritten."""
    x -= (x >> 1).bitwise_and_(0x55555555)  # how many in each pair of bits,
    y = (x >> 2).bitwise_and_(0x33333333)
    x &= 0x33333333
    x += y  # in four,
    x += x >> 4
    x &= 0x0F0F0F0F  # in eight,
    x *= 0x01010101
    return x.bitwise_right_shift_(24)  # and in all


# How many digits a + 1 has more than a, by a mod 16; 0 where higher bits decide (5 and 10).
MORE = (1, 0, 1, -1, 1, 0, 0, -1, 1, 0, 0, -1, 1, -1, 0, -1)


@cache
def _more(slack: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(MORE, dtype=dtype).mul_(slack).add_(0.5).to(device)


@operator
def digit_saving_round(x: Tensor, slack: float) -> Tensor:
    """x rounded up or down, to the neighbour of least error^2 + 2 * slack * digits: an error of at
    most 1/2 + slack.

    Between a neighbour of d digits and one of d + 1 the point of decision is 1/2 + slack away from
    the former. Thus 0 and other multiples of 4 attract more, 3 and 13 less. slack: 0..1/2; with 0
    it rounds, and halves up.
    """
    low = x.floor()
    if not slack:
        return low.add_(x - low >= 0.5)
    last = low.to(torch.int32).bitwise_and_(15)
    # index_select takes half the time of [last].
    cut = _more(slack, x.dtype, x.device).index_select(0, last.flatten()).view(x.shape)
    return low.add_(x - low >= cut)
