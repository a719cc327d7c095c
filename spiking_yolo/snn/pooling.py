"""Max pooling of spikes, exact for any size, stride and padding, signed input too."""

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from spiking_yolo.snn.counting import Counts, count_digits
from spiking_yolo.snn.fast import Backend
from spiking_yolo.snn.layout import Active, immediate, per_channel, rows
from spiking_yolo.snn.state import State, map_tree, put

# Of a spike, in the difference of two sums.
_ROUNDING = 1e-3


class CumulativeMaxPool(nn.Module):
    """Sends the change of the maximum, over each window, of the input's running sum: the sum sent
    is the pooled sum.

    Pooling the spikes of single steps instead counts every spike of a window and gets *worse* with
    T. What is sent can be negative, more than one spike or, behind graded spikes, a part of one. It
    counts as the spikes that its value takes: a change of a part of a spike is one event all the
    same. attrs: geometry, see graph.max_pool. sends_sums: the pooled sum itself is handed on in
    every step, to neurons that work on sums; nothing is counted. by_channel: see LayerPlan.
    """

    sent: Tensor
    state: State
    # Whether anything did in the last step, for who cannot know from sums and silence.
    arrived: Tensor | None = None

    def __init__(
        self,
        attrs: Mapping[str, Any],
        sends_sums: bool = False,
        backend: Backend | None = None,
        by_channel: bool = False,
    ):
        super().__init__()
        self.attrs, self.sends_sums, self.by_channel = attrs, sends_sums, by_channel
        self._pooled_sum = (backend or Backend()).pooled_sum(attrs)
        self.reset()

    def reset(
        self,
        bursts: bool = True,
        rest: Tensor | None = None,
        digits: Callable[[Tensor], Tensor] = count_digits,
    ) -> None:
        """Forget everything: the next step starts a new run, of any shape.

        bursts: whether a step of the input can be worth more than one spike. rest: of the input,
        [C]; what its first step brings without an event, and this one hands on without any, since
        it shifts a maximum as it shifts all. digits: how many a number of spikes has.
        """
        self._pooled_sum.reset()
        self._fresh, self._bursts, self._rest, self._digits = True, bursts, rest, digits

    def forward(
        self, current: Tensor | Active, spike_weight: float = 1.0
    ) -> Tensor | Active | None:
        """One timestep. current: [N, C, H, W], what arrives. Returns what is sent, [N, C, H', W'];
        None for nothing.

        spike_weight: value of one spike, by which what is sent is counted.
        """
        if isinstance(current, Active):
            if not self._fresh and (changed := self._pooled_sum.at(current)) is not None:
                return self._at(*changed, spike_weight)
            current = current.dense()
        pooled = self._pooled_sum(current)
        if self.sends_sums:
            self._fresh, self.arrived = False, None if immediate(current) else current.any()
            return pooled
        first = self._fresh
        if first:
            self._fresh, self.sent = False, torch.zeros_like(pooled)
            if self._rest is not None:
                self.sent += per_channel(self._rest, pooled)
            without = ("switches", "previous", *(() if self._bursts else ("events",)))
            self.state = State.allocate(
                pooled.shape, pooled, pooled.dtype, without, self.by_channel
            )
        # The old `sent` is not needed any more.
        out = torch.sub(pooled, self.sent, out=self.sent)
        self.sent = pooled
        self._tally(self.state, out, spike_weight)
        return pooled if first and self._rest is not None else out

    def _at(self, pooled: Active, before: Tensor, spike_weight: float) -> Active | None:
        """The same where the maximum may have changed: `pooled`, which was `before`. self.sent has
        changed with it.
        """
        if self.sends_sums:
            return pooled
        out = pooled.values - before
        whole = map_tree(rows, self.state)
        part = map_tree(lambda value: value.index_select(0, pooled.where), whole)
        self._tally(part, out, spike_weight)
        put(whole, pooled.where, part)
        sent = Active(out, pooled.where, pooled.shape).nonzero()
        return sent if len(sent.where) else None

    def _tally(self, state: State, out: Tensor, spike_weight: float) -> None:
        events = (out != 0).to(out.dtype)
        if self._bursts:
            events = torch.maximum(events, (out.abs() / spike_weight).sub_(_ROUNDING).ceil_())
        state.tally(events, self._digits)

    @property
    def counts(self) -> Counts:
        """Events sent so far: see State.counts."""
        return self.state.counts(self.by_channel)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Moved to another device or dtype: the run is over."""
        self.reset()
        return super()._apply(fn, recurse)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.attrs.items())
