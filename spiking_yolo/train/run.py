"""From options to a trained network on disk."""

import datetime
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spiking_yolo.data.classification import to_arrays
from spiking_yolo.data.formats import open_classification, open_detection
from spiking_yolo.data.images import Picture
from spiking_yolo.errors import UserError
from spiking_yolo.io.distributed import Ranks, has_bf16, processes
from spiking_yolo.io.files import run_directory, sha256
from spiking_yolo.io.names import size_name
from spiking_yolo.models.classifiers import TORCHVISION
from spiking_yolo.models.load import build_model, load_checkpoint, save_checkpoint
from spiking_yolo.models.spec import Spec
from spiking_yolo.models.yolov1 import YOLOv1, yolov1_spec
from spiking_yolo.train import TrainOptions
from spiking_yolo.train.classify import ClassifyTask, classifier_spec
from spiking_yolo.train.detect import DetectTask
from spiking_yolo.train.loop import SCORES, Progress, Rows, Task, Trainer, best_row, silent

# Of a dataset, printed at most.
NAMES = 5
NOTES = 5


@dataclass(frozen=True)
class TrainingData:
    """The data of a training.

    Attributes:
        spec: Interface of the network.
        task: Batches, loss and validation.
        pictures: The images to train on, without augmentation.
        notes: Notes on the datasets.
    """

    spec: Spec
    task: Task
    pictures: Sequence[Picture]
    notes: Sequence[str]


def detection(options: TrainOptions, common: dict[str, Any]) -> TrainingData:
    """Data of a detector. common: the options of every task."""
    train_set = open_detection(options.data, options.split, year=options.year, training=True)
    val_set = open_detection(options.data, options.val_split, year=options.year)
    spec = yolov1_spec(train_set.classes, options.imgsz)
    task = DetectTask(
        train=train_set,
        val=val_set,
        spec=spec,
        epochs=options.epochs,
        workers=options.workers,
        mosaic=options.mosaic,
        cache=options.cache,
        **common,
    )
    pictures = [Picture.file(str(sample.path)) for sample in train_set.samples]
    notes = list(dict.fromkeys(train_set.notes + val_set.notes))
    return TrainingData(spec, task, pictures, notes)


def classification(options: TrainOptions, common: dict[str, Any]) -> TrainingData:
    """Data of a classifier. common: the options of every task."""
    train_set = open_classification(options.data, options.split or "train")
    val_set = open_classification(options.data, options.val_split)
    images, labels = to_arrays(train_set)
    spec = classifier_spec(train_set.classes, *images.shape[1:3])
    task = ClassifyTask(train=(images, labels), val=to_arrays(val_set), spec=spec, **common)
    return TrainingData(spec, task, train_set.pictures, [*train_set.notes, *val_set.notes])


