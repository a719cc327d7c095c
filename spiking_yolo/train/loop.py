"""One training loop for detectors and classifiers, on CPU, GPU, and under torchrun on several."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from spiking_yolo.errors import UserError
from spiking_yolo.train.checkpoint import (
    Begun,
    Job,
    Rows,
    State,
    epoch_line,
    generator,
    load_state,
    planned,
    record,
    save_state,
)
from spiking_yolo.train.detect import SmallMaps

# Called with (stage, done, total).
Progress = Callable[..., Any]


def silent(*_: object) -> None:
    """A callback that does nothing."""


class Task(Protocol):
    """The data of a training and its loss.

    A batch is (images [N, 3, H, W] float in [0, 1] or normalised, targets). `contents` describes
    each split, `batches` yields those of an epoch from number `first` on, and `evaluate` returns
    the figures of the validation, none where there is nothing to validate on.
    """

    @property
    def steps(self) -> int: ...
    def contents(self) -> dict[str, str]: ...
    def batches(self, epoch: int, first: int = 0) -> Iterable[tuple[Tensor, Any]]: ...
    def loss(self, output: Tensor, targets: Any) -> dict[str, Tensor]: ...
    def evaluate(self, model: nn.Module) -> dict[str, float]: ...


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes:
        epochs: Passes over the data.
        lr: Peak learning rate.
        optimizer: "adamw" or "sgd" (momentum 0.9, Nesterov).
        weight_decay: Of matrices and kernels.
        warmup: Share of the training in which the learning rate rises linearly; then it falls as a
            cosine (0.3: one-cycle).
        ema: Decay of the averaged weights per step.
        clip: Largest gradient norm.
        bf16: Whether to use bfloat16 autocast.
        val_every: Epochs between validations, 0 for the last only.
        seed: Of everything random.
        anneal: Share of the training in which the slope of leaky ReLUs falls linearly to 0, so that
            a leaky network becomes a ReLU network without a jump; 0 leaves slopes alone.
        save_every: Minutes between checkpoints within an epoch, 0 for one after every step.
    """

    epochs: int
    lr: float
    optimizer: str = "adamw"
    weight_decay: float = 0.05
    warmup: float = 0.05
    ema: float = 0.998
    clip: float = 10.0
    bf16: bool = False
    val_every: int = 5
    seed: int = 0
    anneal: float = 0.0
    save_every: float = 5.0


def learning_rate(progress: float, settings: Settings) -> float:
    """Learning rate at a progress of 0 to 1; it ends at 1 % of the peak."""
    if progress < settings.warmup:
        return settings.lr * (0.01 + 0.99 * progress / settings.warmup)
    fall = (progress - settings.warmup) / max(1 - settings.warmup, 1e-9)
    return settings.lr * (0.01 + 0.99 * (1 + math.cos(math.pi * min(fall, 1))) / 2)


