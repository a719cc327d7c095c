"""What is timed: methods and settings by name, and the photographs that they see."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.pipeline import convert_ann
from spiking_yolo.convert.registry import DEFAULT, get_recipe
from spiking_yolo.graph import forward
from spiking_yolo.io.assets import samples_folder
from spiking_yolo.io.images import preprocess, read_image
from spiking_yolo.io.sizes import Size
from spiking_yolo.io.sources import expand, is_stream
from spiking_yolo.models.load import Ann
from spiking_yolo.models.spec import Spec
from spiking_yolo.snn.options import Precision, SimulationOptions, bf16_pays, missing
from spiking_yolo.studies.benchmark.options import BenchmarkOptions


def photograph_paths(options: BenchmarkOptions) -> list[str]:
    """The photographs of the folder."""
    return [path for path in expand([str(options.images or samples_folder())]) if not is_stream(path)]


def photographs(options: BenchmarkOptions, spec: Spec, n: int, size: Size | None = None) -> Tensor:
    """[n, 3, H, W]: the photographs of the folder, over and over; size: resized to it."""
    paths = photograph_paths(options)
    x = torch.stack([preprocess(read_image(paths[i % len(paths)]), spec)[0] for i in range(n)])
    x = x if size is None else F.interpolate(x, size, mode="bilinear")
    return x.to(options.device)


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
        return " ".join([self.method, *(f"{k.rpartition('.')[2]}={v}" for k, v in self.settings.items())])

    @property
    def full_name(self) -> str:
        """The name with the simulation, e.g. "msat-plus gamma=1/bf16/eager"."""
        return f"{self.name}/{self.simulation.precision}/{'compiled' if self.simulation.compiled else 'eager'}"

    def convert(self, ann: Ann) -> Converted:
        name = DEFAULT if self.method == "default" else self.method
        return convert_ann(ann, get_recipe(name).with_settings(self.settings))

    def run(self, ann: Ann, x: Tensor, T: int) -> Callable[[], int]:
        """A run of T timesteps, which returns how many were simulated before everything had settled."""
        network = self.convert(ann).network(x.device, simulation=self.simulation)
        return lambda: network.run(x, T).steps


ALWAYS = (Case("default"), Case("msat-plus"), Case("msat-plus", {"neuron.gamma": 1}))  # whatever --method names


def executed(cases: Iterable[Case], device: str, compiled: bool = True) -> tuple[Case, ...]:
    """Each case in float32, and where this machine gains by it in bf16; `compiled`: each also compiled if it can be."""
    precisions: list[Precision] = ["float32", "bf16"] if bf16_pays(device) else ["float32"]
    kinds = [
        SimulationOptions(p, c) for p in precisions for c in ((False, True) if compiled and not missing() else (False,))
    ]
    return tuple(replace(case, simulation=kind) for case in cases for kind in kinds)
