"""Images -> predictions at every timestep, as records that JSON keeps exactly. Knows no boxes and no scores."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from spiking_yolo.convert.calibrate_value import relative_error
from spiking_yolo.convert.converted import Converted
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, forward
from spiking_yolo.io.device import usable_device
from spiking_yolo.snn.options import SimulationOptions
from spiking_yolo.snn.record import Run
from spiking_yolo.studies.evaluate.early_exit import exit_step
from spiking_yolo.studies.evaluate.record_log import Record


class EvaluationTask(Protocol):
    """What the engine has to know about a kind of network and its data."""

    @property
    def dataset(self) -> Any:
        """What identifies the images: has `name` and `lines()`."""
        ...

    @property
    def thresholds(self) -> dict[str, Any]:
        """What decides the predictions besides the network's outputs, of JSON's types."""
        ...

    def __len__(self) -> int: ...

    def load(self, index: int) -> tuple[Tensor, Any]:
        """The network's input [3, H, W] of one image, and whatever `predict` needs to know about it."""
        ...

    def predict(self, outputs: Sequence[Tensor], contexts: Sequence[Any]) -> list[Any]:
        """One prediction per image of the batch, of JSON's types; outputs are on the CPU."""
        ...

    def same(self, a: Any, b: Any) -> bool:
        """Whether two predictions of an image count as unchanged, for early exit."""
        ...


@dataclass(frozen=True)
class EngineOptions:
    """What decides the records of an image, besides the network and the data.

    T: timesteps simulated. steps: where predictions are read, T always. bits: also the ANN with its activations
    quantised to so many bits. patience: for early exit, steps without change after which an image stops; 0: none.
    """

    T: int
    steps: tuple[int, ...] = ()
    batch: int = 1
    bits: tuple[int, ...] = ()
    patience: int = 0

    def __post_init__(self) -> None:
        if self.T < 1 or self.batch < 1 or self.patience < 0:
            raise UserError("T and batch must be at least 1, and patience must not be negative")
        object.__setattr__(self, "steps", tuple(sorted({*self.steps, self.T})))


class Engine:
    """A network on a device, ready to make records.

    quantised: bits -> the ANN with activations of so many bits, for each of options.bits (see `quantised`).
    simulation: how the spiking network is computed; the ANN is always in float32.
    A record is {"index", "ann": prediction, "quantised": {bits: prediction}, "steps": {t: {"found", "spikes", "sent",
    "operations", "updates", "error"}}, "exit": the same with "t", "neurons", "activations", "macs", "analogue_macs",
    "seconds"}; numbers as keys are text. sent, operations: by counting, see Snapshot. error: of the output tensors,
    relative to the ANN's.
    """

    def __init__(
        self,
        converted: Converted,
        task: EvaluationTask,
        options: EngineOptions,
        device: str | torch.device = "cpu",
        quantised: Mapping[int, Callable[[Tensor], tuple[Tensor, ...]]] | None = None,
        simulation: SimulationOptions = SimulationOptions(),
    ):
        self.task, self.options, self.quantised, self.simulation = task, options, quantised or {}, simulation
        self.converted = converted
        self.device = usable_device(device)
        self.graph: Graph = converted.graph.to(self.device)
        self.network = converted.network(self.device, simulation=simulation)

    def batches(self) -> list[range]:
        """The images in groups that are simulated together; always the same, so that rounding is too."""
        n, size = len(self.task), self.options.batch
        return [range(i, min(i + size, n)) for i in range(0, n, size)]

    @torch.no_grad()
    def records(self, batch: range) -> list[Record]:
        """The records of a batch, in order."""
        task, options = self.task, self.options
        images, contexts = zip(*(task.load(i) for i in batch), strict=True)
        x = torch.stack(images).to(self.device)
        start = time.perf_counter()
        run = self.network.run(x, options.T, range(1, options.T + 1) if options.patience else options.steps)
        predictions = self._read(run, contexts)
        seconds = (time.perf_counter() - start) / len(batch)

        expected = _cpu(forward(self.graph, x))
        ann = task.predict(expected, contexts)
        quantised = {str(b): task.predict(_cpu(f(x)), contexts) for b, f in self.quantised.items()}

        def step(t: int, k: int) -> dict[str, Any]:
            snapshot = run.snapshots[t]
            outputs = [output[k].cpu() for output in snapshot.outputs]
            return {
                "found": predictions[t][k],
                "spikes": sum(total[k].item() for total in snapshot.spikes.values()),
                "sent": snapshot.sent.of_image(k),
                "operations": snapshot.operations.of_image(k),
                "updates": snapshot.updates[k].item(),
                "error": relative_error(outputs, [output[k] for output in expected]),
            }

        records: list[Record] = []
        for k, index in enumerate(batch):
            record = {
                "index": index,
                "ann": ann[k],
                "quantised": {bits: of_bits[k] for bits, of_bits in quantised.items()},
                "steps": {str(t): step(t, k) for t in options.steps},
                "neurons": sum(run.neurons.values()),
                "activations": run.activations,
                "macs": run.macs,
                "analogue_macs": run.analogue_macs,
                "seconds": seconds,
            }
            if options.patience:
                t = exit_step([predictions[t][k] for t in sorted(predictions)], task.same, options.patience)
                record["exit"] = {"t": t, **step(t, k)}
            records.append(record)
        return records

    def _read(self, run: Run, contexts: Sequence[Any]) -> dict[int, list[Any]]:
        """Predictions by timestep."""
        predictions: dict[int, list[Any]] = {}
        last, settled = None, []
        for t, snapshot in run.snapshots.items():
            if snapshot.outputs is not last:  # a network that has settled repeats them
                last, settled = snapshot.outputs, self.task.predict(_cpu(snapshot.outputs), contexts)
            predictions[t] = settled
        return predictions


def _cpu(outputs: Sequence[Tensor]) -> list[Tensor]:
    return [output.cpu() for output in outputs]
