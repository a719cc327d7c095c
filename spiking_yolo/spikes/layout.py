"""The layout of a layer's tensors in memory, and the value of a number in them.

In memory a tensor [N, C, H, W] is [N * H * W, C]: one row per position. Neurons compute element by
element, so the rows of a layer can be processed in any portions.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from spiking_yolo.graph import Graph


def channels_last(x: Tensor) -> Tensor:
    """A tensor with its channels last in memory; only maps, [N, C, H, W], are touched."""
    if x.ndim != 4:
        return x
    return x.contiguous(memory_format=torch.channels_last)


def empty(shape: torch.Size, like: Tensor, dtype: torch.dtype) -> Tensor:
    """Uninitialised [N, C, ...] with the channels last in memory, on the device of `like`."""
    last = (shape[0], *shape[2:], shape[1])
    return torch.empty(last, dtype=dtype, device=like.device).movedim(-1, 1)


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


# Values travel in thetas: the constant threshold of a spike is folded into the weights that
# receive it. This is weight normalisation on the input side only. Every node gets a unit, the value
# per channel of one spike in what it sends; None means plain values. Units pass through pooling,
# upsampling, concatenation and slicing unchanged.
SpikeUnit = Tensor | None
Tensors = Mapping[str, Tensor]
# Node -> parameters of its neurons, [C] each.
NeuronParameters = Mapping[str, Tensors]


def propagate(graph: Graph, site_units: Mapping[str, Tensor]) -> dict[str, SpikeUnit]:
    """The unit of every node. site_units: [C] per activation node."""
    units: dict[str, SpikeUnit] = {}
    users = graph.consumers()
    for node in graph.nodes:
        given = [units[name] for name in node.inputs]
        if node.op == "activation":
            units[node.name] = site_units[node.name]
        elif node.op == "input" or node.multiplies:
            units[node.name] = None
        elif node.op == "concat":
            known = [unit for unit in given if unit is not None]
            units[node.name] = torch.cat(known) if len(known) == len(given) else None
        elif node.op == "add":
            units[node.name] = given[0] if same(given[0], given[1]) else None
        elif node.op == "flatten" and (
            node.name in graph.outputs or any(user.op != "linear" for user in users[node.name])
        ):
            # One unit per channel no longer fits the features; a linear layer unfolds it.
            units[node.name] = None
        elif node.op == "slice" and given[0] is not None:
            units[node.name] = given[0][slice(*node.attrs["slices"][0])]
        else:
            units[node.name] = given[0]
    return units


def same(a: SpikeUnit, b: SpikeUnit) -> bool:
    return a is b or (a is not None and b is not None and torch.equal(a, b))


def fold(weight: Tensor, unit: SpikeUnit, groups: int = 1) -> Tensor:
    """Weights that take spikes instead of values.

    weight: [out, in / groups, kh, kw] of a convolution or [out, features] of a linear layer, where
    features may be a flattened [C, H, W] map with one unit per channel.
    """
    if unit is None:
        return weight
    unit = unit.to(weight)
    if weight.ndim == 2:
        return weight * unit.repeat_interleave(weight.shape[1] // len(unit))
    by_group = weight.unflatten(0, (groups, -1))
    return (by_group * unit.reshape(groups, 1, -1, 1, 1)).reshape(weight.shape)


def levels_and_step(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Whole numbers k, |k| <= 2^(bits-1) - 1, and steps s, for which k * s is nearest the weight.

    Args:
        weight: [out, ...].

    Returns:
        k, of the weight's shape and dtype, and s = max |weight| / (2^(bits-1) - 1), [out].
    """
    step = weight.flatten(1).abs().amax(1) / (2 ** (bits - 1) - 1)
    step = torch.where(step > 0, step, 1.0)
    return (weight / per_output(step, weight)).round_(), step


def per_output(step: Tensor, weight: Tensor) -> Tensor:
    """[out] as [out, 1, ...], to multiply a weight."""
    return step.reshape(-1, *[1] * (weight.ndim - 1))


def rounded_weights(graph: Graph, received: Mapping[str, Tensor], bits: int) -> dict[str, Tensor]:
    """The tensors of a network with kernels of a few bits, as a chip stores them; biases stay.

    A chip stores a weight times the value of what arrives through it, so that is what is rounded:
    to whole levels of a step per output channel.

    Args:
        graph: The network.
        received: Activation node -> what one unit of what it sends is worth, [C]: theta of its
            spikes, or the step of its integers.
        bits: Bits of a weight.
    """
    units = propagate(graph, received)
    tensors = dict(graph.tensors)
    for node in graph.weighted:
        name = f"{node.name}.weight"
        unit = units[node.inputs[0]]
        groups = node.attrs.get("groups", 1)
        levels, step = levels_and_step(fold(tensors[name], unit, groups), bits)
        rounded = levels * per_output(step, levels)
        if unit is not None:
            rounded = fold(rounded, 1 / unit, groups)
        tensors[name] = rounded
    return tensors
