"""What lies between layers and neurons: whole numbers are moved, compared, added or multiplied."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.graph import OPS, Node, reached_padding
from spiking_yolo.integer.convolution import ZERO

MOVES = ("concat", "upsample", "slice", "flatten")


def whole(x: Tensor) -> Tensor:
    """Whole numbers, float32, of bytes n + 128; others as they are."""
    return x.float().sub_(ZERO) if x.dtype == torch.uint8 else x


def move(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    """The output of a node without weights and neurons.

    Args:
        node: The node.
        inputs: Whole numbers, or bytes n + 128, which stay bytes where all of them are moved.
    """
    a = node.attrs
    bytewise = all(x.dtype == torch.uint8 for x in inputs)
    if node.op == "max_pool" and bytewise:
        return pool(inputs[0], torch.maximum, a["kernel"], a["stride"], a["padding"], a["ceil"])
    if not bytewise or node.op not in MOVES:
        inputs = list(map(whole, inputs))
    if node.op == "global_avg_pool":
        return inputs[0].sum((2, 3), keepdim=True)
    if node.op == "avg_pool":
        height, width = a["padding"]
        sides = width, width, height, height
        return pool(inputs[0], torch.add, a["kernel"], a["stride"], sides, a["ceil"], beside=True)
    return OPS[node.op](a, None, None, *inputs)


def pool(
    x: Tensor,
    join: Callable[[Tensor, Tensor], Tensor],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil: bool,
    beside: bool = False,
) -> Tensor:
    """Maxima of bytes, which PyTorch does not pool, or sums of numbers, which ONNX does not: one
    axis after the other.

    Args:
        x: [N, C, H, W].
        join: Of two values.
        kernel, stride, padding, ceil: See graph.max_pool.
        beside: Whether no window begins in the padding on the right and below.
    """
    sides = reached_padding(x.shape[2], x.shape[3], kernel, stride, padding, ceil)
    if ceil:
        # What the last windows reach beyond the map, unless they lie outside of it.
        for axis, side in ((2, 3), (3, 1)):
            k = axis - 2
            beyond = (kernel[k] - x.shape[axis] - sides[side - 1] - sides[side]) % stride[k]
            sides[side] += beyond * (beyond + beside * sides[side] < kernel[k])
    if any(sides):
        x = F.pad(x, sides)
    for axis in (2, 3):
        size, step = kernel[axis - 2], stride[axis - 2]
        outputs = (x.shape[axis] - size) // step + 1
        # The windows' first positions, their second ones, and so on.
        taps = [
            x[(slice(None),) * axis + (slice(k, k + (outputs - 1) * step + 1, step),)]
            for k in range(size)
        ]
        x = taps[0]
        for tap in taps[1:]:
            x = join(x, tap)
    return x


def pools_in_pairs(node: Node, shape: Sequence[int]) -> bool:
    """Whether a max pooling takes maxima of 2 x 2 that cover a map [1, C, H, W]."""
    _, _, h, w = shape
    a = node.attrs
    side_by_side = [*a["kernel"], *a["stride"]] == [2, 2, 2, 2] and h % 2 == w % 2 == 0
    return side_by_side and not any(reached_padding(h, w, **a))
