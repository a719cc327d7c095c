"""What an evaluation keeps of every image: typed records, made from observations of the network."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from spiking_yolo import __version__
from spiking_yolo.apps.evaluate import EvaluationOptions
from spiking_yolo.apps.evaluate.scoring import Task, exit_step
from spiking_yolo.convert.converted import Converted
from spiking_yolo.data.classification import LabelledSet
from spiking_yolo.data.detection import DetectionSet
from spiking_yolo.io.distributed import Ranks, usable_device
from spiking_yolo.log import prediction_from, run_logged
from spiking_yolo.models.spec import Spec
from spiking_yolo.observe import Forward, Observation, Observer, Prediction

SMALL = 320 * 320  # pixels of a detector


@dataclass(frozen=True, eq=False)
class StepRecord:
    """What an evaluation keeps of an image after t steps.

    Attributes:
        prediction: Boxes or classes, whose classes are the dataset's.
        spikes: Of all layers, so far.
        mean_rate: See Observation.
        sent, events, operations, updates: See StepObservation.
        error: Of the outputs, relative to the ANN's.
        products: See StepObservation.
    """

    t: int
    prediction: Prediction
    spikes: float
    mean_rate: float
    sent: dict[str, float]
    events: dict[str, float]
    operations: dict[str, float]
    updates: float
    error: float
    products: dict[str, float]

    @classmethod
    def of(cls, seen: Observation, t: int, prediction: Prediction) -> "StepRecord":
        step = seen.steps[t]
        return cls(
            t,
            prediction,
            step.total_spikes,
            seen.mean_rate(t),
            step.sent,
            step.events,
            step.operations,
            step.updates,
            seen.error(t),
            step.products,
        )

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "StepRecord":
        return cls(**{**content, "prediction": prediction_from(content["prediction"])})


@dataclass(frozen=True, eq=False)
class ImageRecord:
    """What an evaluation keeps of an image.

    Attributes:
        index: Of the image in the dataset.
        ann: Prediction of the ANN.
        quantised: Bits -> prediction of the ANN with activations of so many bits.
        steps: t -> StepRecord.
        neurons, macs, analogue_macs: See Observation.
        seconds: Of simulating and reading the predictions, without the ANN and the files.
        exit: The step at which early exit stops, None without it.
    """

    index: int
    ann: Prediction
    quantised: dict[int, Prediction]
    steps: dict[int, StepRecord]
    neurons: int
    macs: int
    analogue_macs: int
    seconds: float
    exit: StepRecord | None = None

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "ImageRecord":
        steps, quantised, stop = content["steps"], content["quantised"], content["exit"]
        typed = {
            "ann": prediction_from(content["ann"]),
            "quantised": {int(bits): prediction_from(one) for bits, one in quantised.items()},
            "steps": {int(t): StepRecord.from_json(step) for t, step in steps.items()},
            "exit": stop and StepRecord.from_json(stop),
        }
        return cls(**{**content, **typed})


def observe_images(
    network: Converted,
    task: Task,
    options: EvaluationOptions,
    rivals: Mapping[int, Forward] | None = None,
    folder: Path | None = None,
    ranks: Ranks = Ranks(),
    progress: Callable[[int, int], Any] = lambda done, total: None,
) -> list[ImageRecord]:
    """The records of all images, in order; in processes other than the first an empty list.

    Args:
        network: The converted network.
        task: What is predicted for which images.
        options: Timesteps, batch size and patience of early exit.
        rivals: Bits -> the quantised ANN, whose predictions are recorded too.
        folder, ranks, progress: See `run_logged`.
    """
    steps = options.timesteps
    T, patience = steps[-1], options.early_exit
    batch = options.batch or usual_batch(network.spec)
    device = usable_device(ranks.device)
    spiking = network.network(device)
    graph = network.graph.to(device)
    observer = Observer(spiking, graph, network.spec, task.selection, rivals)
    read = range(1, T + 1) if patience else steps

    def observe(indices: range) -> list[ImageRecord]:
        inputs = map(task.read, indices)
        observations = observer.observe(inputs, T, read, want=("boxes", "ann"), batch=len(indices))
        pairs = zip(indices, observations, strict=True)
        return [_record(index, seen, task, steps, patience) for index, seen in pairs]

    call: dict[str, Any] = {}
    if folder:
        call = {
            **network_call(network, device),
            "data": dataset_call(task.dataset),
            "T": T,
            "steps": steps,
            "batch": batch,
            "bits": sorted(rivals or {}),
            "patience": patience,
            **task.thresholds,
        }
    n = len(task.dataset)
    batches = [range(i, min(i + batch, n)) for i in range(0, n, batch)]
    return run_logged(batches, observe, ImageRecord, call, folder, ranks, progress)


def _record(
    index: int, seen: Observation, task: Task, steps: Sequence[int], patience: int
) -> ImageRecord:
    predictions = {t: task.relabel(step.prediction) for t, step in seen.steps.items()}
    stop = None
    if patience:
        t = exit_step(list(predictions.values()), task.same, patience)
        stop = StepRecord.of(seen, t, predictions[t])
    return ImageRecord(
        index,
        task.relabel(seen.ann),
        {bits: task.relabel(prediction) for bits, prediction in seen.quantised.items()},
        {t: StepRecord.of(seen, t, predictions[t]) for t in steps},
        seen.neurons,
        seen.macs,
        seen.analogue_macs,
        seen.seconds.network + seen.seconds.decode,
        stop,
    )


def network_call(network: Converted, device: torch.device) -> dict[str, Any]:
    """What decides the outputs of a network. A run may be resumed only with an equal one."""
    return {
        "weights_sha256": network.provenance.get("weights_sha256", ""),
        "network_sha256": network.sha256(),
        "recipe": json.loads(network.recipe.to_json()),
        "imgsz": [network.spec.height, network.spec.width],
        "device": device.type,
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


def usual_batch(spec: Spec) -> int:
    """How many images are simulated together. A step of a small detector is spent on calls as much
    as on arithmetic: four at once are 1.4 (one step) to 1.7 times as fast at 320 pixels, and at 416
    1.0 to 1.1 times.
    """
    if spec.task == "classify":
        return spec.images_at_once
    return 4 if spec.height * spec.width <= SMALL else 1
