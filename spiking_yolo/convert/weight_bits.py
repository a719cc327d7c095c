"""Weights of a few bits, as a chip stores them: whole levels, and a step per output channel.

What a chip stores is a weight times the value of what arrives through it (theta of a spike, or the
step of an integer), so that is what is rounded. Tuned weights lie in calibration files as such
levels of 8 bits.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from spiking_yolo.decode.selection import is_whole
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph
from spiking_yolo.io.names import label
from spiking_yolo.io.tensors import check_finite
from spiking_yolo.snn.units import fold, levels_and_step, per_output, propagate

# Bits of weights.
MIN_BITS, MAX_BITS = 2, 16
# Of the weights in a file.
STORED_BITS = 8
# What a file holds of a tuned tensor: LEVELS, STEP and perhaps UNIT of a kernel, VALUE of a bias.
LEVELS, STEP, UNIT, VALUE = KEYS = ("levels", "step", "unit", "value")


def on_grid(weight: Tensor, bits: int) -> Tensor:
    """The weight [out, ...] rounded to whole multiples of a step of its own per output channel."""
    levels, step = levels_and_step(weight, bits)
    return levels * per_output(step, weight)


def rounded_weights(
    graph: Graph, weights: Mapping[str, Tensor], bits: int, received: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The weights with so many bits each; biases stay as they are.

    Args:
        graph: The network.
        weights: "NODE.weight" and "NODE.bias", of all layers or of some.
        bits: 2 to 16.
        received: Activation node -> what one unit of what it sends is worth, [C]: theta of its
            spikes, or the step of its integers. A chip stores the weights times that.

    Raises:
        UserError: bits is out of range.
    """
    if not is_whole(bits) or not MIN_BITS <= bits <= MAX_BITS:
        raise UserError(f"weights need {MIN_BITS} to {MAX_BITS} bits, not {bits}")
    units = propagate(graph, received)
    rounded = dict(weights)
    for node in graph.weighted:
        name = f"{node.name}.weight"
        if name in weights:
            unit = units[node.inputs[0]]
            groups = node.attrs.get("groups", 1)
            rounded[name] = on_grid(fold(weights[name], unit, groups), bits)
            if unit is not None:
                rounded[name] = fold(rounded[name], 1 / unit, groups)
    return rounded


def with_weight_bits(graph: Graph, bits: int, received: Mapping[str, Tensor]) -> Graph:
    """The graph whose weights have so many bits; see `rounded_weights`."""
    return replace(graph, tensors=rounded_weights(graph, graph.tensors, bits, received))


def stored_weights(
    graph: Graph, weights: Mapping[str, Tensor], received: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Tuned weights as a file holds them: kernels as levels of 8 bits, biases as they are.

    Args:
        graph, weights, received: See `rounded_weights`.

    Returns:
        "NODE.weight/levels", int8, "NODE.weight/step", [out], and, where what arrives is not in
        plain values, "NODE.weight/unit", [in]; "NODE.bias/value", [out].
    """
    units = propagate(graph, received)
    kernels = {f"{node.name}.weight": node for node in graph.weighted}
    stored: dict[str, Tensor] = {}
    for name, value in weights.items():
        if name not in kernels:
            stored[f"{name}/{VALUE}"] = value.float()
            continue
        node = kernels[name]
        unit = units[node.inputs[0]]
        folded = fold(value.float(), unit, node.attrs.get("groups", 1))
        levels, step = levels_and_step(folded, STORED_BITS)
        stored[f"{name}/{LEVELS}"] = levels.to(torch.int8)
        stored[f"{name}/{STEP}"] = step
        if unit is not None:
            stored[f"{name}/{UNIT}"] = unit.float()
    return stored


def restored_weights(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights, float32, of what `stored_weights` returned: levels * step / unit.

    Raises:
        UserError: They are damaged.
    """
    check_finite(stored, "the tuned weights")
    entries: dict[str, dict[str, Tensor]] = {}
    for key, value in stored.items():
        name, _, part = key.rpartition("/")
        entries.setdefault(name, {})[part] = value
    weights: dict[str, Tensor] = {}
    for name, parts in entries.items():
        weight = parts.get(VALUE)
        if weight is None or len(parts) > 1:
            weight = _kernel(parts)
        if weight is None or weight.dtype != torch.float32:
            raise UserError(f"the tuned tensor {label(name)!r} is incomplete, or of other shapes")
        weights[name] = weight
    return weights


def _kernel(parts: Mapping[str, Tensor]) -> Tensor | None:
    """levels * step / unit; None where these do not belong together."""
    if not {LEVELS, STEP} <= parts.keys() <= {LEVELS, STEP, UNIT}:
        return None
    levels, step, unit = parts[LEVELS], parts[STEP], parts.get(UNIT)
    if levels.dtype != torch.int8 or levels.ndim not in (2, 4) or not levels.numel():
        return None
    if step.shape != levels.shape[:1] or not (step > 0).all():
        return None
    weight = levels * per_output(step, levels)
    if unit is None:
        return weight
    if unit.ndim != 1 or not unit.numel() or not (unit > 0).all():
        return None
    inputs = levels.shape[1]
    if levels.ndim == 2:
        # It may read flattened maps, of one unit per channel.
        if inputs % len(unit):
            return None
        return fold(weight, 1 / unit)
    groups, surplus = divmod(len(unit), inputs)
    if surplus or not groups or len(levels) % groups:
        return None
    return fold(weight, 1 / unit, groups)


def check_weights(graph: Graph, weights: Mapping[str, Tensor]) -> None:
    """Raise UserError, naming the tensor, unless these can take the place of the graph's own."""
    check_finite(weights, "the tuned weights")
    for name, value in weights.items():
        own = graph.tensors.get(name)
        if own is None or own.shape != value.shape or own.dtype != value.dtype:
            raise UserError(f"the tuned tensor {label(name)!r} is not of this network")
