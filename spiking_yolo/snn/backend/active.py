"""What arrives at a few positions of a map.

A map is [N * H * W, C], one row per position (see layout.py). What is sent in a step is often zero but for some rows.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.snn.backend.layout import empty, rows


@dataclass(frozen=True)
class Active:
    """Some rows of a map. values: [n, C]. where: [n], which rows, in order. shape: of the map, [N, C, H, W].

    whole: the map, where it is at hand; without it, it is zero elsewhere.
    """

    values: Tensor
    where: Tensor
    shape: torch.Size
    whole: Tensor | None = None

    def images(self) -> Tensor:
        """1 for each image of which there is a row, else 0: [N]."""
        image = self.where.div(self.shape[2:].numel(), rounding_mode="floor")
        return torch.zeros(self.shape[0], dtype=torch.int64, device=self.where.device).index_fill_(0, image, 1)

    def counted(self) -> Tensor:
        """How many values of each position are not zero, [N, 1, H, W]."""
        counts = self.values.count_nonzero(1)[:, None]
        return Active(counts, self.where, torch.Size((self.shape[0], 1, *self.shape[2:]))).dense()

    def nonzero(self) -> "Active":
        """Without the rows that are zero."""
        kept = self.values.abs().sum(1).nonzero().view(-1)  # any() takes three times as long
        return Active(self.values.index_select(0, kept), self.where.index_select(0, kept), self.shape)

    def dense(self) -> Tensor:
        """The map, [N, C, H, W]."""
        if self.whole is not None:
            return self.whole
        result = empty(self.shape, self.values, self.values.dtype).zero_()
        rows(result).index_copy_(0, self.where, self.values)
        return result


def dense(value: Tensor | Active) -> Tensor:
    return value.dense() if isinstance(value, Active) else value


def put(tree: Any, where: Tensor, part: Any) -> None:
    """Write the rows of `part` back into the dataclass of tensors [n, C] that they were taken from."""
    for name, value in vars(tree).items():
        if value is not None:
            value.index_copy_(0, where, getattr(part, name))
