"""From a Job (what the user asked for) to a trained network on disk."""

from __future__ import annotations

import datetime
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from spiking_yolo.datasets.classification import to_arrays
from spiking_yolo.datasets.detection import DetectionSet
from spiking_yolo.datasets.open import UNPACKED, open_classification
from spiking_yolo.errors import UserError
from spiking_yolo.io.files import sha256
from spiking_yolo.io.sizes import Size, input_size
from spiking_yolo.models.checkpoint import build_model, load_checkpoint, save_checkpoint
from spiking_yolo.models.spec import Spec
from spiking_yolo.models.yolov1 import YOLOv1, yolov1_spec
from spiking_yolo.train.classify import ClassifyTask, classifier_spec
from spiking_yolo.train.loop import Settings, Task, fit
from spiking_yolo.train.report import plot, progress


@dataclass(frozen=True)
class Job:
    """The options of tools/train.py; see its --help. None: the task's own default (DEFAULTS)."""

    task: str
    model: str
    data: Path
    project: Path = Path("runs/train")
    name: str = "exp"
    epochs: int = 60
    batch: int | None = None
    lr: float | None = None
    optimizer: str | None = None
    weight_decay: float | None = None
    warmup: float | None = None
    ema: float = 0.998
    seed: int = 0
    init: Path | None = None
    resume: bool = False
    val_every: int = 5
    split: str = "train"
    val_split: str | None = None
    year: str = "2012"
    holdout: float = 0.0
    imgsz: int | Size = 320
    activation: str = "relu"
    levels: int = 8
    pool: str | None = None
    linear: bool = False
    anneal: float = 0.0
    mosaic: float = 0.5
    giou: float = 2.0
    ignore: float = 0.6
    cutout: int = 0
    workers: int = 1
    cache: bool = True
    device: str = "auto"
    bf16: str = "auto"


DEFAULTS: dict[str, dict[str, Any]] = {
    "detect": {
        "batch": 16,
        "lr": 1e-3,
        "optimizer": "adamw",
        "weight_decay": 0.05,
        "warmup": 0.05,
        "val_split": "val",
    },
    "classify": {
        "batch": 128,
        "lr": 0.1,
        "optimizer": "sgd",
        "weight_decay": 5e-4,
        "warmup": 0.2,
    },
}


def train(job: Job, command: str) -> dict[str, float]:
    """Run the job; returns the last row of figures, on the first process only.

    The folder project/name gets the checkpoints and curves.
    command: how the user called, for the record. Raises UserError for everything that the user can mend.
    """
    if job.task not in DEFAULTS:
        raise UserError(f"unknown task {job.task!r}: choose one of {', '.join(DEFAULTS)}")
    job = replace(job, **{k: v for k, v in DEFAULTS[job.task].items() if getattr(job, k) is None})
    job = replace(job, imgsz=input_size(job.imgsz))
    if job.epochs < 1 or job.batch is None or job.batch < 1:
        raise UserError("--epochs and --batch must be at least 1")
    folder = job.project / job.name
    if (folder / "state.pt").exists() and not job.resume:
        raise UserError(f"{folder} holds a training already: pass --resume to go on, or another --name")
    device, rank, world = start_processes(job.device)
    torch.manual_seed(job.seed)
    spec, task = (detection if job.task == "detect" else classification)(job, rank, world)
    options = {"activation": job.activation, **({"levels": job.levels} if job.activation == "qcfs" else {})}
    options |= {"pool": job.pool} if job.pool else {}
    model = build_model(job.model, spec, options | ({"activation": "leaky"} if job.anneal else {}))
    if job.init is not None:
        initialise(model, job.init, spec)
    facts = provenance(job, command)

    def export(average: nn.Module, rows: list[dict[str, float]]) -> None:
        plot(rows, folder)
        if len(rows) >= job.anneal * job.epochs:
            record = facts | {"epochs_done": len(rows), "last": rows[-1]}
            save_checkpoint(folder / "last.safetensors", average, job.model, options, spec, record)

    settings = Settings(
        **{k: getattr(job, k) for k in ("epochs", "lr", "optimizer", "weight_decay", "warmup", "ema", "seed")},
        val_every=job.val_every,
        anneal=job.anneal,
        bf16=has_bf16(device) if job.bf16 == "auto" else job.bf16 == "on",
    )
    bar = progress if rank == 0 else (lambda items, label, total: iter(items))
    _, rows = fit(model, task, settings, folder, device, job.resume, export, bar)
    if dist.is_initialized():
        dist.destroy_process_group()
    return rows[-1] if rank == 0 else {}


