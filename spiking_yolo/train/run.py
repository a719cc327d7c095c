"""From options to a trained network on disk."""

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spiking_yolo.data.classification import to_arrays
from spiking_yolo.data.detection import draw
from spiking_yolo.data.formats import UNPACKED, open_classification, open_detection, takes
from spiking_yolo.data.images import Picture
from spiking_yolo.errors import UserError
from spiking_yolo.io.distributed import Ranks, has_bf16, processes
from spiking_yolo.io.files import sha256
from spiking_yolo.io.names import size_name
from spiking_yolo.io.run_folder import run_directory
from spiking_yolo.models.classifiers import TORCHVISION
from spiking_yolo.models.load import build_model, load_checkpoint, save_checkpoint
from spiking_yolo.models.spec import Spec
from spiking_yolo.models.yolov1 import YOLOv1, yolov1_spec
from spiking_yolo.train.checkpoint import best_row, planned, plot
from spiking_yolo.train.classify import ClassifyTask, classifier_spec
from spiking_yolo.train.detect import DetectTask, LossWeights, hold_out
from spiking_yolo.train.loop import Progress, Settings, Task, fit, silent
from spiking_yolo.train.options import TrainOptions

DEFAULTS: dict[str, dict[str, Any]] = {
    "detect": {
        "epochs": 60,
        "batch": 16,
        "lr": 1e-3,
        "optimizer": "adamw",
        "weight_decay": 0.05,
        "warmup": 0.05,
    },
    "classify": {
        "epochs": 60,
        "batch": 128,
        "lr": 0.1,
        "optimizer": "sgd",
        "weight_decay": 5e-4,
        "warmup": 0.2,
    },
}
# Options that may change when a training is resumed: paths, what does not change results, and the
# number of epochs, see `lengthened`.
FREE = {
    "data",
    "project",
    "name",
    "resume",
    "init",
    "device",
    "bf16",
    "workers",
    "cache",
    "figures",
}
FREE |= {"epochs", "val_every", "save_every", "calibrate"}
# Of a dataset, printed at most.
NAMES = 5
NOTES = 5


@dataclass(frozen=True)
class TrainingData:
    """The data of a training.

    Attributes:
        spec: Of the network.
        task: Batches, loss and validation.
        pictures: The images to train on, without augmentation.
        notes: Of the datasets.
    """

    spec: Spec
    task: Task
    pictures: Sequence[Picture]
    notes: Sequence[str]


def share(items: Sequence[Any], options: TrainOptions) -> int:
    """Number of items that --fraction keeps, at least one."""
    return max(1, round(options.fraction * len(items)))


