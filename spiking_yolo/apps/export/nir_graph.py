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

from spiking_yolo.convert.converted import Converted
from spiking_yolo.errors import UserError, require
from spiking_yolo.graph import Graph, Node, shapes
from spiking_yolo.io.json import json_text
from spiking_yolo.snn.layout import per_channel
from spiking_yolo.snn.units import Unit, fold, same

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

    IF nodes carry the names of our layers; v_threshold = 1 wherever a convolution or linear layer
    feeds only one layer of neurons. Convolutions of kernel 1 appear where a sum needs spikes in
    another unit. Arrays have the dtype of the network's tensors. The graph's metadata say how the
    input is presented (input), what a step is (step), how the output is read (readout), and hold
    recipe, spec and provenance as JSON.

    Raises:
        UserError: NIR cannot express the network; the message names the first node and the reason.
    """
    package = require("nir", "export")
    graph = converted.spiking_graph.up_to(*converted.graph.outputs)
    converted = replace(converted, graph=graph, weights={})
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
        units: Node -> the value of a one in that sum, [C].
    """

    def __init__(self, package: Any, converted: Converted, sizes: Mapping[str, torch.Size]):
        self.nir = package
        self.converted = converted
        self.graph = converted.graph
        self.sizes = sizes
        self.thetas: dict[str, Tensor] = {}
        for node in self.graph.activations:
            self.thetas[node.name] = converted.neurons[node.name]["theta"]
        self.delivered = delivered_units(self.graph, self.thetas)
        self.like = next(iter(self.graph.tensors.values()))
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []
        self.sources: dict[str, list[str]] = {}
        self.units: dict[str, Unit] = {}

    def nir_graph(self) -> nir.NIRGraph:
        for node in self.graph.nodes:
            self._add(node)
        names = [f"output_{k}" for k in range(len(self.graph.outputs))]
        if len(names) == 1:
            names = ["output"]
        for name, own in zip(self.graph.outputs, map(self._free, names), strict=True):
            output = self.nir.Output(np.array(self.sizes[name][1:]))
            self._put(own, output, self._in_unit(name, None, own))
        return self.nir.NIRGraph(self.nodes, self.edges, metadata=_metadata(self.converted))

    def _add(self, node: Node) -> None:
        name, shape = node.name, self.sizes[node.name][1:]
        if node.op == "input":
            self.units[name] = None
            self.sources[name] = [self._free("input")]
            self._put(self.sources[name][0], self.nir.Input(np.array(shape)), [])
            return
        if node.op == "add":
            self.units[name] = self.delivered[name]
            self.sources[name] = self._sum(node)
            return
        unit = self.units[node.inputs[0]]
        if node.weighted:
            weight, bias = normalised(self.graph, node, unit, self.delivered[name])
            written = self._layer(node, weight, bias)
            unit = self.delivered[name]
        elif node.op == "activation":
            written = self._neurons(node, unit)
            unit = self.thetas[name]
        elif node.op == "flatten":
            # Counted from the end, so that it says the same with and without a batch dimension.
            whole = np.array(self.sizes[node.inputs[0]][1:])
            written = self.nir.Flatten({"input": whole}, start_dim=-len(whole), end_dim=-1)
            if unit is not None:
                unit = unit.repeat_interleave(shape[0] // len(unit))
        else:
            written = self._pool(node)
        self._put(name, written, self.sources[node.inputs[0]])
        self.units[name] = unit
        self.sources[name] = [name]

    def _put(self, name: str, written: Any, sources: list[str]) -> None:
        self.nodes[name] = written
        self.edges += [(source, name) for source in sources]

    def _sum(self, node: Node) -> list[str]:
        sources: list[str] = []
        for k, name in enumerate(node.inputs):
            sources += self._in_unit(name, self.units[node.name], f"{node.name}_{k}", sources)
        return sources

    def _in_unit(
        self, name: str, unit: Unit, reader: str, beside: list[str] | None = None
    ) -> list[str]:
        """NIR nodes whose sum is the node's value in `unit`.

        These are its own, or another one that changes the unit. That is also needed where an edge
        from them would double one from `beside`: NIR has no double edges.
        """
        if same(self.units[name], unit) and set(self.sources[name]).isdisjoint(beside or ()):
            return self.sources[name]
        shape = self.sizes[name][1:]
        factors = ratio(self.units[name], unit, shape[0], self.like).diag()
        zero = factors.new_zeros(len(factors))
        if len(shape) == 1:
            written = self.nir.Affine(_array(factors), _array(zero))
        else:
            written = self._conv(factors[..., None, None], zero, shape)
        own = self._free(f"{name}_to_{reader}")
        self._put(own, written, self.sources[name])
        return [own]

    def _free(self, name: str) -> str:
        """The name, with underscores until no other node of either graph has it."""
        others = {node.name for node in self.graph.nodes if node.op != "input"}
        while name in self.nodes or name in others:
            name += "_"
        return name

    def _layer(self, node: Node, weight: Tensor, bias: Tensor) -> Any:
        if node.op == "linear":
            return self.nir.Affine(_array(weight), _array(bias))
        geometry = {k: tuple(node.attrs[k]) for k in ("stride", "padding", "dilation")}
        return self._conv(weight, bias, self.sizes[node.inputs[0]][1:], **geometry)

    def _conv(self, weight: Tensor, bias: Tensor, shape: torch.Size, **geometry: Any) -> Any:
        g = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)} | geometry
        return self.nir.Conv2d(tuple(shape[1:]), _array(weight), **g, groups=1, bias=_array(bias))

    def _neurons(self, node: Node, unit: Unit) -> Any:
        shape, theta = self.sizes[node.name], self.thetas[node.name]
        threshold = ratio(theta, unit, len(theta), self.like)
        full = _array(per_channel(threshold, self.like.new_empty(shape)).expand(shape)[0])
        metadata = {"reset": self.converted.recipe.neuron.reset}
        return self.nir.IF(np.ones_like(full), full, np.zeros_like(full), metadata=metadata)

    def _pool(self, node: Node) -> Any:
        if node.op == "global_avg_pool":
            whole = np.array(self.sizes[node.inputs[0]][2:])
            return self.nir.AvgPool2d(whole, whole, np.array([0, 0]))
        geometry = [np.array(node.attrs[key]) for key in ("kernel", "stride", "padding")]
        return self.nir.AvgPool2d(*geometry)