def detection(job: Job, rank: int, world: int) -> tuple[Spec, Task]:
    from spiking_yolo.train.detect import DetectTask, LossWeights, hold_out

    train_set = load_detection(job.data, job.year, job.split)
    if job.holdout:
        train_set, val_set = hold_out(train_set, job.holdout, job.seed)
    else:
        val_set = load_detection(job.data, job.year, job.val_split or "val")
    spec = yolov1_spec(train_set.classes, job.imgsz, logistic=not job.linear)
    task = DetectTask(
        train_set,
        val_set,
        spec,
        epochs=job.epochs,
        batch=job.batch or 1,
        seed=job.seed,
        workers=job.workers,
        rank=rank,
        world=world,
        mosaic=job.mosaic,
        weights=LossWeights(giou=job.giou, ignore=job.ignore),
        cache=job.cache,
    )
    return spec, task


def load_detection(data: Path, year: str, split: str) -> DetectionSet:
    """A data.yaml of Ultralytics, or a VOCdevkit folder."""
    if data.suffix in (".yaml", ".yml"):
        from spiking_yolo.datasets.yolo_yaml import load_data_yaml

        return load_data_yaml(data, split)
    from spiking_yolo.datasets.voc import load_voc

    return load_voc(data, year, split)


def classification(job: Job, rank: int, world: int) -> tuple[Spec, Task]:
    sets = [open_classification(job.data, split, job.project.parent / UNPACKED) for split in (job.split, job.val_split)]
    parts = [to_arrays(dataset) for dataset in sets]
    spec = classifier_spec(sets[0].classes, *parts[0][0].shape[1:3])
    train_part, val_part = parts
    if job.holdout:
        kept = round(len(train_part[1]) * (1 - job.holdout))
        shuffled = torch.randperm(len(train_part[1]), generator=torch.Generator().manual_seed(job.seed)).numpy()
        images, labels = train_part
        train_part, val_part = ((images[i], labels[i]) for i in (shuffled[:kept], shuffled[kept:]))
    task = ClassifyTask(
        train_part, val_part, spec, batch=job.batch or 1, seed=job.seed, rank=rank, world=world, hole=job.cutout
    )
    return spec, task


def initialise(model: nn.Module, path: Path, spec: Spec) -> None:
    """Start from darknet weights, or from a checkpoint of the same network.

    An output layer for another number of classes starts afresh, and so do thresholds that the checkpoint lacks.
    """
    if path.suffix == ".weights":
        if not isinstance(model, YOLOv1):
            raise UserError(f"{path} are darknet weights: only --model yolov1 can start from them")
        return model.init_from_darknet(path, spec)
    source = load_checkpoint(path)[0].state_dict()
    own = model.state_dict()
    output = list(own)[-2:]  # weight and bias of the last layer
    missing = {k for k, v in own.items() if k not in source or source[k].shape != v.shape}
    if any(k not in output and not k.endswith("theta") for k in missing):
        raise UserError(f"{path} is another network than --model: pass one of the same layers")
    model.load_state_dict(own | {k: v for k, v in source.items() if k in own and k not in missing})


def start_processes(device: str) -> tuple[torch.device, int, int]:
    """Device, rank and number of processes; torchrun sets the environment that asks for more than one."""
    cuda = torch.cuda.is_available() if device == "auto" else device.startswith("cuda")
    if cuda and not torch.cuda.is_available():
        raise UserError(f"there is no GPU for --device {device}: pass --device cpu")
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if cuda else "gloo")
    index = int(os.environ.get("LOCAL_RANK", 0))
    return torch.device(f"cuda:{index}" if cuda and world > 1 else "cuda" if cuda else "cpu"), rank, world


def has_bf16(device: torch.device) -> bool:
    """Whether bfloat16 arithmetic is native, and hence faster."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(getattr(torch.cpu, "get_capabilities", dict)().get("avx512_bf16", False))


def provenance(job: Job, command: str) -> dict[str, Any]:
    """What the checkpoint says about its training; of the data only the folder's name."""
    asked = {k: v.name if isinstance(v, Path) else v for k, v in asdict(job).items()}
    return {
        "command": command,
        "job": asked,
        "init_sha256": sha256(job.init) if job.init is not None else None,
        "torch": torch.__version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
