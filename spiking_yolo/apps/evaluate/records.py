"""The records of a run on disk, one line of JSON per image, so that an interrupted run loses at
most one batch.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from spiking_yolo import __version__
from spiking_yolo.apps.evaluate.tasks import exit_step
from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.output_error import relative_error
from spiking_yolo.data.classification import LabelledSet
from spiking_yolo.data.detection import DetectionSet
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, forward
from spiking_yolo.io.distributed import Ranks, usable_device
from spiking_yolo.io.json import exact_json, flat, json_text
from spiking_yolo.snn.plan import SimulationOptions
from spiking_yolo.snn.readout import Run

Record = dict[str, Any]


class RecordLog:
    """An append-only file. Its first line is the call that made it, every other line one record.

    Each batch is on the disk before `append` returns. JSON keeps floats exactly (shortest decimal
    that reads back).
    """

    def __init__(self, path: Path, call: Mapping[str, Any]):
        """Open the file, or start it. Raises UserError when it was made by another call, naming
        what differs.
        """
        self.path = path
        known, _, self._end = read_log(path)
        if known:
            check_call(known, call, path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}; check the folder") from error
        self._file.truncate(self._end)  # a line that a kill cut off
        if not known:
            self.append([{"call": call}])

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Add records, all or none. Raises UserError when the disk is full; what was there before
        stays.
        """
        data = b"".join(exact_json(record).encode() + b"\n" for record in records)
        written = 0
        try:
            while written < len(data):
                written += self._file.write(data[written:]) or 0
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(self._end)
            raise UserError(
                f"cannot write {self.path}: {error.strerror}; make room and go on with --resume"
                f" {self.path.parent}"
            ) from error
        self._end += written

    def close(self) -> None:
        self._file.close()


