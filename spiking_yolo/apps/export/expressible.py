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

from spiking_yolo.apps.export.rewrite import slices_channels, uncarried, with_sums
from spiking_yolo.convert.converted import Converted
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Node, shapes
from spiking_yolo.io.tables import columns
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.neurons import NeuronLayer

_NOT_IN_NIR = {
    "max_pool": (
        "no max pooling of spikes; train the network with average pooling (train --pool avg) or"
        " with strides of 2 in its convolutions"
    ),
    "upsample": "no upsampling; train the network with heads that need none",
    "attention_scores": "no products of maps; export a network without attention",
    "attend": "no products of maps; export a network without attention",
    "pad": "no padding apart from a convolution's; give the convolution behind it the padding",
}
_NO_CARRIER = (
    "its current has a constant part (neuron.shift or a calibrated bias), and no convolution or"
    " linear layer feeds it alone, to take that as its bias; use --method p-norm"
)
_ALTERNATIVE = "--format safetensors and json take every network"


@dataclass(frozen=True)
class Missing:
    """A node that NIR cannot express, and why, with a remedy."""

    node: Node
    reason: str


def needed(converted: Converted) -> tuple[Converted, dict[str, torch.Size]]:
    """The spiking network without nodes that no output needs, and the shape of each node's output,
    [1, C, ...].
    """
    graph = converted.spiking_graph.up_to(*converted.graph.outputs)
    sizes = shapes(graph, converted.spec.height, converted.spec.width)
    return replace(converted, graph=graph, weights={}), sizes


def missing(converted: Converted, sizes: Mapping[str, torch.Size]) -> list[Missing]:
    """Every node that NIR cannot express, in the network's order.

    Args:
        converted: The network; see `needed`.
        sizes: Shape of every node's output, [1, C, ...].
    """
    # Unless it is observed, a pair with a constant current is one neuron.
    layers = dict(converted.network(observed=True).layers())
    lost: list[Missing] = []
    for node in converted.graph.nodes:
        reason: str | None = None
        if node.op in _NOT_IN_NIR:
            reason = f"NIR has {_NOT_IN_NIR[node.op]}"
        elif node.op == "activation":
            reason = _neuron(layers[node.name], converted.recipe)
        elif node.op == "slice" and not slices_channels(node, sizes):
            reason = "NIR has no slices of rows and columns"
        elif node.op == "avg_pool":
            reason = _avg_pool(node, sizes)
        elif node.op == "conv":
            height, width = converted.graph.tensors[f"{node.name}.weight"].shape[2:]
            if height != width:
                reason = "the package nir takes square kernels only"
        if reason:
            lost.append(Missing(node, reason))
    if lost:
        return lost
    # A network that NIR can express but for constant currents.
    summed = with_sums(converted.graph, converted.neurons, sizes)
    for name in uncarried(summed.graph, summed.neurons, converted.recipe):
        original, _ = summed.pairs.get(name, (name, ""))
        entry = Missing(converted.graph[original], _NO_CARRIER)
        if entry not in lost:
            lost.append(entry)
    return lost


def _neuron(layer: NeuronLayer, recipe: Recipe) -> str | None:
    """Why NIR cannot express a layer of neurons. It knows a pair as two IF neurons."""
    if len(layer.sides) > 1:
        on, off = layer.sides
        return _neuron(on, recipe) or _neuron(off, recipe)
    if not recipe.neuron_kind.plain or recipe.msat.enabled or layer.slope:
        advice = "fine-tune the network with ReLU" if layer.phi.gate else "use --method p-norm"
        return f"NIR has no signed or adaptive neurons such as {type(layer).__name__}; {advice}"
    if recipe.preparation.timesteps:
        return "NIR has no neurons that start again; use --set preparation.kind=none"
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
    """Why NIR cannot express an average pooling."""
    attrs = node.attrs
    if any(attrs["padding"]) and not attrs["count_include_pad"]:
        return "NIR's average counts the padding; train with count_include_pad=True"
    for axis in (0, 1):
        padded = sizes[node.inputs[0]][2 + axis] + 2 * attrs["padding"][axis]
        windows = (padded - attrs["kernel"][axis]) // attrs["stride"][axis] + 1
        if windows != sizes[node.name][2 + axis]:
            return "NIR has no pooling windows beyond the border; train with ceil_mode=False"
    return None


def refusal(lost: Sequence[Missing], nodes: int) -> UserError:
    """How many of the network's `nodes` are missing, and the first of each kind with a remedy, in
    one line.
    """
    groups = _by_reason(lost)
    kinds = []
    for group in groups:
        node = group[0].node
        more = f", the first of {len(group)}" if len(group) > 1 else ""
        kinds.append(f"node {node.name!r} ({node.op}{more}): {group[0].reason}")
    hint = "--explain lists them all, " if len(lost) > len(groups) else ""
    return UserError(
        f"{len(lost)} of {nodes} nodes cannot be exported: {'; '.join(kinds)}; {hint}{_ALTERNATIVE}"
    )


def listing(lost: Sequence[Missing], nodes: int, sizes: Mapping[str, torch.Size]) -> str:
    """A line per missing node with its operation and the shape of its output, below the reason."""
    if not lost:
        return f"NIR can express all {nodes} nodes: without --explain the file is written"
    lines = [f"{len(lost)} of {nodes} nodes cannot be exported; {_ALTERNATIVE}"]
    for group in _by_reason(lost):
        rows = []
        for entry in group:
            shape = " x ".join(map(str, sizes[entry.node.name][1:]))
            rows.append((entry.node.name, entry.node.op, shape))
        lines += ["", group[0].reason]
        lines += [f"  {line}" for line in columns(rows).splitlines()]
    return "\n".join(lines)


def _by_reason(lost: Sequence[Missing]) -> list[list[Missing]]:
    """Groups of the same operation and reason."""
    groups: dict[tuple[str, str], list[Missing]] = {}
    for entry in lost:
        groups.setdefault((entry.node.op, entry.reason), []).append(entry)
    return list(groups.values())