def opening(data: TrainingData, model: nn.Module, name: str, where: str) -> list[str]:
    """Lines about the data and the network.

    Args:
        data: Training data.
        model: The network.
        name: Name of its architecture.
        where: The device and its precision.
    """
    lines = [f"note: {note}" for note in data.notes[:NOTES]]
    if len(data.notes) > NOTES:
        lines.append(f"note: and {len(data.notes) - NOTES} more of this kind")
    lines += [f"{split}: {text}" for split, text in data.task.contents().items()]
    spec = data.spec
    names = ", ".join(spec.names[:NAMES])
    if len(spec.names) > NAMES:
        names += ", ..."
    lines.append(f"{len(spec.names)} classes: {names}")
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    size = size_name((spec.height, spec.width))
    lines.append(f"{name}: {millions:.2f} M parameters, input {size}, on {where}")
    return lines


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        weights: The network of the best validated epoch, else of the last one.
        rows: Figures, one row per epoch.
        best: The row of the best epoch; None where no epoch was validated.
        pictures: The images that it was trained on.
    """

    weights: Path
    rows: Rows
    best: dict[str, float] | None
    pictures: Sequence[Picture]


def train(
    options: TrainOptions,
    command: str = "",
    progress: Progress = silent,
    say: Callable[[str], Any] = silent,
) -> Trained | None:
    """Train a network and write its checkpoints and curves into options.folder.

    Calibration (options.calibrate) is up to the caller.

    Args:
        options: What to train, and how.
        command: The user's command, for the record.
        progress: progress(epoch, done, total), called after every step.
        say: say(line), called with a description of the data and after every epoch.

    Returns:
        The training; None on all processes but the first.

    Raises:
        UserError: The options, the data or the folder are not usable.
    """
    folder = options.folder
    started = (folder / "state.pt").exists()
    if options.resume and not started:
        raise UserError(f"{folder} holds no training: leave --resume out to start one")
    if started and not options.resume:
        raise UserError(
            f"{folder} holds a training already: go on with --resume {folder}, or give another"
            " --name"
        )
    device = options.device
    if device == "auto":
        device = "cpu"
        if torch.cuda.is_available():
            device = "cuda"
    with processes(device) as ranks:
        if not ranks.first:
            progress = say = silent
        return _train(options, ranks, command, progress, say)


def _train(
    options: TrainOptions, ranks: Ranks, command: str, progress: Progress, say: Callable[[str], Any]
) -> Trained | None:
    """One process of a training."""
    folder = options.folder
    device = torch.device(ranks.device)
    last, best = folder / "last.safetensors", folder / "best.safetensors"
    if ranks.first:
        run_directory(folder.resolve().parent, folder.resolve().name, exist_ok=True)
        if not options.resume:
            # Of a training that was killed before its first checkpoint.
            best.unlink(missing_ok=True)
    torch.manual_seed(options.seed)
    common = {"batch": options.batch, "seed": options.seed, "rank": ranks.rank, "world": ranks.size}
    data = {"detect": detection, "classify": classification}[options.task](options, common)
    shape = architecture(options)
    model = build_model(options.model, data.spec, shape)
    if options.init is not None:
        initialise(model, options.init, data.spec)
    bf16 = options.bf16 == "on" or (options.bf16 == "auto" and has_bf16(device))
    trainer = Trainer(model, data.task, options, device, bf16)
    facts = provenance(options, command)

    def export(average: nn.Module, rows: Rows) -> None:
        plot(rows, folder)
        record = facts | {"epochs_done": len(rows), "last": rows[-1]}
        save_checkpoint(last, average, options.model, shape, data.spec, record)
        if best_row(rows) is rows[-1]:
            save_checkpoint(best, average, options.model, shape, data.spec, record)

    where = str(device)
    if ranks.size > 1:
        where += f", {ranks.size} processes"
    if bf16:
        where += " in bfloat16"
    for line in opening(data, model, options.model, where):
        say(line)
    if options.resume:
        trainer.load()
        say(f"going on after {len(trainer.rows)} epochs")
    rows = trainer.run(export, progress, say)
    if not ranks.first:
        return None
    weights = last
    if best.is_file():
        weights = best
    return Trained(weights, rows, best_row(rows), data.pictures)


def plot(rows: Rows, folder: Path) -> None:
    """Draw folder/loss.png and, once an epoch was validated, folder/score.png."""
    from spiking_yolo.draw.figure import line_plot

    def series(names: Iterable[str]) -> dict[str, tuple[list[float], list[float]]]:
        lines: dict[str, tuple[list[float], list[float]]] = {}
        for name in names:
            seen = [row for row in rows if name in row]
            if seen:
                lines[name] = [row["epoch"] for row in seen], [row[name] for row in seen]
        return lines

    terms = [name for name in rows[0] if name not in ("epoch", "lr", *SCORES)]
    line_plot(folder / "loss.png", series(terms), "epoch", "loss")
    if curves := series(SCORES):
        line_plot(folder / "score.png", curves, "epoch", "validation, %")


def architecture(options: TrainOptions) -> dict[str, Any]:
    """Arguments of the network's builder, which the checkpoint records."""
    shape: dict[str, Any] = {"activation": options.activation}
    if options.activation == "qcfs":
        shape["levels"] = options.levels
    if options.pool:
        shape["pool"] = options.pool
    if options.model.startswith(TORCHVISION) and shape == {"activation": "relu"}:
        # These networks have their own activations.
        return {}
    return shape


def initialise(model: nn.Module, path: Path, spec: Spec) -> None:
    """Start from darknet weights, or from a checkpoint of the same network.

    An output layer for another number of classes keeps its random weights, and thresholds that the
    checkpoint does not have keep their initial values.

    Raises:
        UserError: The file is of another network.
    """
    if path.suffix == ".weights":
        if not isinstance(model, YOLOv1):
            raise UserError(f"{path} are darknet weights: only --model yolov1 can start from them")
        return model.init_from_darknet(path, spec)
    source = load_checkpoint(path)[0].state_dict()
    own = model.state_dict()
    # Weight and bias of the last layer.
    output = list(own)[-2:]
    for name, value in own.items():
        if name in source and source[name].shape == value.shape:
            own[name] = source[name]
        elif name not in output and not name.endswith("theta"):
            raise UserError(f"{path} is another network than --model: pass one of the same layers")
    model.load_state_dict(own)


def provenance(options: TrainOptions, command: str) -> dict[str, Any]:
    """The checkpoint's record of its training; of paths only the last part."""
    job = asdict(options)
    for name, value in job.items():
        if isinstance(value, Path):
            job[name] = value.name
    return {
        "command": command,
        "job": job,
        "init_sha256": options.init and sha256(options.init),
        "torch": torch.__version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