def moving_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Exponential moving average with a decay of (1 + n) / (10 + n) at step n, at most `decay`."""

    def update(average: Tensor, current: Tensor, n: Tensor | int) -> Tensor:
        return average + (current - average) * (1 - min(decay, (1 + int(n)) / (10 + int(n))))

    return update


def set_slope(model: nn.Module, slope: float) -> None:
    """Set the negative slope of every leaky ReLU of the model."""
    for module in model.modules():
        if isinstance(module, nn.LeakyReLU):
            module.negative_slope = slope


def make_optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """An optimizer whose weight decay acts on matrices and kernels only, not on biases, batch norm
    and thresholds.
    """
    kernels = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": kernels, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    match settings.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, lr=settings.lr)
        case "sgd":
            return torch.optim.SGD(groups, lr=settings.lr, momentum=0.9, nesterov=True)
    raise UserError(f"unknown optimizer {settings.optimizer!r}: choose adamw or sgd")


def fit(
    model: nn.Module,
    task: Task,
    settings: Settings,
    folder: Path,
    device: torch.device,
    resume: bool = False,
    export: Callable[[nn.Module, list[dict[str, float]]], None] = silent,
    progress: Progress = silent,
    job: Job | None = None,
    say: Callable[[str], Any] = silent,
) -> tuple[nn.Module, list[dict[str, float]]]:
    """Train; returns the averaged model and one row of figures per epoch.

    Args:
        model: To train.
        task: Its data and loss.
        settings: How to train.
        folder: Gets results.csv after every epoch, and state.pt also within an epoch.
        device: To train on.
        resume: Whether to go on from state.pt, with the same weights and losses as an uninterrupted
            run.
        export: export(model, rows), called after every epoch and on resuming at the end of one.
        progress: progress(epoch, done, total), called after every step.
        job: Options that must be the same when a training is resumed, by default the settings but
            for epochs and save_every.
        say: say(line), called on resuming and once all of an epoch is on disk.

    Raises:
        UserError: The loss is not finite, state.pt is damaged or of another job, or `lengthened`
            refuses the number of epochs.
    """
    model = model.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    ema = AveragedModel(model, avg_fn=moving_average(settings.ema), use_buffers=True)
    optimizer = make_optimizer(model, settings)
    state = State(model, ema, optimizer)
    if job is None:
        job = asdict(settings)
        del job["epochs"], job["save_every"]
    leader = not dist.is_initialized() or dist.get_rank() == 0
    rows: Rows = []
    begun = Begun()
    if resume:
        rows, begun = load_state(state, folder, job)
    if rows or begun.steps:
        other = lengthened(settings, folder, rows, begun, task.steps)
        if leader:
            say(f"going on after {len(rows)} epochs and {begun.steps} of {task.steps} steps{other}")
    if leader and rows:
        # Restores files that were deleted in the meantime.
        record(rows, folder)
        if not begun.steps:
            export(ema.module, rows)
    saved = time.monotonic()

    def checkpoint(begun: Begun) -> None:
        nonlocal saved
        if leader and time.monotonic() - saved >= 60 * settings.save_every:
            save_state(state, rows, folder, job, settings.epochs, begun)
            saved = time.monotonic()

    trained = DistributedDataParallel(model) if dist.is_initialized() else model
    for epoch in range(len(rows), settings.epochs):
        model.train()
        step = partial(progress, f"epoch {epoch + 1}/{settings.epochs}")
        row = {"epoch": epoch + 1.0}
        row |= train_epoch(
            trained, ema, optimizer, task, settings, epoch, device, step, begun, checkpoint
        )
        begun = Begun()
        last = epoch + 1 == settings.epochs
        if leader and (last or (settings.val_every and (epoch + 1) % settings.val_every == 0)):
            row |= task.evaluate(ema.module.eval())
        rows.append(row)
        if leader:
            record(rows, folder)
            export(ema.module, rows)
            # At the end, since it finishes the epoch.
            save_state(state, rows, folder, job, settings.epochs)
            saved = time.monotonic()
            say(epoch_line(row, settings.epochs))
        if dist.is_initialized():
            dist.barrier()
    return ema.module.eval(), rows


def lengthened(settings: Settings, folder: Path, rows: Rows, begun: Begun, steps: int) -> str:
    """A remark about a training that goes on for other epochs than planned, else "".

    Raises:
        UserError: There are fewer epochs than are done, or `anneal` is set, whose slopes would
            change back.
    """
    before = planned(folder)
    if settings.epochs == before:
        return ""
    least = len(rows) + (begun.steps > 0)
    if settings.epochs < least:
        raise UserError(f"{folder} is in epoch {least} already: give --epochs {least} or more")
    if settings.anneal:
        raise UserError(
            f"{folder} was planned with --epochs {before}, and --anneal is a share of them: go on"
            f" with {before}"
        )
    done = len(rows) + begun.steps / steps
    old = learning_rate(done / before, settings)
    new = learning_rate(done / settings.epochs, settings)
    return (
        f", for {settings.epochs} epochs instead of {before}: the learning rate goes from {old:.3g}"
        f" to {new:.3g}, as in a training of {settings.epochs}, whose result this will not have"
    )


def train_epoch(
    model: nn.Module,
    ema: AveragedModel,
    optimizer: torch.optim.Optimizer,
    task: Task,
    settings: Settings,
    epoch: int,
    device: torch.device,
    progress: Callable[[int, int], Any],
    begun: Begun,
    checkpoint: Callable[[Begun], Any],
) -> dict[str, float]:
    """One pass over the data.

    Args:
        model: To train.
        ema: Its averaged weights.
        optimizer: Of the model.
        task: Data and loss.
        settings: How to train.
        epoch: Number of this epoch, from 0.
        device: To train on.
        progress: progress(done, total), called after every step.
        begun: The part of the epoch that is finished already.
        checkpoint: checkpoint(begun), called after every step but the last.

    Returns:
        Means of the loss and of its terms, and the learning rate.
    """
    source = model.module if isinstance(model, DistributedDataParallel) else model
    steps = begun.steps
    sums = dict(begun.sums)
    lr = 0.0
    for images, targets in task.batches(epoch, steps):
        torch.manual_seed(int(generator(settings.seed, epoch, steps).integers(2**63)))
        done = (epoch + steps / task.steps) / settings.epochs
        if settings.anneal:
            slope = 0.1 * max(0.0, 1 - done / settings.anneal)
            set_slope(source, slope)
            set_slope(ema, slope)
        lr = learning_rate(done, settings)
        for group in optimizer.param_groups:
            group["lr"] = lr
        images = images.to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.bf16), SmallMaps():
            output = model(images)
        terms = task.loss(output, targets)
        loss = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(loss):
            raise UserError(
                f"the loss is not finite in epoch {epoch + 1}: lower --lr (now {settings.lr:g})"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimizer.step()
        ema.update_parameters(source)
        steps += 1
        for name, term in {"loss": loss, **terms}.items():
            sums[name] = sums.get(name, 0.0) + term.item()
        progress(steps, task.steps)
        if steps < task.steps:
            checkpoint(Begun(steps, dict(sums)))
    return {name: total / steps for name, total in sums.items()} | {"lr": lr}