def read_log(path: Path) -> tuple[dict[str, Any], list[Record], int]:
    """The call, the records, and how many bytes of the file are whole lines; nothing of a file that
    is not there.

    Raises UserError for a damaged line that is not the last.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}, [], 0
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the path") from error
    whole = data.rfind(b"\n") + 1
    lines = []
    for n, line in enumerate(data[:whole].splitlines(), 1):
        try:
            lines.append(json.loads(line))
        except (ValueError, RecursionError):
            raise UserError(f"{path} line {n} is damaged: start the run anew") from None
    if not lines:
        return {}, [], 0
    if not all(isinstance(line, dict) for line in lines) or not isinstance(
        lines[0].get("call"), dict
    ):
        raise UserError(
            f"{path} does not begin with the call that made it, or holds no records: start the run"
            " anew"
        )
    return lines[0]["call"], lines[1:], whole


def check_call(known: Mapping[str, Any], call: Mapping[str, Any], path: Path) -> None:
    """Raise UserError naming the first setting in which two calls differ."""
    old, new = flat(json.loads(json_text(known))), flat(json.loads(json_text(call)))
    for key in [*new, *old]:
        if old.get(key) != new.get(key):
            raise UserError(
                f"{path.parent} was made with {key}={_short(old.get(key))}, not"
                f" {_short(new.get(key))}: resume with the same settings, or start a new run"
            )


def _short(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


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
        """The network's input [3, H, W] of one image, and whatever `predict` needs to know about
        it.
        """
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

    T: timesteps simulated. steps: where predictions are read, T always. bits: also the ANN with its
    activations quantised to so many bits. patience: for early exit, steps without change after
    which an image stops; 0: none.
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

    quantised: bits -> the ANN with activations of so many bits, for each of options.bits (see
    `quantised`). simulation: how the spiking network is computed; the ANN is always in float32. A
    record is {"index", "ann": prediction, "quantised": {bits: prediction}, "steps": {t: {"found",
    "spikes", "sent", "operations", "updates", "error"}}, "exit": the same with "t", "neurons",
    "activations", "macs", "analogue_macs", "seconds"}; numbers as keys are text. sent, operations:
    by counting, see Snapshot. error: of the output tensors, relative to the ANN's.
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
        self.task, self.options, self.quantised, self.simulation = (
            task,
            options,
            quantised or {},
            simulation,
        )
        self.converted = converted
        self.device = usable_device(device)
        self.graph: Graph = converted.graph.to(self.device)
        self.network = converted.network(self.device, simulation=simulation)

    def batches(self) -> list[range]:
        """The images in groups that are simulated together; always the same, so that rounding is
        too.
        """
        n, size = len(self.task), self.options.batch
        return [range(i, min(i + size, n)) for i in range(0, n, size)]

    @torch.no_grad()
    def records(self, batch: range) -> list[Record]:
        """The records of a batch, in order."""
        task, options = self.task, self.options
        images, contexts = zip(*(task.load(i) for i in batch), strict=True)
        x = torch.stack(images).to(self.device)
        start = time.perf_counter()
        run = self.network.run(
            x, options.T, range(1, options.T + 1) if options.patience else options.steps
        )
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
                t = exit_step(
                    [predictions[t][k] for t in sorted(predictions)], task.same, options.patience
                )
                record["exit"] = {"t": t, **step(t, k)}
            records.append(record)
        return records

    def _read(self, run: Run, contexts: Sequence[Any]) -> dict[int, list[Any]]:
        """Predictions by timestep."""
        predictions: dict[int, list[Any]] = {}
        last, settled = None, []
        for t, snapshot in run.snapshots.items():
            if snapshot.outputs is not last:  # a network that has settled repeats them
                last, settled = (
                    snapshot.outputs,
                    self.task.predict(_cpu(snapshot.outputs), contexts),
                )
            predictions[t] = settled
        return predictions


def _cpu(outputs: Sequence[Tensor]) -> list[Tensor]:
    return [output.cpu() for output in outputs]


def run_records(
    engine: Engine,
    directory: Path | None = None,
    ranks: Ranks = Ranks(),  # noqa: B008
    progress: Callable[[int, int], Any] = lambda done, total: None,
) -> list[Record]:
    """The records of all images, in order; in processes other than the first an empty list.

    directory: keeps the records, and has them from an interrupted run; None keeps nothing.
    progress(done, total) is called first and after each batch, with images of this process. Raises
    UserError for a directory of another call.
    """
    batches, call = engine.batches(), engine_call(engine) if directory else {}
    known = _known(directory, call, ranks)
    missing = ranks.share([batch for batch in batches if not all(i in known for i in batch)])
    log = RecordLog(directory / f"records-{ranks.rank}.jsonl", call) if directory else None
    new: list[Record] = []
    done = len(known) if ranks.size == 1 else 0
    total = done + sum(map(len, missing))
    try:
        progress(done, total)
        for batch in missing:
            records = engine.records(batch)
            if log:
                log.append(records)
            new += records
            progress(done + len(new), total)
    finally:
        if log:
            log.close()
    known |= {record["index"]: record for records in ranks.gather(new) for record in records}
    return [known[i] for batch in batches for i in batch] if ranks.first else []


def _known(directory: Path | None, call: dict[str, Any], ranks: Ranks) -> dict[int, Record]:
    """Records of an interrupted run, the same ones in every process."""
    known: dict[int, Record] = {}
    problem = ""
    try:
        for path in sorted(directory.glob("records-*.jsonl")) if directory and ranks.first else []:
            old, records, _ = read_log(path)
            if old:
                check_call(old, call, path)
            known |= {record["index"]: record for record in records}
    except UserError as error:
        problem = str(error)
    # All processes start together from what the first one has seen, before any of them writes.
    problem, indices = ranks.broadcast((problem, list(known)))
    if problem:
        raise UserError(problem)
    return known if ranks.first else {index: {} for index in indices}


def engine_call(engine: Engine) -> dict[str, Any]:
    """What decides the records. A run may be resumed only with an equal one."""
    converted, spec = engine.converted, engine.converted.spec
    return {
        "weights_sha256": converted.provenance.get("weights_sha256", ""),
        "network_sha256": converted.sha256(),
        "recipe": json.loads(converted.recipe.to_json()),
        "imgsz": [spec.height, spec.width],
        "data": dataset_call(engine.task.dataset),
        **asdict(engine.options),
        **asdict(engine.simulation),
        **engine.task.thresholds,
        "device": engine.device.type,
        "torch": torch.__version__,
        "spiking_yolo": __version__,
    }


def dataset_call(dataset: DetectionSet | LabelledSet) -> dict[str, Any]:
    """Identifies a dataset by its images and what they are to show."""
    return {
        "name": dataset.name,
        "images": len(dataset),
        "sha256": hashlib.sha256("".join(dataset.lines()).encode()).hexdigest(),
    }
