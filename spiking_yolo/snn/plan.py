"""What is known of a network before it runs: which nodes are computed when, and what each layer may
rely on.
"""

import os
import shutil
import sys
import sysconfig
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, get_args

import torch
from torch import Tensor

from spiking_yolo.errors import Notice, UserError
from spiking_yolo.graph import Graph, Node
from spiking_yolo.graph.rewrites import constant_nodes, pool_before_neuron, readout_nodes
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.coding import CODINGS, Coding

Precision = Literal["float32", "bf16"]
Runtime = Literal["simulator", "onnxruntime"]


@dataclass(frozen=True)
class SimulationOptions:
    """How a network is computed, which changes its results by rounding and its speed by a lot.

    precision: bf16 multiplies spikes and weights in bfloat16, which GPUs and processors with
    avx512_bf16 or AMX do at twice the speed; potentials, and convolutions of the image, stay in
    float32. Bursts of up to 256 spikes are exact in bfloat16; weights, currents and graded spikes
    are rounded to 8 bits. compiled: fuse the arithmetic of the neurons with PyTorch's compiler,
    where there is one for C++. event_driven: use the kernels in C, and compute only what events
    reach, where they are few: in differential coding after the first step, as in the frames of a
    fixed camera, in rate coding in every step. Not where anything is compiled. backend: what
    computes it; the other fields are the simulator's.

    Raises:
        UserError: A field has another value than it may have.
    """

    precision: Precision = "float32"
    compiled: bool = False
    event_driven: bool = True
    backend: Runtime = "simulator"

    def __post_init__(self) -> None:
        for name, choices in (("precision", Precision), ("backend", Runtime)):
            value = getattr(self, name)
            if value not in get_args(choices):
                raise UserError(
                    f"{name} must be one of {', '.join(get_args(choices))}, not {value!r}"
                )
        if self.backend == "onnxruntime" and (self.precision != "float32" or self.compiled):
            raise UserError(
                "bf16 and compiled code are the simulator's: leave them out, or take"
                " backend=simulator"
            )

    def synapses(self, dtype: torch.dtype) -> torch.dtype:
        """The dtype of the weights that receive spikes, in a network of this dtype."""
        return torch.bfloat16 if self.precision == "bf16" else dtype


def chosen(
    precision: Precision = "float32",
    compiled: bool = False,
    device: str | torch.device = "cpu",
    backend: Runtime = "simulator",
) -> SimulationOptions:
    """The simulation on this machine's device; not compiled, with a Notice, where PyTorch's
    compiler lacks something.

    Another Notice says where bf16 is no faster.

    Raises:
        UserError: See SimulationOptions; or onnxruntime is to compute on another device.
    """
    simulation = SimulationOptions(precision, compiled, backend=backend)
    if backend == "onnxruntime" and str(device).partition(":")[0] != "cpu":
        raise UserError("onnxruntime computes on the processor here: leave the device out")
    if precision == "bf16" and not bf16_pays(device):
        warnings.warn(
            "this processor has no instructions for bfloat16: bf16 is no faster here",
            Notice,
            stacklevel=2,
        )
    if compiled and (reason := missing()):
        warnings.warn(f"nothing is compiled: {reason}", Notice, stacklevel=2)
        return SimulationOptions(precision)
    return simulation


def bf16_pays(device: str | torch.device) -> bool:
    """Whether bf16 may be faster there than float32: on processors that have instructions for it,
    and on GPUs.
    """
    return str(device).partition(":")[0] != "cpu" or fast_bf16()


def missing() -> str:
    """What PyTorch's compiler lacks on this machine, and what to do about it; empty when
    nothing.
    """
    # As PyTorch looks for it.
    default = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    compiler = os.environ.get("CXX", default)
    if shutil.which(compiler) is None:
        return f"there is no C++ compiler {compiler!r}; install one, or set CXX to yours"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "Python.h is not installed; on Debian and Ubuntu it comes with python3-dev"
    return ""


def fast_bf16() -> bool:
    """Whether this processor multiplies bfloat16 faster than float32."""
    capable = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capable.get("avx512_bf16") or capable.get("amx_bf16"))


@dataclass(frozen=True)
class LayerPlan:
    """What one layer of neurons may rely on.

    reads_sums: what it receives is the sum of its input so far, which the max pooling before it
    keeps, and not the input of a step. constant: it receives the same current in every step.
    observed: somebody will look at its neurons, so that all thresholds, and both neurons of a pair,
    are kept. sent_dtype: of what it sends; None: the potential's. by_channel: a slice of channels
    is taken of what it sends, so that its events are counted for each channel.
    """

    name: str = ""
    reads_sums: bool = False
    constant: bool = False
    observed: bool = True
    sent_dtype: torch.dtype | None = None
    by_channel: bool = False


