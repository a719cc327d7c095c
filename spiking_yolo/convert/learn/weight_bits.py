"""Weights of 8 bits, as a chip stores them: whole levels, and a step per output channel.

What a chip stores is a weight times the value of what arrives through it (theta of a spike, or the
step of an integer), so that is what is rounded. Tuned weights lie in calibration files as such
levels.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph
from spiking_yolo.integer.parameters import BITS
from spiking_yolo.io.names import label
from spiking_yolo.io.tensors import check_finite
from spiking_yolo.spikes.layout import fold, levels_and_step, per_output, propagate

# What a file holds of a tuned tensor: LEVELS, STEP and perhaps UNIT of a kernel, VALUE of a bias.
LEVELS, STEP, UNIT, VALUE = KEYS = ("levels", "step", "unit", "value")


def rounded_weights(
    graph: Graph, weights: Mapping[str, Tensor], received: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The weights rounded to 8 bits each; biases stay as they are.

    Args:
        graph: The network.
        weights: "NODE.weight" and "NODE.bias", of all layers or of some.
        received: Activation node -> what one unit of what it sends is worth, [C]: theta of its
            spikes, or the step of its integers. A chip stores the weights times that.
    """
    units = propagate(graph, received)
    rounded = dict(weights)
    for node in graph.weighted:
        name = f"{node.name}.weight"
        if name in weights:
            unit = units[node.inputs[0]]
            groups = node.attrs.get("groups", 1)
            levels, step = levels_and_step(fold(weights[name], unit, groups), BITS)
            rounded[name] = levels * per_output(step, levels)
            if unit is not None:
                rounded[name] = fold(rounded[name], 1 / unit, groups)
    return rounded


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
        levels, step = levels_and_step(folded, BITS)
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
    weights: dict[str, Tensor] = {}
    for name in dict.fromkeys(key.rpartition("/")[0] for key in stored):
        if f"{name}/{VALUE}" in stored:
            weights[name] = stored[f"{name}/{VALUE}"].float()
            continue
        try:
            levels, unit = stored[f"{name}/{LEVELS}"], stored.get(f"{name}/{UNIT}")
            weights[name] = levels * per_output(stored[f"{name}/{STEP}"], levels)
            if unit is not None:
                groups = len(unit) // levels.shape[1] if levels.ndim == 4 else 1
                weights[name] = fold(weights[name], 1 / unit, groups)
        except (LookupError, RuntimeError, ZeroDivisionError) as error:
            raise UserError(f"the tuned tensor {label(name)!r} is incomplete") from error
    return weights


def check_weights(graph: Graph, weights: Mapping[str, Tensor]) -> None:
    """Raise UserError, naming the tensor, unless these can take the place of the graph's own."""
    check_finite(weights, "the tuned weights")
    for name, value in weights.items():
        own = graph.tensors.get(name)
        if own is None or own.shape != value.shape or own.dtype != value.dtype:
            raise UserError(f"the tuned tensor {label(name)!r} is not of this network")
