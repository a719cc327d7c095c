"""What is timed: methods and settings by name, the photographs and videos that they see, and the
same network in spikingjelly.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spiking_yolo.apps.benchmark import BenchmarkOptions
from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.load import convert_ann
from spiking_yolo.convert.methods import DEFAULT, get_recipe
from spiking_yolo.data.images import preprocess, read_image
from spiking_yolo.data.sources import expand, is_stream
from spiking_yolo.data.video import frames_of
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, Node, forward
from spiking_yolo.io.assets import sample_clip, samples_folder
from spiking_yolo.io.names import Size
from spiking_yolo.models.load import Ann
from spiking_yolo.models.spec import Spec
from spiking_yolo.snn.plan import Precision, SimulationOptions, bf16_pays, missing

# Pixels between two frames of a camera that pans.
PAN = 4


def photograph_paths(options: BenchmarkOptions) -> list[str]:
    """The photographs of the folder."""
    paths = expand([str(options.images or samples_folder())])
    return [path for path in paths if not is_stream(path)]


def photographs(options: BenchmarkOptions, spec: Spec, n: int, size: Size | None = None) -> Tensor:
    """[n, 3, H, W]: the photographs of the folder, over and over; size: resized to it."""
    paths = photograph_paths(options)
    x = torch.stack([preprocess(read_image(paths[i % len(paths)]), spec)[0] for i in range(n)])
    x = x if size is None else F.interpolate(x, size, mode="bilinear")
    return x.to(options.device)


def clips(options: BenchmarkOptions) -> dict[str, Iterable[np.ndarray]]:
    """The videos, a camera that stands still, and one that pans over a photograph.

    Returns:
        Name -> frames, uint8 [H, W, 3].

    Raises:
        UserError: A video cannot be opened.
    """
    frames: dict[str, Iterable[np.ndarray]] = {}
    for path in options.video:
        frames[str(path)] = frames_of(path).images
    if not frames:
        frames["sample clip"] = frames_of(sample_clip()).images
    photograph = read_image(photograph_paths(options)[0])
    frames["still camera"] = (photograph for _ in range(options.frames))
    frames["moving camera"] = panned(photograph, options.frames)
    return frames


def panned(photograph: np.ndarray, n: int) -> Iterator[np.ndarray]:
    """n windows of three quarters of its width, PAN pixels apart, to the right and back again."""
    reach = max(photograph.shape[1] // 4, 1)
    for k in range(n):
        left = reach - abs(reach - k * PAN % (2 * reach))
        yield photograph[:, left : left + photograph.shape[1] - reach]


def ann_pass(ann: Ann, x: Tensor) -> Callable[[], None]:
    """One forward pass of the ANN in float32, as PyTorch runs it by default."""
    graph = ann.graph.to(x.device)

    @torch.no_grad()
    def once() -> None:
        forward(graph, x)

    return once


@dataclass(frozen=True)
class Case:
    """A method as it is timed. method: "default" is the registered default."""

    method: str
    settings: dict[str, Any] = field(default_factory=dict)
    simulation: SimulationOptions = field(default_factory=SimulationOptions)

    @property
    def name(self) -> str:
        """As limits call it, e.g. "msat-plus gamma=1"."""
        settings = [f"{key.rpartition('.')[2]}={value}" for key, value in self.settings.items()]
        return " ".join([self.method, *settings])

    @property
    def full_name(self) -> str:
        """The name with the simulation, e.g. "msat-plus gamma=1/bf16/eager"."""
        mode = "compiled" if self.simulation.compiled else "eager"
        return f"{self.name}/{self.simulation.precision}/{mode}"

    def convert(self, ann: Ann) -> Converted:
        name = DEFAULT if self.method == "default" else self.method
        return convert_ann(ann, get_recipe(name).with_settings(self.settings))

    def run(self, ann: Ann, x: Tensor, T: int) -> Callable[[], int]:
        """A run of T timesteps.

        It returns how many were simulated before everything had settled.
        """
        network = self.convert(ann).network(x.device, simulation=self.simulation)
        return lambda: network(x, T).steps


# Timed whatever --method names.
ALWAYS = (Case("default"), Case("msat-plus"), Case("msat-plus", {"neuron.gamma": 1}))


def executed(cases: Iterable[Case], device: str, compiled: bool = True) -> tuple[Case, ...]:
    """Each case in the ways that this machine can run it.

    These are float32, bf16 where the machine gains by it, and each of them compiled, if `compiled`
    and if a compiler is there.
    """
    precisions: list[Precision] = ["float32", "bf16"] if bf16_pays(device) else ["float32"]
    simulations = []
    for precision in precisions:
        simulations.append(SimulationOptions(precision, False))
        if compiled and not missing():
            simulations.append(SimulationOptions(precision, True))
    return tuple(replace(case, simulation=way) for case in cases for way in simulations)


def relu_twin(graph: Graph) -> Graph:
    """The graph with ReLU for every leaky ReLU: same layers, weights and shapes."""
    nodes = []
    for node in graph.nodes:
        nodes.append(replace(node, attrs={"slope": 0.0}) if node.op == "activation" else node)
    return replace(graph, nodes=tuple(nodes))


class Twin(nn.Module):
    """A graph as modules, which spikingjelly can trace.

    Raises:
        UserError: There is no module for an operation.
    """

    def __init__(self, graph: Graph):
        super().__init__()
        self.nodes = graph.nodes
        self.outputs = graph.outputs
        self.parts = nn.ModuleDict()
        for node in graph.nodes:
            if node.op not in ("input", "concat"):
                self.parts[node.name] = _module(graph, node)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        values: dict[str, Tensor] = {}
        for node in self.nodes:
            inputs = [values[name] for name in node.inputs]
            if node.op == "input":
                values[node.name] = x
            elif node.op == "concat":
                values[node.name] = torch.cat(inputs, 1)
            else:
                values[node.name] = self.parts[node.name](*inputs)
        return tuple(values[name] for name in self.outputs)


class _PaddedMaxPool(nn.Module):
    """Max pooling that repeats the last column and row."""

    def __init__(self, a: Any):
        super().__init__()
        self.pool = nn.MaxPool2d(a["kernel"], a["stride"], ceil_mode=a["ceil"])

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x, x[:, :, :, -1:]], 3)
        return self.pool(torch.cat([x, x[:, :, -1:]], 2))


def _module(graph: Graph, node: Node) -> nn.Module:
    a = node.attrs
    if node.op == "conv":
        weight, bias = graph.parameters(node)
        assert weight is not None
        module = nn.Conv2d(
            weight.shape[1] * a["groups"],
            weight.shape[0],
            (weight.shape[2], weight.shape[3]),
            a["stride"],
            a["padding"],
            a["dilation"],
            a["groups"],
            bias is not None,
        )
        module.load_state_dict({"weight": weight} | ({"bias": bias} if bias is not None else {}))
        return module
    if node.op == "activation" and not a["slope"]:
        return nn.ReLU()
    if node.op == "max_pool":
        if a["padding"] == [0, 1, 0, 1] and a["stride"] == [1, 1]:
            return _PaddedMaxPool(a)
        # An even size never reaches darknet's padding.
        if not any(a["padding"]) or a["padding"] == [0, 1, 0, 1]:
            return nn.MaxPool2d(a["kernel"], a["stride"], ceil_mode=a["ceil"])
    if node.op == "upsample":
        return nn.Upsample(scale_factor=tuple(a["scale"]))
    raise UserError(
        f"node {node.name!r}: the benchmark has no module of spikingjelly for the operation"
        f" {node.op!r}"
    )


def spikingjelly_run(graph: Graph, x: Tensor, T: int) -> tuple[str, Callable[[], None]] | None:
    """A description of the twin, and a run of T steps of it; None without spikingjelly 2."""
    try:
        from spikingjelly.activation_based import ann2snn, functional  # pyright: ignore

        release = version("spikingjelly")
        recipe, convert = ann2snn.RateCodingRecipe, ann2snn.Converter
    except (ImportError, AttributeError, PackageNotFoundError):
        return None
    model = Twin(relu_twin(graph)).eval()
    # Without its progress bar.
    with redirect_stderr(StringIO()):
        twin = convert(recipe([(x, x)], mode="99.9%"), device=str(x.device)).convert(model)

    @torch.no_grad()
    def run() -> None:
        functional.reset_net(twin)
        sums = twin(x)
        for _ in range(T - 1):
            for total, output in zip(sums, twin(x), strict=True):
                total += output

    what = (
        f"spikingjelly {release}: the same layers and weights with ReLU for leaky ReLU, converted"
        " by its RateCodingRecipe (p-norm, 99.9 %), IF nodes with soft reset, step by step; max"
        " pooling is of single spikes, whose error grows with T. It computes the first layer again"
        " in every step, as it comes"
    )
    return what, run
