"""What a method spends and how far its output is off, as the tools run it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.convert.calibrate_value import relative_error
from spiking_yolo.convert.converted import Converted
from spiking_yolo.graph import forward
from spiking_yolo.io.images import preprocess, read_image


def steps(T: int) -> list[int]:
    """The timesteps at which spikes are reported: a quarter, half and all of the run."""
    return sorted({max(1, T // 4), max(1, T // 2), T})


def load(converted: Converted, paths: Iterable[str], device: str) -> Iterable[Tensor]:
    """The network's input for each image file, [1, 3, H, W]."""
    for path in paths:
        yield preprocess(read_image(path), converted.spec)[0][None].to(device)


@dataclass(frozen=True)
class MethodCost:
    """What a method spends as the tools run it: means over images, by timestep.

    error: of the output, relative to the ANN's.
    """

    spikes: Mapping[int, float]
    error: Mapping[int, float]


def method_cost(
    converted: Converted,
    paths: Sequence[str],
    T: int,
    device: str = "cpu",
    progress: Callable[[], Any] = lambda: None,
) -> MethodCost:
    """Spikes and error of a method at `steps(T)`. progress() is called T times per image."""
    graph, network = converted.graph.to(device), converted.network(device)
    spikes, errors = dict.fromkeys(steps(T), 0.0), dict.fromkeys(steps(T), 0.0)
    for x in load(converted, paths, device):
        with torch.no_grad():
            expected = forward(graph, x)
        run = network.run(x, T, steps(T), progress=lambda t: progress())
        for _ in range(T - run.steps):
            progress()
        for t, snapshot in run.snapshots.items():
            spikes[t] += float(sum(n.sum() for n in snapshot.spikes.values())) / len(paths)
            errors[t] += relative_error(snapshot.outputs, expected) / len(paths)
    return MethodCost(spikes, errors)
