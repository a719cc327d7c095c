"""What NIR, the Neuromorphic Intermediate Representation, can say of a converted network. The rest
is refused by name.

Pedersen et al., "Neuromorphic intermediate representation: A unified instruction set for
interoperable brain-inspired computing", Nature Communications 2024. Its spiking neurons send one
positive spike of value 1 per step, start at zero and have a fixed threshold; its pooling is linear,
and nothing in it makes a map larger.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from spiking_yolo.apps.export import folding
from spiking_yolo.apps.export.sums import slices_channels, with_sums
from spiking_yolo.convert.converted import Converted
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Node, shapes
from spiking_yolo.io.tables import columns
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.neurons import NeuronLayer

_MISSING = {
    "max_pool": (
        "no max pooling of spikes; train the network with average pooling (train --pool avg) or"
        " with strides of 2 in its convolutions"
    ),
    "upsample": "no upsampling; train the network with heads that need none",
    "pad": "no padding apart from a convolution's; give the convolution behind it the padding",
}
_NO_CARRIER = (
    "its current has a constant part (neuron.shift or a calibrated bias), and no convolution or"
    " linear layer feeds it alone, to take that as its bias; use --method p-norm"
)


@dataclass(frozen=True)
class Missing:
    """A node that NIR cannot express; reason: what NIR lacks, and the way out."""

    node: Node
    reason: str


def needed(converted: Converted) -> tuple[Converted, dict[str, torch.Size]]:
    """The network without nodes that no output needs, and the shape of every node's output, [1, C,
    ...].
    """
    graph = converted.graph.up_to(*converted.graph.outputs)
    return replace(converted, graph=graph), shapes(
        graph, converted.spec.height, converted.spec.width
    )


def missing(converted: Converted, sizes: Mapping[str, torch.Size]) -> list[Missing]:
    """Every node that NIR cannot express, in the network's order. sizes: of every node's output,
    [1, C, ...].
    """
    # unobserved, a pair with a constant current is one neuron.
    layers = dict(converted.network(observed=True).layers())
    found: list[Missing] = []
    for node in converted.graph.nodes:
        reason: str | None = None
        if node.op in _MISSING:
            reason = f"NIR has {_MISSING[node.op]}"
        elif node.op == "activation":
            reason = _neuron(layers[node.name], converted.recipe)
        elif node.op == "slice" and not slices_channels(node, sizes):
            reason = "NIR has no slices of rows and columns"
        elif node.op == "avg_pool":
            reason = _avg_pool(node, sizes)
        elif node.op == "conv":
            kernel = converted.graph.tensors[f"{node.name}.weight"].shape[2:]
            reason = None if kernel[0] == kernel[1] else "the package nir takes square kernels only"
        if reason:
            found.append(Missing(node, reason))
    return found or _without_carrier(converted, sizes)


def _without_carrier(converted: Converted, sizes: Mapping[str, torch.Size]) -> list[Missing]:
    """Looked for last, in what is left of a network that NIR can express otherwise."""
    summed = with_sums(converted.graph, converted.neurons, sizes)
    lost = folding.uncarried(summed.graph, summed.neurons, converted.recipe)
    names = dict.fromkeys(summed.pairs.get(name, (name,))[0] for name in lost)
    return [Missing(converted.graph[name], _NO_CARRIER) for name in names]


def _neuron(layer: NeuronLayer, recipe: Recipe) -> str | None:
    """A pair is two IF neurons, each of which NIR knows."""
    if len(layer.sides) > 1:
        on, off = layer.sides
        return _neuron(on, recipe) or _neuron(off, recipe)
    if not recipe.neuron_kind.plain or recipe.msat.enabled or layer.slope:
        advice = "fine-tune the network with ReLU" if layer.phi.silu else "use --method p-norm"
        return f"NIR has no signed or adaptive neurons such as {type(layer).__name__}; {advice}"
    if recipe.neuron.gamma > 1:
        return (
            f"an IF neuron of NIR sends one spike per step, not {recipe.neuron.gamma}; use --set"
            " neuron.gamma=1"
        )
    if recipe.neuron.events != "spikes":
        return f"NIR sends spikes, not {recipe.neuron.events}; use --set neuron.events=spikes"
    if layer.initial.any():
        return (
            "an IF neuron of NIR starts at zero; use --set neuron.initial=0, with neuron.shift=T"
            " for the same potential at step T"
        )
    if layer.phi.cap is not None:
        return (
            f"its threshold is above the cap {layer.phi.cap} of its activation; lower"
            " threshold.scale"
        )
    return None


def _avg_pool(node: Node, sizes: Mapping[str, torch.Size]) -> str | None:
    a = node.attrs
    if any(a["padding"]) and not a["count_include_pad"]:
        return "NIR's average counts the padding; train with count_include_pad=True"
    given, made = sizes[node.inputs[0]][2:], sizes[node.name][2:]
    floor = [
        (n + 2 * p - k) // s + 1
        for n, p, k, s in zip(given, a["padding"], a["kernel"], a["stride"], strict=True)
    ]
    return (
        None
        if floor == list(made)
        else "NIR has no pooling windows beyond the border; train with ceil_mode=False"
    )


_ELSE = "--format safetensors and json take every network"


def refusal(found: Sequence[Missing], nodes: int) -> UserError:
    """How many of the network's `nodes` are missing, and the first of each kind with the way out,
    in one line.
    """
    alike = _alike(found)
    kinds = "; ".join(_kind(lost) for lost in alike)
    listed = "--explain lists them all, " if len(found) > len(alike) else ""
    return UserError(f"{_of(found, nodes)} cannot be exported: {kinds}; {listed}{_ELSE}")


def listing(found: Sequence[Missing], nodes: int, sizes: Mapping[str, torch.Size]) -> str:
    """A line per missing node with its operation and the shape of its output, under the reason that
    they share.
    """
    if not found:
        return f"NIR can express all {nodes} nodes: without --explain the file is written"
    lines = [f"{_of(found, nodes)} cannot be exported; {_ELSE}"]
    for lost in _alike(found):
        shapes = (" x ".join(map(str, sizes[one.node.name][1:])) for one in lost)
        rows = [
            (one.node.name, one.node.op, shape) for one, shape in zip(lost, shapes, strict=True)
        ]
        lines += ["", lost[0].reason, *(f"  {line}" for line in columns(rows).splitlines())]
    return "\n".join(lines)


def _of(found: Sequence[Missing], nodes: int) -> str:
    return f"{len(found)} of {nodes} nodes"


def _alike(found: Sequence[Missing]) -> list[list[Missing]]:
    """By kind: the same operation for the same reason."""
    alike: dict[tuple[str, str], list[Missing]] = {}
    for lost in found:
        alike.setdefault((lost.node.op, lost.reason), []).append(lost)
    return list(alike.values())


def _kind(lost: Sequence[Missing]) -> str:
    node = lost[0].node
    more = f", the first of {len(lost)}" if len(lost) > 1 else ""
    return f"node {node.name!r} ({node.op}{more}): {lost[0].reason}"
