"""Max pooling of running sums of currents or spikes, exact for any geometry and signed input."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.graph import max_pool
from spiking_yolo.snn.counting import Counts, Tally
from spiking_yolo.snn.layout import any_in_images, rows

# Of a spike, in the difference of two sums.
_ROUNDING = 1e-3


class CumulativeMaxPool:
    """Sends the change of the maximum of the input's running sum over each window.

    The sum of what is sent is then the pooled sum. (Pooling the spikes of single steps would count
    every spike of a window, and get *worse* with T.) What is sent can be negative, more than one
    spike or, behind graded spikes, a fraction of one. It is counted as the number of spikes that
    its value takes; a fraction of a spike is one event.

    Args:
        attrs: Geometry, see graph.max_pool.
        sends_sums: Pass on the pooled sum itself in every step, to neurons that work on sums;
            nothing is counted.
        by_channel: See LayerPlan.
    """

    sent: Tensor
    # Whether there was input in the last step, for each image: sums do not show it.
    arrived: Tensor

    def __init__(
        self, attrs: Mapping[str, Any], sends_sums: bool = False, by_channel: bool = False
    ):
        self.attrs = attrs
        self.sends_sums = sends_sums
        self.by_channel = by_channel
        self.reset()

    def reset(self, bursts: bool = True) -> None:
        """Start a new run, of any shape, with the next step.

        bursts: Whether the input of a step can be worth more than one spike.
        """
        self._fresh = True
        self._bursts = bursts

    def __call__(self, current: Tensor, spike_weight: float = 1.0) -> Tensor:
        """One timestep.

        Args:
            current: The input, [N, C, H, W].
            spike_weight: The value of one spike, in which the output is counted.

        Returns:
            The output, [N, C, H', W'].
        """
        first, self._fresh = self._fresh, False
        pooled = self._pool(current, first)
        if self.sends_sums:
            self.arrived = any_in_images(current)
            return pooled
        if first:
            self.sent = torch.zeros_like(pooled)
            self.tally = Tally(pooled, self._bursts, self.by_channel)
        # Into the memory of the old `sent`.
        out = torch.sub(pooled, self.sent, out=self.sent)
        self.sent = pooled
        self.tally.add(events_of(out, self._bursts, spike_weight))
        return out

    def _pool(self, current: Tensor, first: bool) -> Tensor:
        """The maxima of the sum of all that has arrived, [N, C, H', W']."""
        if first:
            self._total = rows(current).clone()
        else:
            self._total.add_(rows(current))
        n, c, h, w = current.shape
        return max_pool(self._total.view(n, h, w, c).movedim(-1, 1), **self.attrs)

    @property
    def counts(self) -> Counts:
        """Events so far, see Tally.counts."""
        return self.tally.counts()


def events_of(out: Tensor, bursts: bool = True, spike_weight: float = 1.0) -> Tensor:
    """The number of spikes that each value sent by a pooling takes; a fraction of one is an event.

    bursts: Whether a value can be worth more than one spike.
    """
    events = (out != 0).to(out.dtype)
    if not bursts:
        return events
    return torch.maximum(events, (out.abs() / spike_weight).sub_(_ROUNDING).ceil_())