@dataclass(frozen=True)
class NetworkPlan:
    """Which nodes of a graph are computed when.

    graph: as it is simulated, with max pooling before the neurons where the recipe says so.
    observed: see SpikingNetwork. constant: nodes whose value is the same in every step, computed in
    the first. readout: the linear end of the graph, computed only where the output is read;
    stepped: all other nodes, in order. releases: node -> values that nobody needs after it. sliced:
    nodes of whose events a slice is taken. sums: layer of neurons -> max pooling whose sum it
    reads. sources: activation -> the node that it reads in the ANN. before: node -> layers of
    neurons, at most, before the one that it is or hears.
    """

    graph: Graph
    coding: Coding
    observed: bool
    constant: frozenset[str]
    readout: tuple[Node, ...]
    stepped: tuple[Node, ...]
    releases: Mapping[str, tuple[str, ...]]
    sliced: frozenset[str]
    sums: Mapping[str, str]
    sources: Mapping[str, str]
    before: Mapping[str, int]

    @classmethod
    def of(
        cls,
        graph: Graph,
        neurons: Mapping[str, Mapping[str, Tensor]],
        recipe: Recipe,
        observed: bool = False,
    ) -> Self:
        """neurons: activation node -> parameters of its neurons."""
        sources = {node.name: node.inputs[0] for node in graph.activations}
        graph = as_simulated(graph, recipe)
        coding = CODINGS[recipe.encoding.coding]
        changing = coding.once or recipe.encoding.input != "analogue"
        constant = frozenset[str]() if changing else frozenset(constant_nodes(graph))
        readout = readout_nodes(graph)
        later = {node.name for node in readout}
        stepped = tuple([node for node in graph.nodes if node.name not in later])
        summing = {
            node.name for node in graph.activations if follows_sums(recipe, neurons[node.name])
        }
        return cls(
            graph,
            coding,
            observed,
            constant,
            readout,
            stepped,
            _releases(graph, stepped, readout, constant),
            _sliced(graph),
            {} if observed else _sums(graph, summing, constant),
            sources,
            layers_before(graph),
        )

    def layer(self, name: str, simulation: SimulationOptions, dtype: torch.dtype) -> LayerPlan:
        """The plan of a layer in a network of this dtype."""
        constant = set(self.graph[name].inputs) <= self.constant
        sent = simulation.synapses(dtype) if simulation.precision == "bf16" else None
        return LayerPlan(
            name, name in self.sums, constant, self.observed, sent, name in self.sliced
        )


def as_simulated(graph: Graph, recipe: Recipe) -> Graph:
    """The graph with max pooling before the neurons where the recipe says so."""
    pool_first = recipe.neuron_kind.memory and recipe.neuron.pool_first
    return pool_before_neuron(graph) if pool_first else graph


def follows_sums(recipe: Recipe, parameters: Mapping[str, Tensor]) -> bool:
    """Whether neurons of these parameters need only the sum of their input so far, not the input of
    each step.

    A calibrated bias is added to each input, but in differential coding it is a part of the sum
    (not for MSAT's neurons, which look at it elsewhere too); MSAT's DET looks at the input, and its
    Algorithm 1 at the step before.
    """
    m = recipe.msat
    return (
        recipe.neuron_kind.memory
        and ("bias" not in parameters or (CODINGS[recipe.encoding.coding].once and not m.enabled))
        and not (m.enabled and (m.det or m.variant == "algorithm1"))
    )


def _sliced(graph: Graph) -> frozenset[str]:
    """The nodes of whose events a slice of channels is taken, directly or after linear nodes."""
    sliced: set[str] = set()
    for node in reversed(graph.nodes):
        passes = node.name in sliced and not node.weighted and node.op != "activation"
        if passes or node.op == "slice":
            sliced.update(node.inputs)
    return frozenset(sliced)


def layers_before(graph: Graph) -> dict[str, int]:
    """Node -> layers of neurons, at most, before the one that it is or hears."""
    depth: dict[str, int] = {}
    for node in graph.nodes:
        below = max((depth[name] for name in node.inputs), default=0)
        depth[node.name] = below + (node.op == "activation")
    return {name: max(layers - 1, 0) for name, layers in depth.items()}


def _sums(graph: Graph, layers: set[str], constant: frozenset[str]) -> dict[str, str]:
    """Those of the layers that read a max pooling alone -> that pooling."""
    users = graph.consumers()
    sums = {}
    for name in layers:
        pool = graph[graph[name].inputs[0]]
        alone = len(users[pool.name]) == 1 and pool.name not in graph.outputs
        if pool.op == "max_pool" and alone and pool.name not in constant:
            sums[name] = pool.name
    return sums


def _releases(
    graph: Graph, stepped: tuple[Node, ...], readout: tuple[Node, ...], constant: frozenset[str]
) -> dict[str, tuple[str, ...]]:
    """Node -> the values that nobody needs after it."""
    last: dict[str, str] = {}
    for node in stepped:
        last.update(dict.fromkeys(node.inputs, node.name))
    releases: dict[str, tuple[str, ...]] = {node.name: () for node in stepped}
    for name in last.keys() - readout_sources(graph, readout) - constant:
        releases[last[name]] += (name,)
    return releases


def readout_sources(graph: Graph, readout: tuple[Node, ...]) -> set[str]:
    """The nodes whose values the output is read from: those before the readout, and outputs outside
    of it.
    """
    sources = set(graph.outputs).union(*[node.inputs for node in readout])
    return sources - {node.name for node in readout}
