"""What a video leaves behind: sums that later frames change only where events arrive."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.integer.convolution import EXACT, WholeConvolution, has_exact_int8
from spiking_yolo.snn.fast import PRICE, EventConvolution, Kernels, library
from spiking_yolo.snn.layout import SparseRows, channels_last, rows

# A dense convolution of bytes takes so much less than one of floats.
BYTES = 3.5
# Share of the positions of a map from which all are computed.
MANY = 0.5


class Memory:
    """The sums of a video's last frame, by convolution, and what arrived there.

    Attributes:
        owner: What was sent in that frame, which alone these sums belong to.
        changed: Node -> positions whose values the current frame has changed, int64; without an
            entry, any.
    """

    def __init__(self, convolutions: Mapping[str, WholeConvolution]):
        self.owner: Mapping[str, Tensor] | None = None
        self.changed: dict[str, Tensor] = {}
        self._sums: dict[str, Tensor] = {}
        self._received: dict[str, Tensor] = {}
        self._by_events: dict[str, EventConvolution] = {}
        self._reach: dict[str, float] = {}
        if library() is None:
            return
        kernels = Kernels()
        price = PRICE * BYTES if has_exact_int8() else PRICE
        for name, convolution in convolutions.items():
            levels = convolution.levels
            served = levels.ndim == 4 and EventConvolution.serves(levels, convolution.attrs)
            if served and not convolution.wide:
                self._by_events[name] = convolution.by_events(kernels, price)
                self._reach[name] = convolution.reach

    def sums(
        self, name: str, convolution: WholeConvolution, source: str, x: Tensor, zero: int
    ) -> Tensor:
        """The sums of a convolution in the current frame.

        Args:
            name: Of the convolution.
            convolution: It.
            source: The node that it reads.
            x: Bytes n + zero, [N, C, H, W].
            zero: The byte of no events.
        """
        before, old = self._sums.pop(name, None), self._received.get(name)
        self._received[name] = x
        sums = None
        if before is not None and old is not None and x.dtype == torch.uint8:
            sums = self._changed_sums(name, before, source, x, old)
        if sums is None:
            # Later frames change rows of it.
            sums = channels_last(convolution(x, zero))
        self._sums[name] = sums
        return sums

    def _changed_sums(
        self, name: str, before: Tensor, source: str, x: Tensor, old: Tensor
    ) -> Tensor | None:
        """The sums where few positions have changed: None where many have."""
        by_events = self._by_events.get(name)
        if by_events is None:
            return None
        where = self.changed.get(source)
        new, last = rows(x), rows(old)
        if where is None:
            where = changed_rows(new, last)
        if not len(where):
            self.changed[name] = where
            return before
        if len(where) > MANY * len(new):
            return None
        change = new[where].float().sub_(last[where].float())
        if change.abs().amax().item() * self._reach[name] >= EXACT:
            return None
        reached = by_events(SparseRows(change, where, x.shape))
        if reached is None:
            return None
        self.changed[name] = reached.where.clone()
        rows(before).index_add_(0, reached.where, reached.values)
        return before


def changed_rows(new: Tensor, old: Tensor) -> Tensor:
    """Which rows of bytes [n, C] differ, int64."""
    if new.shape[1] % 8 == 0 and new.is_contiguous() and old.is_contiguous():
        # Eight at a time.
        new, old = new.view(torch.int64), old.view(torch.int64)
    return (new != old).any(1).nonzero().flatten()


def changed_at(new: Tensor, old: Tensor, where: Tensor) -> Tensor:
    """Which of some positions of bytes [N, C, H, W] differ, bool."""
    return (rows(new)[where] != rows(old)[where]).any(1)


def reached_windows(where: Tensor, width: int) -> Tensor:
    """The windows of 2 x 2 in which positions of a map of this width lie."""
    row, column = where.div(width, rounding_mode="floor"), where % width
    window = row.div(2, rounding_mode="floor") * (width // 2)
    return window.add_(column.div(2, rounding_mode="floor")).unique()


def united(places: list[Tensor | None]) -> Any:
    """Positions that are in any of these; None if one of them is not known."""
    known = [where for where in places if where is not None]
    if len(known) < len(places):
        return None
    if len(known) == 1:
        return known[0]
    return torch.cat(known).unique()
