"""How a layer's tensors lie in memory: channels last, as rows of channels.

In memory a tensor [N, C, H, W] is [N * H * W, C]: one row per position. Neurons compute element by
element, so the rows of a layer can be processed in any portions.
"""

import torch
from torch import Tensor


def channels_last(x: Tensor) -> Tensor:
    """The same tensor with its channels last in memory; only maps, [N, C, H, W], are touched."""
    if x.ndim != 4:
        return x
    return x.contiguous(memory_format=torch.channels_last)


def empty(shape: torch.Size, like: Tensor, dtype: torch.dtype) -> Tensor:
    """Uninitialised [N, C, ...] with the channels last in memory, on the device of `like`."""
    last = (shape[0], *shape[2:], shape[1])
    return torch.empty(last, dtype=dtype, device=like.device).movedim(-1, 1)


def rows(x: Tensor) -> Tensor:
    """[N, C, H, W] as [N * H * W, C], and [N, C] as it is: a view where channels come last in
    memory, else a copy.
    """
    x = x.movedim(1, -1).contiguous()
    if x.ndim == 2:
        return x
    return x.flatten(0, -2)


def any_in_images(x: Tensor) -> Tensor:
    """Whether there is anything but zeros in each image, [N], without a copy in another order."""
    return x.movedim(1, -1).flatten(1).any(1)


def per_channel(values: Tensor, like: Tensor) -> Tensor:
    """[C], [C, 1, 1] or [C, H, W] values in a shape that broadcasts against a tensor of `like`'s
    shape [N, C, ...].
    """
    values = values.to(like)
    return values.reshape(values.shape + (1,) * (like.ndim - 1 - values.ndim))


def collapse_equal(values: Tensor) -> Tensor:
    """[C] values as [1] where all are the same; others, and those of another shape, as they are."""
    if values.ndim == 1 and bool((values == values[0]).all()):
        return values[:1]
    return values
