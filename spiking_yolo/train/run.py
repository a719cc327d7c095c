"""From options to a trained network on disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spiking_yolo.data.formats import open_classification, open_detection
from spiking_yolo.data.images import Picture
from spiking_yolo.errors import UserError
from spiking_yolo.io.distributed import Ranks, processes
from spiking_yolo.io.files import run_directory
from spiking_yolo.io.names import size_name
from spiking_yolo.models.load import build_model, load_checkpoint, save_checkpoint
from spiking_yolo.models.trainable import YOLOv1, yolov1_spec
from spiking_yolo.train import TrainOptions
from spiking_yolo.train.loop import Progress, Row, Say, Task, Trainer, silent
from spiking_yolo.train.tasks import ClassifyTask, DetectTask


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        weights: The network of the best validated epoch.
        best: The figures of this epoch.
        pictures: The images that it was trained on, without augmentation.
        metric: The figure by which it is the best.
    """

    weights: Path
    best: Row
    pictures: Sequence[Picture]
    metric: str


def train(
    options: TrainOptions, command: str = "", progress: Progress = silent, say: Say = silent
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
    options: TrainOptions, ranks: Ranks, command: str, progress: Progress, say: Say
) -> Trained | None:
    """One process of a training."""
    folder = options.folder
    last, best = folder / "last.safetensors", folder / "best.safetensors"
    if ranks.first:
        run_directory(folder.resolve().parent, folder.resolve().name, exist_ok=True)
    torch.manual_seed(options.seed)
    task, pictures = open_task(options)
    if len(task) < ranks.size or not len(task.val):
        raise UserError(f"{options.data} has no images to train on or to validate on")
    shape = architecture(options)
    model = build_model(options.model, task.spec, shape)
    if options.init is not None:
        initialise(model, options.init)
    trainer = Trainer(model, task, options, ranks)

    def export() -> None:
        rows, average = trainer.rows, trainer.average.module
        record = {"command": command, "epochs_done": len(rows), "last": rows[-1]}
        save_checkpoint(last, average, options.model, shape, task.spec, record)
        if trainer.best is rows[-1]:
            save_checkpoint(best, average, options.model, shape, task.spec, record)

    for note in dict.fromkeys([*task.train.notes, *task.val.notes]):
        say(f"note: {note}")
    say(f"training: {len(task):,} images, validation: {len(task.val):,}")
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    size = size_name((task.spec.height, task.spec.width))
    say(f"{options.model}: {millions:.2f} M parameters, input {size}, on {ranks.device}")
    if options.resume:
        trainer.load()
        say(f"going on after {len(trainer.rows)} epochs")
    trainer.run(export, progress, say)
    if not ranks.first:
        return None
    # The last epoch has a score.
    assert trainer.best is not None
    return Trained(best, trainer.best, pictures, task.metric)


def open_task(options: TrainOptions) -> tuple[Task, Sequence[Picture]]:
    """The data of a training, and the pictures to train on."""
    if options.task == "detect":
        photos = open_detection(options.data, options.split, training=True)
        spec = yolov1_spec(photos.classes, options.imgsz)
        pictures = [Picture.file(str(sample.path)) for sample in photos.samples]
        return DetectTask(photos, open_detection(options.data, options.val_split), spec), pictures
    images = open_classification(options.data, options.split or "train")
    return ClassifyTask(
        images, open_classification(options.data, options.val_split)
    ), images.pictures


def architecture(options: TrainOptions) -> dict[str, Any]:
    """Arguments of the network's builder, which the checkpoint records."""
    shape: dict[str, Any] = {"activation": options.activation}
    if options.activation == "qcfs":
        shape["levels"] = options.levels
    if options.pool:
        shape["pool"] = options.pool
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
