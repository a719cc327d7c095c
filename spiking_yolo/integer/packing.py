"""Weights of convolutions in the order in which sums.h reads them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.integer.convolution import at_every_input
from spiking_yolo.integer.library import LANES, ZERO, block_sizes, has_cells_of_bytes
from spiking_yolo.integer.plan import Convolution
from spiking_yolo.integer.structures import Block

# Channels of a map in memory are whole sixteens.
SIXTEEN = 16
# Bytes beyond the end of memory that C may read.
SLACK = 64


def padded(channels: int, to: int = SIXTEEN) -> int:
    """Channels of a map in memory."""
    return -(-channels // to) * to


@dataclass(frozen=True)
class PackedWeights:
    """Weights in memory.

    Attributes:
        memory: The weights, and SLACK.
        blocks: Outputs that lie together.
        sizes: Runs of channels in each part that the layer reads; empty for events.
        merged: Whether the taps of a row are read as one run.
    """

    memory: Tensor
    blocks: Any
    sizes: tuple[int, ...]
    merged: bool = False

    @classmethod
    def of(
        cls,
        pieces: list[Tensor],
        blocks: list[Any],
        sizes: Sequence[int] = (),
        merged: bool = False,
    ) -> "PackedWeights":
        """Pieces of memory one after the other."""
        memory = torch.cat([*pieces, pieces[0].new_zeros(SLACK)])
        return cls(memory, (Block * len(blocks))(*blocks), tuple(sizes), merged)


def taps_of(step: Convolution) -> list[Tensor]:
    """The weights for each part of what a layer reads, int32 [kh, kw, in, out]."""
    assert step.parts is not None
    taps = step.whole.levels.to(torch.int32).permute(2, 3, 1, 0)
    if step.node.attrs["groups"] > 1:
        return [taps]
    return list(taps.split([part.channels for part in step.parts], 2))


def by_groups(step: Convolution) -> PackedWeights:
    """Weights w + 128 for events, uint8: [block][tap][group of four channels][out][4]."""
    assert step.parts is not None
    most = block_sizes()[0]
    outs, parts = padded(len(step.whole.levels)), list[Tensor]()
    for part, taps in zip(step.parts, taps_of(step), strict=True):
        # Whole sixteens of the map, whose channels beside the part have no weight.
        before, behind = part.first % SIXTEEN, -(part.first + part.channels) % SIXTEEN
        taps = F.pad(taps, (0, outs - taps.shape[3], before, behind))
        parts.append(taps.unflatten(2, (-1, 4)).flatten(0, 1).transpose(2, 3))
    weights = torch.cat(parts, 1) + ZERO
    pieces, blocks = list[Tensor](), list[Any]()
    first = at = 0
    while first < outs:
        lanes = most
        while lanes > outs - first:
            lanes //= 2
        pieces.append(weights[:, :, first : first + lanes].to(torch.uint8).flatten())
        blocks.append(Block(first, lanes, at, 0))
        first, at = first + lanes, at + len(pieces[-1])
    return PackedWeights.of(pieces, blocks)


def by_runs(step: Convolution, stride: int) -> PackedWeights:
    """Weights for computing anew: [block][part][tap][run of channels][out][channel of the run].

    stride: Channels in memory of the map of the first part.
    """
    assert step.parts is not None
    _, lanes, depth = block_sizes()
    attrs, part, all_taps = step.node.attrs, step.parts[0], taps_of(step)
    groups, outs = attrs["groups"], len(step.whole.levels)
    whole = part.first == 0 and stride - part.channels < SIXTEEN and part.scale[1] == 1
    merged = len(step.parts) == groups == attrs["dilation"][1] == 1 and whole
    if merged:
        all_taps = [F.pad(all_taps[0], (0, 0, 0, stride - part.channels)).flatten(1, 2)[:, None]]
    even = [F.pad(taps, (0, 0, 0, -taps.shape[2] % depth)) for taps in all_taps]
    weights = torch.cat([taps.unflatten(2, (-1, depth)).flatten(0, 2) for taps in even])
    weights = weights.to(torch.int8 if has_cells_of_bytes() else torch.int16).transpose(1, 2)
    pieces, blocks, at = list[Tensor](), list[Any](), 0
    for group in range(groups):
        last = (group + 1) * outs // groups
        for first in range(group * outs // groups, last, 2 * lanes):
            count = min(2 * lanes, last - first)
            size = 2 * lanes if count > lanes else lanes
            piece = weights[:, first : first + count]
            pieces.append(F.pad(piece, (0, 0, 0, size - count)).flatten())
            blocks.append(Block(first, count, at, group * step.whole.levels.shape[1]))
            at += len(pieces[-1])
    return PackedWeights.of(pieces, blocks, [taps.shape[2] // depth for taps in even], merged)


def by_channels(step: Convolution) -> PackedWeights:
    """Weights of a depthwise layer, [tap][channel]: each is the first of a run in 32 bits."""
    outs = padded(len(step.whole.levels))
    taps = F.pad(taps_of(step)[0][:, :, 0], (0, outs - len(step.whole.levels)))
    taps = taps & (0xFF if has_cells_of_bytes() else 0xFFFF)
    return PackedWeights.of([taps.flatten().contiguous()], [Block(0, outs, 0, 0)], [0])


def offset_of(step: Convolution, zeros: Mapping[str, Tensor]) -> Tensor:
    """What is added to the sums of cells for each output, int32.

    zeros: Map -> what stands for 0 in the cells of each channel.
    """
    assert step.parts is not None
    given = [zeros[part.source][part.first : part.first + part.channels] for part in step.parts]
    levels, groups = step.whole.levels.double(), step.node.attrs["groups"]
    sums = at_every_input(levels, torch.cat(given).double(), groups)
    return F.pad(-sums.to(torch.int32), (0, padded(len(sums)) - len(sums) + 2 * LANES))


def border_of(step: Convolution) -> tuple[Tensor, Tensor] | None:
    """Two int32 tensors: each position's row of what the border lacks, or -1, and these rows."""
    border, outs = step.whole.border, padded(len(step.whole.levels))
    if border is None or not len(border.where):
        return None
    rows = torch.full((border.size.numel(),), -1, dtype=torch.int32)
    rows[border.where] = torch.arange(len(border.where), dtype=torch.int32)
    lacks = F.pad(border.values, (0, outs - border.values.shape[1]))
    return rows, torch.cat([lacks.to(torch.int32).flatten(), rows.new_zeros(LANES)])
