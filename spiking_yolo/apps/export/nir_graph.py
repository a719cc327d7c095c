"""A converted network in the Neuromorphic Intermediate Representation: IF neurons, binary spikes,
folded thresholds.

Pedersen et al., "Neuromorphic intermediate representation: A unified instruction set for
interoperable brain-inspired computing", Nature Communications 2024. Its spiking neurons send one
positive spike of value 1 per step, start at zero and have a fixed threshold; its pooling is linear.
Thresholds are folded into weights and biases: W theta_in / theta_out and b / theta_out, with
threshold 1 (Rueckauer et al. 2017, section 2.2.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from spiking_yolo.convert.load import Converted
from spiking_yolo.errors import UserError, require
from spiking_yolo.graph import Node, shapes
from spiking_yolo.io.text import json_text
from spiking_yolo.spikes.layout import SpikeUnit, fold, per_output, same

if TYPE_CHECKING:
    import nir

_STEP = (
    "dt = 1, in the order of the edges and without delay: v += r * I; a spike, a one, where v >="
    " v_threshold; then v -= v_threshold (reset=subtract) or v = v_reset (reset=zero); v = 0 before"
    " the first step; edges into one node add"
)
_ANALOGUE = (
    "the image as a current, the same in every step, in the units of spec: RGB / 255, then (x -"
    " mean) / std"
)
_POISSON = (
    "random spikes of the image x in the units of spec: in every step sign(x) * top with"
    " probability |x| / top, else 0, where top = max(1, max |x|)"
)


def to_nir(converted: Converted) -> nir.NIRGraph:
    """The network as a NIR graph that needs nothing else.

    IF nodes carry the names of our layers, and v_threshold = 1. Convolutions of kernel 1 appear
    where spikes are added, or pooled before neurons. Arrays have the dtype of the network's
    tensors. The graph's metadata say how the input is presented (input), what a step is (step), how
    the output is read (readout), and hold recipe, spec and provenance as JSON.

    Raises:
        UserError: NIR cannot express the network; the message names the first node and the reason.
    """
    package = require("nir", "export")
    graph = converted.graph.up_to(*converted.graph.outputs)
    converted = replace(converted, graph=graph)
    sizes = shapes(graph, converted.spec.height, converted.spec.width)
    for node in graph.nodes:
        if reason := _obstacle(node, converted, sizes):
            raise UserError(
                f"NIR cannot express node {node.name!r} ({node.op}): {reason}; a .safetensors file"
                " takes every network"
            )
    return _Writer(package, converted, sizes).nir_graph()


def _obstacle(node: Node, converted: Converted, sizes: Mapping[str, torch.Size]) -> str:
    """Why NIR cannot express a node, with the way out; empty where it can."""
    attrs = node.attrs
    match node.op:
        case "activation":
            if not _fits(node, converted):
                return (
                    "its neurons start at zero, take no constant current and send one positive"
                    " spike per step; use ReLU and --method p-norm"
                )
        case "conv":
            height, width = converted.graph.tensors[f"{node.name}.weight"].shape[2:]
            if height != width or attrs["groups"] > 1:
                return "the package nir takes square kernels of one group only"
        case "avg_pool":
            padded = any(attrs["padding"]) and not attrs["count_include_pad"]
            for axis in (0, 1):
                size = sizes[node.inputs[0]][2 + axis] + 2 * attrs["padding"][axis]
                windows = (size - attrs["kernel"][axis]) // attrs["stride"][axis] + 1
                padded = padded or windows != sizes[node.name][2 + axis]
            if padded:
                return "its average counts all of a window; train with AvgPool2d's defaults"
        case "input" | "linear" | "add" | "flatten" | "global_avg_pool":
            pass
        case _:
            return "train with average pooling (--pool avg) or strides, and without concatenations"
    return ""


def _fits(node: Node, converted: Converted) -> bool:
    """Whether neurons are IF neurons of NIR."""
    phi, recipe, site = node.phi, converted.recipe, converted.neurons[node.name]
    neuron = recipe.neuron
    below_cap = phi.cap is None or not bool((site["theta"] > phi.cap).any())
    return (
        recipe.neuron_kind.plain
        and not (phi.slope or phi.gate or phi.softmax)
        and (neuron.gamma, neuron.events, neuron.shift) == (1, "spikes", 0)
        and not site["initial"].any()
        and "bias" not in site
        and below_cap
    )


class _Writer:
    """Writes the nodes of a network one after the other.

    Attributes:
        sources: Node -> the NIR nodes whose sum it is.
        units: Node -> what a one in that sum is worth, [C]; None for values of the original.
    """

    def __init__(self, package: Any, converted: Converted, sizes: Mapping[str, torch.Size]):
        self.nir = package
        self.converted = converted
        self.graph = converted.graph
        self.sizes = sizes
        self.users = self.graph.consumers()
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []
        self.sources: dict[str, list[str]] = {}
        self.units: dict[str, SpikeUnit] = {}

    def nir_graph(self) -> nir.NIRGraph:
        for node in self.graph.nodes:
            if node.op == "add":
                self._sum(node)
            else:
                self._node(node)
        names = [f"output_{k}" for k in range(len(self.graph.outputs))]
        if len(names) == 1:
            names = ["output"]
        for name, own in zip(self.graph.outputs, map(self._free, names), strict=True):
            output = self.nir.Output(np.array(self.sizes[name][1:]))
            self._put(own, output, self._in_unit(name, None, own))
        return self.nir.NIRGraph(self.nodes, self.edges, metadata=_metadata(self.converted))

    def _sum(self, node: Node) -> None:
        """Edges into one node add, so that a sum is no node of its own."""
        sources: list[str] = []
        for k, name in enumerate(node.inputs):
            own = self._in_unit(name, None, f"{node.name}_{k}")
            if not set(own).isdisjoint(sources):
                # NIR has no double edges, as x + x would need.
                own = [self._scaled(name, None, f"{node.name}_{k}")]
            sources += own
        self.sources[node.name], self.units[node.name] = sources, None

    def _node(self, node: Node) -> None:
        name, sources, unit = node.name, list[str](), None
        for given in node.inputs:
            sources, unit = self.sources[given], self.units[given]
        if node.op == "input":
            name = self._free("input")
            written = self.nir.Input(np.array(self.sizes[node.name][1:]))
        elif node.weighted:
            # A layer that feeds neurons alone delivers in their thetas.
            users, delivered = self.users[name], None
            if len(users) == 1 and users[0].op == "activation" and name not in self.graph.outputs:
                delivered = self._theta(users[0].name)
            written = self._layer(node, unit, delivered)
            unit = delivered
        elif node.op == "activation":
            unit = self._theta(name)
            sources = self._in_unit(node.inputs[0], unit, name)
            ones = np.ones(self.sizes[name][1:], _array(unit).dtype)
            metadata = {"reset": self.converted.recipe.neuron.reset}
            written = self.nir.IF(ones, ones, np.zeros_like(ones), metadata=metadata)
        elif node.op == "flatten":
            # Axes count from the end, so that they hold with and without a batch dimension.
            whole = np.array(self.sizes[node.inputs[0]][1:])
            written = self.nir.Flatten({"input": whole}, start_dim=-len(whole), end_dim=-1)
            if unit is not None:
                unit = unit.repeat_interleave(self.sizes[name][1] // len(unit))
        elif node.op == "global_avg_pool":
            whole = np.array(self.sizes[node.inputs[0]][2:])
            written = self.nir.AvgPool2d(whole, whole, np.array([0, 0]))
        else:
            geometry = [np.array(node.attrs[key]) for key in ("kernel", "stride", "padding")]
            written = self.nir.AvgPool2d(*geometry)
        self._put(name, written, sources)
        self.sources[node.name], self.units[node.name] = [name], unit

    def _put(self, name: str, written: Any, sources: list[str]) -> None:
        self.nodes[name] = written
        self.edges += [(source, name) for source in sources]

    def _theta(self, name: str) -> Tensor:
        like = next(iter(self.graph.tensors.values()))
        return self.converted.neurons[name]["theta"].to(like)

    def _in_unit(self, name: str, unit: SpikeUnit, reader: str) -> list[str]:
        """NIR nodes whose sum is the node's value in a unit: its own, or one that changes it."""
        if same(self.units[name], unit):
            return self.sources[name]
        return [self._scaled(name, unit, reader)]

    def _scaled(self, name: str, unit: SpikeUnit, reader: str) -> str:
        """Write a layer that gives a node's value in a unit."""
        shape = self.sizes[name][1:]
        given = self.units[name]
        factors = self._theta(self.graph.activations[0].name).new_ones(shape[0])
        if given is not None:
            factors = given
        if unit is not None:
            factors = factors / unit
        zero = torch.zeros_like(factors)
        if len(shape) == 1:
            written = self.nir.Affine(_array(factors.diag()), _array(zero))
        else:
            written = self._conv(factors.diag()[..., None, None], zero, shape)
        own = self._free(f"{name}_to_{reader}")
        self._put(own, written, self.sources[name])
        return own

    def _free(self, name: str) -> str:
        """The name, with underscores until no other node of either graph has it."""
        others = {node.name for node in self.graph.nodes if node.op != "input"}
        while name in self.nodes or name in others:
            name += "_"
        return name

    def _layer(self, node: Node, unit_in: SpikeUnit, unit_out: SpikeUnit) -> Any:
        """A layer that takes values in unit_in and delivers in unit_out."""
        weight, bias = self.graph.parameters(node)
        assert weight is not None and bias is not None
        weight = fold(weight, unit_in)
        if unit_out is not None:
            weight, bias = weight / per_output(unit_out, weight), bias / unit_out
        if node.op == "linear":
            return self.nir.Affine(_array(weight), _array(bias))
        geometry = {k: tuple(node.attrs[k]) for k in ("stride", "padding", "dilation")}
        return self._conv(weight, bias, self.sizes[node.inputs[0]][1:], **geometry)

    def _conv(self, weight: Tensor, bias: Tensor, shape: torch.Size, **geometry: Any) -> Any:
        g = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)} | geometry
        return self.nir.Conv2d(tuple(shape[1:]), _array(weight), **g, groups=1, bias=_array(bias))


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().numpy()


def _metadata(converted: Converted) -> dict[str, Any]:
    recipe = converted.recipe
    presented = _ANALOGUE
    if recipe.encoding.input == "poisson":
        presented = _POISSON
    return {
        "generator": "spiking_yolo",
        "dt": 1.0,
        "step": _STEP,
        "input": presented,
        "readout": (
            f"mean of the output over steps {recipe.readout.skip + 1}..T, in the units of the"
            " original network"
        ),
        "recipe": recipe.to_json(),
        "spec": converted.spec.to_json(),
        "provenance": json_text(dict(converted.provenance)),
    }
