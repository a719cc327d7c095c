"""From options to a trained network on disk."""

import datetime
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spiking_yolo.data.classification import to_arrays
from spiking_yolo.data.formats import open_classification, open_detection
from spiking_yolo.data.images import Picture
from spiking_yolo.errors import UserError
from spiking_yolo.io.distributed import Ranks, processes
from spiking_yolo.io.files import run_directory, sha256
from spiking_yolo.io.names import size_name
from spiking_yolo.models.classifiers import TORCHVISION
from spiking_yolo.models.load import build_model, load_checkpoint, save_checkpoint
from spiking_yolo.models.spec import Spec
from spiking_yolo.models.yolov1 import YOLOv1, yolov1_spec
from spiking_yolo.train import TrainOptions
from spiking_yolo.train.classify import ClassifyTask, classifier_spec
from spiking_yolo.train.detect import DetectTask
from spiking_yolo.train.loop import Progress, Rows, Task, Trainer, best_row, silent


@dataclass(frozen=True)
class TrainingData:
    """The data of a training.

    Attributes:
        spec: Interface of the network.
        task: Batches, loss and validation.
        pictures: The images to train on, without augmentation.
        notes: Lines about the datasets.
    """

    spec: Spec
    task: Task
    pictures: Sequence[Picture]
    notes: Sequence[str]


def training_data(options: TrainOptions, ranks: Ranks) -> TrainingData:
    """Open the datasets, of which this process gets its share."""
    shares: dict[str, Any] = {
        "batch": options.batch,
        "seed": options.seed,
        "rank": ranks.rank,
        "world": ranks.size,
    }
    if options.task == "detect":
        train_set = open_detection(options.data, options.split, training=True)
        val_set = open_detection(options.data, options.val_split)
        spec = yolov1_spec(train_set.classes, options.imgsz)
        pictures = [Picture.file(str(sample.path)) for sample in train_set.samples]
        shares |= {"count": len(train_set), "workers": options.workers}
        task: Task = DetectTask(train=train_set, val=val_set.indexed(), spec=spec, **shares)
    else:
        train_set = open_classification(options.data, options.split or "train")
        val_set = open_classification(options.data, options.val_split)
        images, labels = to_arrays(train_set)
        spec = classifier_spec(train_set.classes, *images.shape[1:3])
        pictures = train_set.pictures
        shares |= {"count": len(labels)}
        task = ClassifyTask(train=(images, labels), val=to_arrays(val_set), spec=spec, **shares)
    if not len(train_set) or not len(val_set):
        raise UserError(f"{options.data} has no images to train on or to validate on")
    notes = [f"note: {note}" for note in dict.fromkeys([*train_set.notes, *val_set.notes])]
    notes.append(f"training: {len(train_set):,} images, validation: {len(val_set):,}")
    return TrainingData(spec, task, pictures, notes)


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        weights: The network of the best validated epoch.
        rows: Figures, one row per epoch.
        best: The row of the best epoch.
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
    """Train a network and write its checkpoints and figures into options.folder.

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
    if (folder / "state.pt").exists() != bool(options.resume):
        raise UserError(
            f"{folder}: give --resume FOLDER to go on with a training that is there, or another"
            " --name to start one"
        )
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with processes(device) as ranks:
        if not ranks.first:
            progress = say = silent
        return _train(options, ranks, command, progress, say)


def _train(
    options: TrainOptions, ranks: Ranks, command: str, progress: Progress, say: Callable[[str], Any]
) -> Trained | None:
    """One process of a training."""
    folder = options.folder
    last, best = folder / "last.safetensors", folder / "best.safetensors"
    if ranks.first:
        run_directory(folder.resolve().parent, folder.resolve().name, exist_ok=True)
    torch.manual_seed(options.seed)
    data = training_data(options, ranks)
    shape = architecture(options)
    model = build_model(options.model, data.spec, shape)
    if options.init is not None:
        initialise(model, options.init)
    trainer = Trainer(model, data.task, options, torch.device(ranks.device))
    facts = provenance(options, command)

    def export(average: nn.Module, rows: Rows) -> None:
        record = facts | {"epochs_done": len(rows), "last": rows[-1]}
        save_checkpoint(last, average, options.model, shape, data.spec, record)
        if best_row(rows) is rows[-1]:
            save_checkpoint(best, average, options.model, shape, data.spec, record)

    for line in data.notes:
        say(line)
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    size = size_name((data.spec.height, data.spec.width))
    say(f"{options.model}: {millions:.2f} M parameters, input {size}, on {ranks.device}")
    if options.resume:
        trainer.load()
        say(f"going on after {len(trainer.rows)} epochs")
    rows = trainer.run(export, progress, say)
    if not ranks.first:
        return None
    return Trained(best, rows, best_row(rows), data.pictures)


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


def initialise(model: nn.Module, path: Path) -> None:
    """Start from darknet weights, or from a checkpoint of the same network.

    An output layer for another number of classes keeps its random weights, and thresholds that the
    checkpoint does not have keep their initial values.

    Raises:
        UserError: The file is of another network.
    """
    if path.suffix == ".weights":
        if not isinstance(model, YOLOv1):
            raise UserError(f"{path} are darknet weights: only --model yolov1 can start from them")
        return model.init_from_darknet(path)
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
    record = asdict(options)
    for name, value in record.items():
        if isinstance(value, Path):
            record[name] = value.name
    return {
        "command": command,
        "job": record,
        "init_sha256": options.init and sha256(options.init),
        "torch": torch.__version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
