"""One training loop for detectors and classifiers, on CPU, GPU, and under torchrun on several."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
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

# (what, how much of it is done, of how much).
Progress = Callable[..., Any]


def silent(*_: object) -> None:
    """For callbacks that are not wanted."""


class Task(Protocol):
    """The data. A batch is (images [N, 3, H, W] float in [0, 1] or normalised, targets).

    contents: how much there is, by split. batches: those of an epoch from number `first` on.
    evaluate: figures of the validation, none where there is nothing to validate on.
    """

    @property
    def steps(self) -> int: ...
    def contents(self) -> dict[str, str]: ...
    def batches(self, epoch: int, first: int = 0) -> Iterable[tuple[Tensor, Any]]: ...
    def loss(self, output: Tensor, targets: Any) -> dict[str, Tensor]: ...
    def evaluate(self, model: nn.Module) -> dict[str, float]: ...


@dataclass(frozen=True)
class Settings:
    """optimizer: "adamw" or "sgd" (momentum 0.9, Nesterov). lr: peak learning rate. warmup: share
    of the training in which it rises linearly; then it falls as a cosine (0.3: one-cycle). ema:
    decay of the averaged weights per step. clip: largest gradient norm. bf16: autocast. val_every:
    epochs between validations, 0 for the last only. anneal: share of the training in which the
    slope of leaky ReLUs falls linearly to 0, so that weights of a leaky network become those of a
    ReLU network without a jump; 0 leaves slopes alone. save_every: minutes between checkpoints
    within an epoch, 0 for one after every step.
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
    """progress: share of the training done, 0..1. Ends at 1 % of the peak."""
    if progress < settings.warmup:
        return settings.lr * (0.01 + 0.99 * progress / settings.warmup)
    fall = (progress - settings.warmup) / max(1 - settings.warmup, 1e-9)
    return settings.lr * (0.01 + 0.99 * (1 + math.cos(math.pi * min(fall, 1))) / 2)


def moving_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Exponential moving average whose memory grows with the steps n, (1 + n) / (10 + n), up to
    `decay`.
    """

    def update(average: Tensor, current: Tensor, n: Tensor | int) -> Tensor:
        return average + (current - average) * (1 - min(decay, (1 + int(n)) / (10 + int(n))))

    return update


def set_slope(model: nn.Module, slope: float) -> None:
    """Give every leaky ReLU of the model this slope on the negative side."""
    for module in model.modules():
        if isinstance(module, nn.LeakyReLU):
            module.negative_slope = slope


def make_optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """Weight decay acts on matrices and kernels only, not on biases, batch norm and thresholds."""
    groups = [
        {
            "params": [p for p in model.parameters() if p.ndim > 1],
            "weight_decay": settings.weight_decay,
        },
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
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

    folder: gets results.csv after every epoch and state.pt within an epoch too; resume=True goes on
    from there with the same weights and losses as an uninterrupted run. export(model, rows) is
    called after every epoch and on resuming at the end of one, progress(epoch, done, total) after
    every step, say(line) on resuming and once all of an epoch is on disk. job: what must be as it
    was when a training is resumed, by default the settings but for the number of epochs and
    checkpoints. Raises UserError when the loss is not finite, for a state.pt that is damaged or of
    another job, and for what `lengthened` refuses.
    """
    model = model.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    ema = AveragedModel(model, avg_fn=moving_average(settings.ema), use_buffers=True)
    optimizer = make_optimizer(model, settings)
    state = State(model, ema, optimizer)
    job = (
        {k: v for k, v in asdict(settings).items() if k not in ("epochs", "save_every")}
        if job is None
        else job
    )
    rows, begun = load_state(state, folder, job) if resume else ([], Begun())
    other = lengthened(settings, folder, rows, begun, task.steps) if rows or begun.steps else ""
    leader = not dist.is_initialized() or dist.get_rank() == 0
    if leader and (rows or begun.steps):
        say(f"going on after {len(rows)} epochs and {begun.steps} of {task.steps} steps{other}")
    if leader and rows:  # what was deleted in the meantime comes back
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
        what = f"epoch {epoch + 1}/{settings.epochs}"
        row = {
            "epoch": epoch + 1.0,
            **train_epoch(
                trained,
                ema,
                optimizer,
                task,
                settings,
                epoch,
                device,
                partial(progress, what),
                begun,
                checkpoint,
            ),
        }
        begun = Begun()
        last = epoch + 1 == settings.epochs
        if leader and (last or (settings.val_every and (epoch + 1) % settings.val_every == 0)):
            row |= task.evaluate(ema.module.eval())
        rows.append(row)
        if leader:
            record(rows, folder)
            export(ema.module, rows)
            # last: with it the epoch is done.
            save_state(state, rows, folder, job, settings.epochs)
            saved = time.monotonic()
            say(epoch_line(row, settings.epochs))
        if dist.is_initialized():
            dist.barrier()
    return ema.module.eval(), rows


def lengthened(settings: Settings, folder: Path, rows: Rows, begun: Begun, steps: int) -> str:
    """What to say of a training that goes on for other epochs than were planned, nothing where they
    are the same.

    Raises UserError where they are too few, and with `anneal`, whose slopes would change back.
    """
    before = planned(folder)
    if settings.epochs == before:
        return ""
    if settings.epochs < (least := len(rows) + (begun.steps > 0)):
        raise UserError(f"{folder} is in epoch {least} already: give --epochs {least} or more")
    if settings.anneal:
        raise UserError(
            f"{folder} was planned with --epochs {before}, and --anneal is a share of them: go on"
            f" with {before}"
        )
    done = len(rows) + begun.steps / steps
    old, new = (
        learning_rate(done / s.epochs, s) for s in (replace(settings, epochs=before), settings)
    )
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
    """One pass over the data. Returns the mean of the loss and of its terms, and the learning rate.

    begun: what is done of it already. checkpoint(begun): called after every step but the last.
    """
    source = model.module if isinstance(model, DistributedDataParallel) else model
    steps, sums, lr = begun.steps, dict(begun.sums), 0.0
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
