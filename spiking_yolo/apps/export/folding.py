"""Weight normalisation: thresholds and constant currents go into weights and biases, so that spikes
are ones.

Rueckauer et al. 2017, section 2.2.2: W theta_in / theta_out and b / theta_out, with threshold 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from spiking_yolo.convert.thresholds import NeuronParameters
from spiking_yolo.graph import Graph, Node
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.units import Unit, fold, same


def with_offsets(graph: Graph, neurons: NeuronParameters, recipe: Recipe) -> Graph:
    """The graph with what neurons add to their current in every step in the bias of the layer
    before them.

    That is a calibrated bias, and theta / (2 shift). neurons: as in Converted. No node may be
    `uncarried`.
    """
    tensors = dict(graph.tensors)
    for offset, carrier in _carried(graph, neurons, recipe).values():
        assert carrier is not None
        tensors[f"{carrier}.bias"] = tensors[f"{carrier}.bias"] + offset.to(
            tensors[f"{carrier}.bias"]
        )
    return replace(graph, tensors=tensors)


def uncarried(graph: Graph, neurons: NeuronParameters, recipe: Recipe) -> list[str]:
    """The nodes that add something to their current, and no layer before them feeds them alone, to
    take it.
    """
    return [
        name for name, (_, carrier) in _carried(graph, neurons, recipe).items() if carrier is None
    ]


def _carried(
    graph: Graph, neurons: NeuronParameters, recipe: Recipe
) -> dict[str, tuple[Tensor, str | None]]:
    """Node -> what it adds, and the layer that takes it."""
    carried: dict[str, tuple[Tensor, str | None]] = {}
    for node in graph.nodes:
        offset = _offset(node, neurons.get(node.name, {}), recipe)
        if offset is not None:
            before = node.inputs if node.op == "activation" else (node.name,)
            carried[node.name] = offset, _carrier(graph, before)
    return carried


def _offset(node: Node, own: Mapping[str, Tensor], recipe: Recipe) -> Tensor | None:
    """What is added to the current of a node with these parameters in every step, [C], or None."""
    bias = own.get("bias")
    if node.op != "activation" or not recipe.neuron.shift:
        return bias
    shift = own["theta"] / (2 * recipe.neuron.shift)
    return shift if bias is None else shift + bias


def _carrier(graph: Graph, names: Sequence[str]) -> str | None:
    """The first convolution or linear layer of `names`, or of the operands of sums, that delivers
    to one place only.
    """
    users = graph.consumers()
    for name in names:
        node = graph[name]
        if len(users[name]) + graph.outputs.count(name) == 1:
            if node.weighted:
                return name
            if node.op == "add" and (found := _carrier(graph, node.inputs)):
                return found
    return None


def asked_units(graph: Graph, thetas: Mapping[str, Tensor]) -> dict[str, Unit]:
    """In which unit, [C], every node is to deliver: the theta of the neurons that it feeds, if
    these alone; else None.

    Sums and average pooling pass the question on. thetas: [C] per activation node.
    """
    users = graph.consumers()
    asked: dict[str, Unit] = {}
    for node in reversed(graph.nodes):
        answers: list[Unit] = [None] if node.name in graph.outputs else []
        for user in users[node.name]:
            passes = user.op in ("add", "avg_pool", "global_avg_pool")
            answers.append(
                thetas[user.name]
                if user.op == "activation"
                else asked[user.name]
                if passes
                else None
            )
        asked[node.name] = (
            answers[0] if answers and all(same(answers[0], a) for a in answers) else None
        )
    return asked


def normalised(graph: Graph, node: Node, unit_in: Unit, unit_out: Unit) -> tuple[Tensor, Tensor]:
    """Weight and bias that take values in unit_in and deliver in unit_out; of a convolution always
    with groups = 1.

    One group, because the package nir cannot read a grouped convolution back.
    """
    weight, bias = graph.parameters(node)
    assert weight is not None and bias is not None
    groups = node.attrs.get("groups", 1)
    weight = dense(fold(weight, unit_in, groups), groups)
    if unit_out is not None:
        unit_out = unit_out.to(weight)
        weight = weight / unit_out.reshape(-1, *[1] * (weight.ndim - 1))
        bias = bias / unit_out
    return weight, bias


def dense(weight: Tensor, groups: int) -> Tensor:
    """The weight [out, in, kh, kw] of one group that does what [out, in / groups, kh, kw] does in
    several.
    """
    if groups == 1:
        return weight
    whole = weight.new_zeros(len(weight), groups * weight.shape[1], *weight.shape[2:])
    for k, block in enumerate(weight.chunk(groups)):
        whole.chunk(groups)[k].chunk(groups, 1)[k].copy_(block)
    return whole


def ratio(unit_in: Unit, unit_out: Unit, channels: int, like: Tensor) -> Tensor:
    """The factor per channel from one unit to another, [channels]."""
    one = torch.ones(channels, dtype=like.dtype, device=like.device)
    return (one if unit_in is None else unit_in.to(like)) / (
        one if unit_out is None else unit_out.to(like)
    )
