"""Parameters of neurons that come from a file, checked before anything divides by them."""

from collections.abc import Mapping

import torch

from spiking_yolo.convert.thresholds import NeuronParameters
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph
from spiking_yolo.io.names import label
from spiking_yolo.io.tensors import check_finite

THRESHOLDS = ("theta", "theta_off")


def check_neurons(graph: Graph, known: Mapping[str, torch.Size], neurons: NeuronParameters) -> None:
    """Raise UserError, naming the node, unless every activation has thresholds and all values fit their channels.

    known: shape of every node, [1, C, ...].
    """
    for node in graph.activations:
        if not neurons.get(node.name, {}).keys() >= {"theta", "initial"}:
            raise UserError(f"node {node.name!r} has no threshold")
    check_values(neurons)
    for name, own in neurons.items():
        shapes = [(), (1,), tuple(known[name][1:2])] if name in known else []
        if wrong := [key for key, value in own.items() if tuple(value.shape) not in shapes]:
            raise UserError(f"{label(wrong[0])} of node {label(name)!r} is not for its channels")


def check_values(neurons: NeuronParameters) -> None:
    """Raise UserError, naming the node, for thresholds that are not above 0 and for values that are not finite."""
    for name, own in neurons.items():
        where = f"node {label(name)!r}"
        check_finite(own, where)
        for key, value in own.items():
            if not value.is_floating_point() or (key in THRESHOLDS and not (value > 0).all()):
                raise UserError(f"{where}: {label(key)} must be a number{' above 0' * (key in THRESHOLDS)}")