def delivered_units(graph: Graph, thetas: Mapping[str, Tensor]) -> dict[str, Unit]:
    """The unit, [C], in which every node delivers its value.

    This is the theta of the neurons that it feeds if it feeds these alone, also through sums and
    average pooling; else None, the unit of the original network. thetas: [C] by activation node.
    """
    users = graph.consumers()
    units: dict[str, Unit] = {}
    for node in reversed(graph.nodes):
        requests: list[Unit] = []
        if node.name in graph.outputs:
            requests.append(None)
        for user in users[node.name]:
            if user.op == "activation":
                requests.append(thetas[user.name])
            elif user.op in ("add", "avg_pool", "global_avg_pool"):
                requests.append(units[user.name])
            else:
                requests.append(None)
        agree = all(same(requests[0], request) for request in requests)
        units[node.name] = requests[0] if requests and agree else None
    return units


def normalised(graph: Graph, node: Node, unit_in: Unit, unit_out: Unit) -> tuple[Tensor, Tensor]:
    """Weight and bias that take values in unit_in and deliver in unit_out."""
    weight, bias = graph.parameters(node)
    assert weight is not None and bias is not None
    weight = fold(weight, unit_in)
    if unit_out is not None:
        unit_out = unit_out.to(weight)
        weight = weight / unit_out.reshape(-1, *[1] * (weight.ndim - 1))
        bias = bias / unit_out
    return weight, bias


def ratio(unit_in: Unit, unit_out: Unit, channels: int, like: Tensor) -> Tensor:
    """The factor per channel from one unit to another, [channels]."""
    factor = torch.ones(channels, dtype=like.dtype, device=like.device)
    if unit_in is not None:
        factor = unit_in.to(like)
    if unit_out is not None:
        factor = factor / unit_out.to(like)
    return factor


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
