"""What NIR, the Neuromorphic Intermediate Representation, can say of a converted network. The rest is refused by name.

Pedersen et al., "Neuromorphic intermediate representation: A unified instruction set for interoperable brain-inspired
computing", Nature Communications 2024. Its spiking neurons send one positive spike of value 1 per step, start at zero
and have a fixed threshold; its pooling is linear.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch

from spiking_yolo.convert.converted import Converted
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Activation, Node
from spiking_yolo.snn.neurons import IntegrateAndFire, NeuronLayer

_MISSING = {
    "max_pool": "no max pooling of spikes; train the network with average pooling (tools/train.py --pool avg)",
    "upsample": "no upsampling",
    "concat": "no concatenation",
    "slice": "no slices",
    "pad": "no padding apart from a convolution's; give the convolution behind it the padding",
}
_ELSE = "--format safetensors and json take every network"


def check(converted: Converted, shapes: Mapping[str, torch.Size]) -> None:
    """Raise UserError naming the first node that NIR cannot express, and the way out.

    shapes: of every node's output, [N, C, ...].
    """
    layers = dict(converted.network().layers())
    for node in converted.graph.nodes:
        if node.op in _MISSING:
            reason: str | None = f"NIR has {_MISSING[node.op]}"
        elif node.op == "activation":
            reason = _neuron(layers[node.name], converted)
        elif node.op == "avg_pool":
            reason = _avg_pool(node, shapes)
        elif node.op == "conv":
            kernel = converted.graph.tensors[f"{node.name}.weight"].shape[2:]
            reason = None if kernel[0] == kernel[1] else "the package nir takes square kernels only"
        else:
            reason = None
        if reason:
            raise UserError(f"node {node.name!r} ({node.op}) cannot be exported: {reason}; {_ELSE}")


def _neuron(layer: NeuronLayer, converted: Converted) -> str | None:
    recipe = converted.recipe
    if type(layer) is not IntegrateAndFire:
        relu = replace(layer.phi, cap=None) == Activation()
        advice = "use --method p-norm" if relu else "fine-tune the network with ReLU"
        if layer.phi.slope == 1:
            advice = "it stands for a layer without activation: train the network with a ReLU there"
        return f"NIR has no signed, paired or adaptive neurons such as {type(layer).__name__}; {advice}"
    if recipe.neuron.gamma > 1:
        return f"an IF neuron of NIR sends one spike per step, not {recipe.neuron.gamma}; use --set neuron.gamma=1"
    if recipe.neuron.events != "spikes":
        return f"NIR sends spikes, not {recipe.neuron.events}; use --set neuron.events=spikes"
    if layer.initial.any():
        return (
            "an IF neuron of NIR starts at zero; use --set neuron.initial=0, with neuron.shift=T for the same "
            "potential at step T"
        )
    if layer.phi.cap is not None:
        return f"its threshold is above the cap {layer.phi.cap} of its activation; lower threshold.scale"
    return None


def _avg_pool(node: Node, shapes: Mapping[str, torch.Size]) -> str | None:
    a = node.attrs
    if any(a["padding"]) and not a["count_include_pad"]:
        return "NIR's average counts the padding; train with count_include_pad=True"
    given, made = shapes[node.inputs[0]][2:], shapes[node.name][2:]
    floor = [(n + 2 * p - k) // s + 1 for n, p, k, s in zip(given, a["padding"], a["kernel"], a["stride"], strict=True)]
    return None if floor == list(made) else "NIR has no pooling windows beyond the border; train with ceil_mode=False"
