"""Where the time of a run goes: convolutions, neurons, pooling, and everything else."""

import time
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from spiking_yolo.convert.converted import Converted
from spiking_yolo.snn.neurons import NeuronLayer
from spiking_yolo.snn.pooling import CumulativeMaxPool
from spiking_yolo.snn.synapses import LinearMap
from spiking_yolo.studies.benchmark.timing import seconds, synchronize

KINDS: dict[type[nn.Module], str] = {LinearMap: "convolutions", NeuronLayer: "neurons", CumulativeMaxPool: "pooling"}


class Stopwatch:
    """Adds up the seconds of a network's modules, by kind and by node, with forward hooks."""

    def __init__(self, network: nn.Module, device: torch.device):
        self._device, self._started = device, 0.0
        self.clear()
        for path, module in network.named_modules():
            kind = next((name for type_, name in KINDS.items() if isinstance(module, type_)), None)
            if kind is not None and path.count(".") <= 2:  # not the members of a pair
                module.register_forward_pre_hook(self._start)
                module.register_forward_hook(self._stop(kind, path.rpartition(".")[2]))

    def clear(self) -> None:
        self.by_kind: dict[str, float] = defaultdict(float)
        self.by_node: dict[str, float] = defaultdict(float)

    def kinds(self, whole: float, n: int) -> dict[str, float]:
        """Milliseconds by kind, and of all else, of one of n parts that took `whole` seconds together."""
        taken = {kind: self.by_kind[kind] for kind in KINDS.values()}
        taken["everything else"] = whole - sum(taken.values())
        return {kind: 1e3 * each / n for kind, each in taken.items()}

    def _start(self, module: nn.Module, args: Any) -> None:
        synchronize(self._device)
        self._started = time.perf_counter()

    def _stop(self, kind: str, node: str) -> Any:
        def stop(module: nn.Module, args: Any, output: Any) -> None:
            synchronize(self._device)
            taken = time.perf_counter() - self._started
            self.by_kind[kind] += taken
            self.by_node[node] += taken

        return stop


def shares(converted: Converted, x: Tensor, T: int, repeats: int) -> dict[str, Any]:
    """Milliseconds per timestep by kind, the means over `repeats` runs after a first one, and the same by node."""
    network = converted.network(x.device)
    stopwatch, device = Stopwatch(network, x.device), torch.device(x.device)
    whole, steps = 0.0, 1
    for turn in range(repeats + 1):
        if turn < 2:
            whole = 0.0
            stopwatch.clear()
        taken, run = seconds(lambda: network.run(x, T), device)
        whole, steps = whole + taken, run.steps
    n = max(repeats, 1) * steps
    by_node = {node: 1e3 * taken / n for node, taken in stopwatch.by_node.items()}
    return {"steps": steps, "ms_per_step": stopwatch.kinds(whole, n), "by_node": by_node}
