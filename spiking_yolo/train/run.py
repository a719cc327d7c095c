"""Training, from options to a network on disk: one loop for detectors and classifiers, on
CPU, GPU, and under torchrun on several.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from spiking_yolo.data.datasets import DetectionSet, LabelledSet
from spiking_yolo.data.formats import open_classification, open_detection
from spiking_yolo.data.images import Picture
from spiking_yolo.errors import UserError
from spiking_yolo.io.distributed import Ranks, processes
from spiking_yolo.io.files import Progress, atomic_write, run_directory, silent
from spiking_yolo.io.text import reason, size_name, write_csv
from spiking_yolo.models.load import load_checkpoint, save_checkpoint
from spiking_yolo.models.spec import Spec, check_spec
from spiking_yolo.models.trainable import YOLOv1, build, yolov1_spec
from spiking_yolo.train import TrainOptions
from spiking_yolo.train.augment import SHIFT
from spiking_yolo.train.tasks import ClassifyTask, DetectTask

Task = DetectTask | ClassifyTask
Row = dict[str, float]
# Called with a line.
Say = Callable[[str], Any]
# The decay of the averaged weights per step.
AVERAGE = 0.998
# The largest norm of the gradient.
CLIP = 10.0
# The share of the training in which the rate rises.
WARMUP = {"detect": 0.05, "classify": 0.2}
# Every so many epochs, and after the last, the network is validated.
VALIDATED = 5
# Options that may change when a training is resumed: paths, and what does not change results.
FREE = {"data", "project", "name", "resume", "init", "device", "workers", "calibrate"}


def learning_rate(progress: float, peak: float, warmup: float) -> float:
    """Learning rate at a progress of 0 to 1.

    It rises linearly in the warm-up, then falls as a cosine to 1 % of the peak.
    """
    if progress < warmup:
        return peak * (0.01 + 0.99 * progress / warmup)
    fall = (progress - warmup) / (1 - warmup)
    return peak * (0.01 + 0.99 * (1 + math.cos(math.pi * min(fall, 1))) / 2)


def moving_average(average: Tensor, current: Tensor, n: Tensor | int) -> Tensor:
    """Exponential moving average with a decay of (1 + n) / (10 + n) at step n, at most AVERAGE."""
    return average + (current - average) * (1 - min(AVERAGE, (1 + int(n)) / (10 + int(n))))


def make_optimizer(model: nn.Module, task: str) -> torch.optim.Optimizer:
    """AdamW for detectors, SGD with momentum for classifiers. Weight decay acts on matrices and
    kernels only, not on biases, batch norm and thresholds.
    """
    kernels = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    decay = 0.05 if task == "detect" else 5e-4
    groups = [{"params": kernels, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    if task == "detect":
        return torch.optim.AdamW(groups)
    return torch.optim.SGD(groups, momentum=0.9, nesterov=True)


class Trainer:
    """A training; its state is on disk after every epoch.

    Args:
        model: To train.
        task: Its data and loss.
        options: How to train; `options.folder` gets results.csv and state.pt after every epoch.
        ranks: This process and its device.

    Attributes:
        average: The averaged model.
        rows: Figures, one row per epoch.
    """

    def __init__(
        self, model: nn.Module, task: Task, options: TrainOptions, ranks: Ranks | None = None
    ):
        self.task, self.options, self.ranks = task, options, ranks or Ranks()
        self.device = torch.device(self.ranks.device)
        # Processors without instructions for bfloat16 take longer with it than with float32.
        self.half = self.device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
        self.model = model.to(self.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.average = AveragedModel(self.model, avg_fn=moving_average, use_buffers=True)
        self.optimizer = make_optimizer(self.model, options.task)
        self.rows: list[Row] = []
        batch = options.batch or 1
        among = self.ranks.size, self.ranks.rank
        self.order = DistributedSampler(task, *among, seed=options.seed, drop_last=True)
        self.loader = DataLoader(
            task,
            batch,
            sampler=self.order,
            collate_fn=task.collate,
            num_workers=options.workers,
            # An incomplete last batch, unless it is the only one.
            drop_last=len(self.order) >= batch,
        )

    def run(
        self, export: Callable[[], Any] = silent, progress: Progress = silent, say: Say = silent
    ) -> None:
        """Train the epochs that are not done.

        Args:
            export: export(), called after every epoch.
            progress: progress(epoch, done, total), called after every step.
            say: say(line), called once all of an epoch is on disk.

        Raises:
            UserError: The loss is not finite.
        """
        trained = self.model
        if self.ranks.size > 1:
            trained = DistributedDataParallel(self.model)
        epochs = self.options.epochs
        for epoch in range(len(self.rows), epochs):
            row = {"epoch": epoch + 1, **self._epoch(trained, epoch, progress)}
            self.rows.append(row)
            if self.ranks.first:
                line = f"epoch {epoch + 1}/{epochs}: loss {row['loss']:.4g}"
                if epoch + 1 == epochs or (epoch + 1) % VALIDATED == 0:
                    row[self.task.metric] = self.task.score(self.average.module.eval())
                    line += f", {self.task.metric} {row[self.task.metric]:.1f} %"
                names = dict.fromkeys([name for one in self.rows for name in one])
                write_csv(self.options.folder / "results.csv", self.rows, list(names))
                export()
                # This comes last, since it finishes the epoch.
                self.save()
                say(line)
            if self.ranks.size > 1:
                dist.barrier()

    def _epoch(self, model: nn.Module, epoch: int, progress: Progress) -> Row:
        """One pass over the data; means of the loss and of its terms, and the learning rate."""
        model.train()
        options, steps = self.options, len(self.loader)
        sums: Row = {}
        lr = 0.0
        for step, (images, targets) in enumerate(self._batches(epoch)):
            done = (epoch + step / steps) / options.epochs
            lr = learning_rate(done, options.lr or 0.0, WARMUP[options.task])
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            images = images.to(self.device, memory_format=torch.channels_last)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
                output = model(images)
            terms = self.task.loss(output, targets)
            loss = torch.stack(list(terms.values())).sum()
            if not torch.isfinite(loss):
                raise UserError(f"the loss is not finite: lower --lr (now {options.lr:g})")
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            self.optimizer.step()
            self.average.update_parameters(self.model)
            for name, term in {"loss": loss, **terms}.items():
                sums[name] = sums.get(name, 0.0) + term.item()
            progress(f"epoch {epoch + 1}/{options.epochs}", step + 1, steps)
        return {name: total / steps for name, total in sums.items()} | {"lr": lr}

    def _batches(self, epoch: int) -> Iterator[tuple[Tensor, Any]]:
        """The images and targets of an epoch, whose random numbers follow from the seed."""
        # Workers, which are started anew, get a copy of the task.
        self.task.epoch = epoch
        rng = np.random.default_rng((self.options.seed, epoch, self.ranks.rank))
        torch.manual_seed(int(rng.integers(2**63)))
        self.order.set_epoch(epoch)
        try:
            yield from self.loader
        except UserError as error:
            # torch puts a worker's traceback, as text, before the message.
            raise UserError(str(error).rpartition(f"{UserError.__name__}: ")[2]) from None

    @property
    def best(self) -> Row | None:
        """The last row with the largest score; None where no epoch was scored."""
        scored = [row for row in self.rows if self.task.metric in row]
        return max(reversed(scored), key=lambda row: row[self.task.metric], default=None)

    def save(self) -> None:
        """Write state.pt, plain tensors and numbers only, so that reading it runs no code."""
        content: dict[str, Any] = {"rows": self.rows, "job": job(self.options)}
        for name, part in self._parts().items():
            content[name] = part.state_dict()
        with atomic_write(self.options.folder / "state.pt") as path:
            try:
                torch.save(content, path)
            except RuntimeError as error:
                # torch raises this when the disk is full.
                raise OSError("it did not fit") from error

    def load(self) -> None:
        """Go on from state.pt.

        Raises:
            UserError: It is damaged, or of another job or network.
        """
        path = self.options.folder / "state.pt"
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            own = job(self.options)
            changed = [name for name in own if saved["job"][name] != own[name]]
            if not changed:
                for name, part in self._parts().items():
                    part.load_state_dict(saved[name])
            self.rows = saved["rows"]
        # torch.load may raise anything for a damaged file.
        except Exception as error:
            raise UserError(f"{path} is damaged: train anew, with another --name") from error
        if changed:
            options = f"other options ({', '.join(changed)})"
            raise UserError(f"{path.parent} was trained with {options}: keep them")

    def _parts(self) -> dict[str, Any]:
        return {"model": self.model, "average": self.average, "optimizer": self.optimizer}


def job(options: TrainOptions) -> dict[str, Any]:
    """The options that must not change when a training is resumed."""
    return {name: value for name, value in asdict(options).items() if name not in FREE}


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
        raise UserError(f"{folder}: give --resume FOLDER to go on, or another --name to start")
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
    model = build(options.model, len(task.spec.names), **shape)
    if options.init is not None:
        initialise(model, options.init)
    check_input(model, task.spec, options)
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
        val = open_detection(options.data, options.val_split)
        check_classes(photos, val)
        return DetectTask(photos, val, spec, seed=options.seed), pictures
    images = open_classification(options.data, options.split or "train")
    split = options.val_split or ("val" if (options.data / "val").is_dir() else None)
    val = open_classification(options.data, split)
    check_classes(images, val)
    return ClassifyTask(images, val, seed=options.seed), images.pictures


def check_classes(train: DetectionSet | LabelledSet, val: DetectionSet | LabelledSet) -> None:
    """Raise UserError unless a label, a position among the classes, means the same in both."""
    if train.classes != val.classes:
        problem = f"{val.name} has other classes than {train.name}, or in another order"
        raise UserError(f"{problem}: give both the same")


@torch.no_grad()
def check_input(model: nn.Module, spec: Spec, options: TrainOptions) -> None:
    """Raise UserError unless the network takes such images, and will be read again."""
    try:
        check_spec(spec)
        if min(spec.height, spec.width) <= SHIFT:
            raise ValueError(f"fewer than {SHIFT + 1} pixels")
        model.eval()(torch.zeros(1, 3, spec.height, spec.width))
    except (RuntimeError, ValueError) as error:
        size = size_name((spec.height, spec.width))
        problem = f"--model {options.model} does not take images of {size} pixels"
        raise UserError(f"{problem} ({reason(error)}): give others") from None


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
