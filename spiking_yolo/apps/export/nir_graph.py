"""A converted network in the Neuromorphic Intermediate Representation: IF neurons, binary spikes,
folded thresholds.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from spiking_yolo.apps.export.expressible import missing, needed, refusal
from spiking_yolo.apps.export.rewrite import (
    Summed,
    delivered_units,
    normalised,
    ratio,
    with_offsets,
    with_sums,
)
from spiking_yolo.convert.converted import Converted
from spiking_yolo.errors import require
from spiking_yolo.graph import Node, shapes
from spiking_yolo.io.json import json_text
from spiking_yolo.snn.layout import per_channel
from spiking_yolo.snn.units import Unit, same

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

    Thresholds are folded into weights and biases: a spike is a one, r = 1, and v_threshold = 1
    wherever a convolution or linear layer feeds only one layer of neurons. IF nodes carry the names
    of our layers; an ON/OFF pair is two, NAME_on and NAME_off, with `pair` and `side` in their
    metadata, and concatenations are sums (see rewrite.py). Convolutions of kernel 1 appear where a
    sum needs spikes in another unit. Arrays have the dtype of the network's tensors. The graph's
    metadata say how the input is presented (input), what a step is (step), how the output is read
    (readout), and hold recipe, spec and provenance as JSON.

    Raises:
        UserError: NIR cannot express some nodes, which the message names.
    """
    package = require("nir", "export")
    converted, sizes = needed(converted)
    if lost := missing(converted, sizes):
        raise refusal(lost, len(converted.graph.nodes))
    summed = with_sums(converted.graph, converted.neurons, sizes)
    source = with_offsets(summed.graph, summed.neurons, converted.recipe)
    return _Writer(package, converted, replace(summed, graph=source)).graph()


class _Writer:
    """Writes the nodes of a network one after the other.

    Attributes:
        sources: Node -> the NIR nodes whose sum it is.
        units: Node -> the value of a one in that sum, [C].
    """

    def __init__(self, package: Any, converted: Converted, summed: Summed):
        self.nir = package
        self.converted = converted
        self.source = summed.graph
        self.pairs = summed.pairs
        self.sizes = shapes(self.source, converted.spec.height, converted.spec.width)
        self.thetas = {
            node.name: summed.neurons[node.name]["theta"] for node in self.source.activations
        }
        self.delivered = delivered_units(self.source, self.thetas)
        self.like = next(iter(self.source.tensors.values()))
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []
        self.sources: dict[str, list[str]] = {}
        self.units: dict[str, Unit] = {}

    def graph(self) -> nir.NIRGraph:
        for node in self.source.nodes:
            self._add(node)
        for k, name in enumerate(self.source.outputs):
            own = self._free("output" if len(self.source.outputs) == 1 else f"output_{k}")
            output = self.nir.Output(np.array(self.sizes[name][1:]))
            self._put(own, output, self._in_unit(name, None, own))
        return self.nir.NIRGraph(self.nodes, self.edges, metadata=_metadata(self.converted))

    def _add(self, node: Node) -> None:
        name, shape = node.name, self.sizes[node.name][1:]
        if node.op == "input":
            name = self._free("input")
            self._put(name, self.nir.Input(np.array(shape)), [])
            self.units[node.name] = None
            self.sources[node.name] = [name]
            return
        unit = self.units[node.inputs[0]]
        if node.op == "add":
            self.units[name] = self.delivered[name]
            self.sources[name] = self._sum(node)
            return
        if node.weighted:
            parameters = normalised(self.source, node, unit, self.delivered[name])
            written = self._layer(node, *parameters)
            unit = self.delivered[name]
        elif node.op == "activation":
            written = self._neurons(node, unit)
            unit = self.thetas[name]
        elif node.op == "flatten":
            # Counted from the end, so that it says the same with and without a batch dimension.
            whole = np.array(self.sizes[node.inputs[0]][1:])
            written = self.nir.Flatten({"input": whole}, start_dim=-len(whole), end_dim=-1)
            unit = None if unit is None else unit.repeat_interleave(shape[0] // len(unit))
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
            written = self._affine(factors, zero)
        else:
            written = self._conv(factors[..., None, None], zero, shape)
        own = self._free(f"{name}_to_{reader}")
        self._put(own, written, self.sources[name])
        return [own]

    def _free(self, name: str) -> str:
        """The name, with underscores until no other node of either graph has it."""
        others = {node.name for node in self.source.nodes if node.op != "input"}
        while name in self.nodes or name in others:
            name += "_"
        return name

    def _layer(self, node: Node, weight: Tensor, bias: Tensor) -> Any:
        if node.op == "linear":
            return self._affine(weight, bias)
        geometry = {k: tuple(node.attrs[k]) for k in ("stride", "padding", "dilation")}
        return self._conv(weight, bias, self.sizes[node.inputs[0]][1:], **geometry)

    def _affine(self, weight: Tensor, bias: Tensor) -> Any:
        return self.nir.Affine(_array(weight), _array(bias))

    def _conv(self, weight: Tensor, bias: Tensor, shape: torch.Size, **geometry: Any) -> Any:
        g = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)} | geometry
        return self.nir.Conv2d(tuple(shape[1:]), _array(weight), **g, groups=1, bias=_array(bias))

    def _neurons(self, node: Node, unit: Unit) -> Any:
        shape, theta = self.sizes[node.name], self.thetas[node.name]
        threshold = ratio(theta, unit, len(theta), self.like)
        metadata = {"reset": self.converted.recipe.neuron.reset}
        if node.name in self.pairs:
            metadata["pair"], metadata["side"] = self.pairs[node.name]
        full = _array(per_channel(threshold, self.like.new_empty(shape)).expand(shape)[0])
        return self.nir.IF(np.ones_like(full), full, np.zeros_like(full), metadata=metadata)

    def _pool(self, node: Node) -> Any:
        if node.op == "global_avg_pool":
            whole = np.array(self.sizes[node.inputs[0]][2:])
            return self.nir.AvgPool2d(whole, whole, np.array([0, 0]))
        geometry = [np.array(node.attrs[key]) for key in ("kernel", "stride", "padding")]
        return self.nir.AvgPool2d(*geometry)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().numpy()


def _metadata(converted: Converted) -> dict[str, Any]:
    recipe = converted.recipe
    return {
        "generator": "spiking_yolo",
        "dt": 1.0,
        "step": _STEP,
        "input": _POISSON if recipe.encoding.input == "poisson" else _ANALOGUE,
        "readout": (
            f"mean of the output over steps {recipe.readout.skip + 1}..T, in the units of the"
            " original network"
        ),
        "recipe": recipe.to_json(),
        "spec": converted.spec.to_json(),
        "provenance": json_text(dict(converted.provenance)),
    }