def detection(options: TrainOptions, common: dict[str, Any]) -> TrainingData:
    """Data of a detector. common: the options of every task."""
    year = options.year if takes(options.data, "year") else None
    train_set = open_detection(options.data, options.split, year=year)
    if options.holdout:
        train_set, val_set = hold_out(train_set, options.holdout, options.seed)
    else:
        val_set = open_detection(options.data, options.val_split, year=year)
    train_set = train_set.subset(share(train_set.samples, options), options.seed)
    spec = yolov1_spec(train_set.classes, options.imgsz, logistic=not options.linear)
    weights = LossWeights(giou=options.giou, ignore=options.ignore)
    task = DetectTask(
        train=train_set,
        val=val_set,
        spec=spec,
        epochs=options.epochs or 0,
        weights=weights,
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
    unpacked = options.project.parent / UNPACKED
    dataset = open_classification(options.data, options.split, unpacked)
    notes = list(dataset.notes)
    indices: Sequence[int] = range(len(dataset.pictures))
    val_set = None
    if not options.holdout:
        val_set = open_classification(options.data, options.val_split, unpacked)
        notes += val_set.notes
    images, labels = to_arrays(dataset)
    if val_set is None:
        rng = torch.Generator().manual_seed(options.seed)
        shuffled = torch.randperm(len(labels), generator=rng).tolist()
        count = round(len(labels) * (1 - options.holdout))
        indices = shuffled[:count]
        validation = images[shuffled[count:]], labels[shuffled[count:]]
    else:
        validation = to_arrays(val_set)
    indices = draw(indices, share(indices, options), options.seed)
    spec = classifier_spec(dataset.classes, *images.shape[1:3])
    part = images[indices], labels[indices]
    task = ClassifyTask(train=part, val=validation, spec=spec, hole=options.cutout, **common)
    return TrainingData(spec, task, [dataset.pictures[i] for i in indices], notes)


def opening(
    contents: Mapping[str, str], spec: Spec, model: nn.Module, name: str, where: str
) -> list[str]:
    """Lines about the data and the network.

    Args:
        contents: Of the task.
        spec: Of the network.
        model: The network.
        name: Of its architecture.
        where: The device and its precision.
    """
    lines = [f"{split}: {text}" for split, text in contents.items()]
    names = ", ".join(spec.names[:NAMES])
    if len(spec.names) > NAMES:
        names += ", ..."
    lines.append(f"{len(spec.names)} classes: {names}")
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    size = size_name((spec.height, spec.width))
    lines.append(f"{name}: {millions:.2f} M parameters, input {size}, on {where}")
    return lines


def noted(notes: Sequence[str]) -> list[str]:
    """Lines about the first few notes of a dataset."""
    lines = [f"note: {note}" for note in notes[:NOTES]]
    if len(notes) > NOTES:
        lines.append(f"note: and {len(notes) - NOTES} more of this kind")
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
    rows: list[dict[str, float]]
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
    if options.resume and options.epochs is None:
        options = replace(options, epochs=planned(folder))
    for name, default in DEFAULTS[options.task].items():
        if getattr(options, name) is None:
            options = replace(options, **{name: default})
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with processes(device) as ranks:
        return _train(options, ranks, started, command, progress, say)


def _train(
    options: TrainOptions,
    ranks: Ranks,
    started: bool,
    command: str,
    progress: Progress,
    say: Callable[[str], Any],
) -> Trained | None:
    """One process of a training."""
    folder = options.folder
    device = torch.device(ranks.device)
    if ranks.first:
        run_directory(folder.resolve().parent, folder.resolve().name, exist_ok=True)
    torch.manual_seed(options.seed)
    common: dict[str, Any] = {
        "batch": options.batch,
        "seed": options.seed,
        "rank": ranks.rank,
        "world": ranks.size,
    }
    if options.task == "detect":
        data = detection(options, common)
    else:
        data = classification(options, common)
    spec = data.spec
    task = data.task
    shape = architecture(options)
    model = build_model(
        options.model, spec, {**shape, "activation": "leaky"} if options.anneal else shape
    )
    if options.init is not None:
        initialise(model, options.init, spec)
    facts = provenance(options, command)
    last = folder / "last.safetensors"
    best = folder / "best.safetensors"
    if ranks.first and not started:
        # Of a training that was killed before its first checkpoint.
        best.unlink(missing_ok=True)

    bf16 = options.bf16 == "on" or (options.bf16 == "auto" and has_bf16(device))
    names = {field.name for field in fields(Settings)} - {"clip", "bf16"}
    settings = Settings(**{name: getattr(options, name) for name in names}, bf16=bf16)

    def export(average: nn.Module, rows: list[dict[str, float]]) -> None:
        plot(rows, folder, options.figures)
        usable = annealed(rows, settings)
        if not usable:
            return
        record = facts | {"epochs_done": len(rows), "last": rows[-1]}
        save_checkpoint(last, average, options.model, shape, spec, record)
        if best_row(usable) is rows[-1]:
            save_checkpoint(best, average, options.model, shape, spec, record)

    if not ranks.first:
        progress = say = silent
    where = str(device)
    if ranks.size > 1:
        where += f", {ranks.size} processes"
    if settings.bf16:
        where += " in bfloat16"
    for line in noted(data.notes) + opening(task.contents(), spec, model, options.model, where):
        say(line)
    job = {name: value for name, value in asdict(options).items() if name not in FREE}
    resume = options.resume is not None
    _, rows = fit(model, task, settings, folder, device, resume, export, progress, job, say)
    if not ranks.first:
        return None
    weights = best if best.is_file() else last
    return Trained(weights, rows, best_row(annealed(rows, settings)), data.pictures)


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


def annealed(rows: list[dict[str, float]], settings: Settings) -> list[dict[str, float]]:
    """The rows of the epochs whose activations are annealed completely."""
    return [row for row in rows if row["epoch"] >= settings.anneal * settings.epochs]


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
        "init_sha256": sha256(options.init) if options.init is not None else None,
        "torch": torch.__version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
