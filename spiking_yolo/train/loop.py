"""One training loop for detectors and classifiers, on CPU, GPU, and under torchrun on several."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import atomic_write
from spiking_yolo.io.json import write_csv
from spiking_yolo.train import TrainOptions

Rows = list[dict[str, float]]
# Called with (stage, done, total).
Progress = Callable[..., Any]
# Decay of the averaged weights, per step.
AVERAGE = 0.998
# Largest norm of the gradient.
CLIP = 10.0
# Share of the training in which the rate rises.
WARMUP = {"detect": 0.05, "classify": 0.2}
# Options that may change when a training is resumed: paths, and what does not change results.
FREE = {"data", "project", "name", "resume", "init", "device", "workers", "val_every", "calibrate"}
# In percent.
SCORES = {"mAP50": "mAP50", "top1": "top-1"}


def silent(*_: object) -> None:
    """A callback that does nothing."""


def generator(*key: int) -> np.random.Generator:
    """Independent stream of random numbers for a key such as (seed, epoch, index)."""
    return np.random.default_rng(key)


@dataclass(kw_only=True)
class Batches:
    """Which images make the batches of an epoch; it follows from the seed and the epoch.

    Attributes:
        count: Number of images.
        batch: Images per step and process.
        seed: Seed of the order.
        rank: This process.
        world: Number of processes.
    """

    count: int
    batch: int
    seed: int = 0
    rank: int = 0
    world: int = 1

    def epoch(self, epoch: int) -> list[list[int]]:
        """Indices of this rank's images of each batch.

        Every rank gets floor(count / world) images. An incomplete last batch is dropped, unless it
        is the only one.
        """
        shuffled = generator(self.seed, epoch).permutation(self.count)
        own = shuffled[self.rank : self.count // self.world * self.world : self.world].tolist()
        if len(own) < self.batch:
            return [own]
        ends = range(self.batch, len(own) + 1, self.batch)
        return [own[end - self.batch : end] for end in ends]

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return max(1, self.count // self.world // self.batch)


class Task(Protocol):
    """The data of a training and its loss.

    A batch is (images [N, 3, H, W] float in [0, 1] or normalised, targets). `batches` yields those
    of an epoch, and `evaluate` returns the figure of the validation.
    """

    @property
    def steps(self) -> int: ...
    def batches(self, epoch: int) -> Iterable[tuple[Tensor, Any]]: ...
    def loss(self, output: Tensor, targets: Any) -> dict[str, Tensor]: ...
    def evaluate(self, model: nn.Module) -> dict[str, float]: ...


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
    kernels: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for parameter in model.parameters():
        if parameter.ndim > 1:
            kernels.append(parameter)
        else:
            others.append(parameter)
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
        device: Device to train on.

    Attributes:
        average: The averaged model.
        rows: Figures, one row per epoch.
    """

    def __init__(self, model: nn.Module, task: Task, options: TrainOptions, device: torch.device):
        self.model = model.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.task, self.options, self.device = task, options, device
        self.average = AveragedModel(self.model, avg_fn=moving_average, use_buffers=True)
        self.optimizer = make_optimizer(self.model, options.task)
        self.rows: Rows = []

    def run(
        self,
        export: Callable[[nn.Module, Rows], Any] = silent,
        progress: Progress = silent,
        say: Callable[[str], Any] = silent,
    ) -> Rows:
        """Train the epochs that are not done.

        Args:
            export: export(averaged model, rows), called after every epoch.
            progress: progress(epoch, done, total), called after every step.
            say: say(line), called once all of an epoch is on disk.

        Raises:
            UserError: The loss is not finite.
        """
        parallel = dist.is_initialized()
        leader = not parallel or dist.get_rank() == 0
        trained = self.model
        if parallel:
            trained = DistributedDataParallel(self.model)
        epochs, every = self.options.epochs, self.options.val_every
        for epoch in range(len(self.rows), epochs):
            row = {"epoch": epoch + 1, **self._epoch(trained, epoch, progress)}
            if leader and (epoch + 1 == epochs or (epoch + 1) % every == 0):
                row |= self.task.evaluate(self.average.module.eval())
            self.rows.append(row)
            if leader:
                names = dict.fromkeys([name for one in self.rows for name in one])
                write_csv(self.options.folder / "results.csv", self.rows, list(names))
                export(self.average.module, self.rows)
                # At the end, since it finishes the epoch.
                self.save()
                figures = [f"epoch {epoch + 1}/{epochs}: loss {row['loss']:.4g}", *scores(row)]
                say(", ".join(figures))
            if parallel:
                dist.barrier()
        return self.rows

    def _epoch(self, model: nn.Module, epoch: int, progress: Progress) -> dict[str, float]:
        """One pass over the data; means of the loss and of its terms, and the learning rate."""
        model.train()
        options, steps = self.options, self.task.steps
        sums: dict[str, float] = {}
        lr = 0.0
        torch.manual_seed(int(generator(options.seed, epoch).integers(2**63)))
        for step, (images, targets) in enumerate(self.task.batches(epoch)):
            done = (epoch + step / steps) / options.epochs
            lr = learning_rate(done, options.lr or 0.0, WARMUP[options.task])
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            images = images.to(self.device, memory_format=torch.channels_last)
            cuda = self.device.type == "cuda"
            with torch.autocast(self.device.type, torch.bfloat16, enabled=cuda):
                output = model(images)
            terms = self.task.loss(output, targets)
            loss = torch.stack(list(terms.values())).sum()
            if not torch.isfinite(loss):
                raise UserError(
                    f"the loss is not finite in epoch {epoch + 1}: lower --lr (now {options.lr:g})"
                )
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            self.optimizer.step()
            self.average.update_parameters(self.model)
            for name, term in {"loss": loss, **terms}.items():
                sums[name] = sums.get(name, 0.0) + term.item()
            progress(f"epoch {epoch + 1}/{options.epochs}", step + 1, steps)
        return {name: total / steps for name, total in sums.items()} | {"lr": lr}

    def save(self) -> None:
        """Write state.pt, plain tensors and numbers only, so that reading it runs no code."""
        content: dict[str, Any] = {"rows": self.rows, "job": job(self.options)}
        for name, part in self._parts().items():
            content[name] = part.state_dict()
        with atomic_write(self.options.folder / "state.pt") as path:
            try:
                torch.save(content, path)
            except RuntimeError as error:
                # That is what torch raises when the disk is full.
                raise OSError("it did not fit") from error

    def load(self) -> None:
        """Go on from state.pt.

        Raises:
            UserError: It is damaged, or of another job or network.
        """
        path = self.options.folder / "state.pt"
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            changed = [
                name for name, value in job(self.options).items() if saved["job"][name] != value
            ]
            if not changed:
                for name, part in self._parts().items():
                    part.load_state_dict(saved[name])
            self.rows = saved["rows"]
        # torch.load may raise anything for a damaged file.
        except Exception as error:
            raise UserError(
                f"{path} is damaged or of another network: train anew, with another --name"
            ) from error
        if changed:
            raise UserError(
                f"{path.parent} was trained with other options ({', '.join(changed)}): go on with"
                " the same, or choose another --name"
            )

    def _parts(self) -> dict[str, Any]:
        return {"model": self.model, "average": self.average, "optimizer": self.optimizer}


def job(options: TrainOptions) -> dict[str, Any]:
    """The options that must not change when a training is resumed."""
    return {name: value for name, value in asdict(options).items() if name not in FREE}


def best_row(rows: Rows) -> dict[str, float] | None:
    """The last row with the largest mAP50 or top-1; None where no epoch was validated."""
    best = None
    for row in rows:
        score = row.get("mAP50", row.get("top1"))
        if score is not None and (best is None or score >= best.get("mAP50", best.get("top1", 0))):
            best = row
    return best


def scores(row: Mapping[str, float]) -> list[str]:
    return [f"{label} {row[key]:.1f} %" for key, label in SCORES.items() if key in row]
