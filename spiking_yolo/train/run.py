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
from spiking_yolo.io.distributed import Ranks, processes
from spiking_yolo.io.files import sha256
from spiking_yolo.io.names import size_name
from spiking_yolo.io.run_folder import run_directory
from spiking_yolo.models.classifiers import TORCHVISION
from spiking_yolo.models.load import build_model, load_checkpoint, save_checkpoint
from spiking_yolo.models.spec import Spec
from spiking_yolo.models.yolov1 import YOLOv1, yolov1_spec
from spiking_yolo.snn.plan import fast_bf16
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
# What may change when a training is resumed: where things are, what leaves its results alone, and
# how long it takes, of which `lengthened` has more.
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


NAMES, NOTES = 5, 5  # that are shown


@dataclass(frozen=True)
class TrainingData:
    """A dataset as a training wants it. pictures: those that are trained on, without their
    augmentation.
    """

    spec: Spec
    task: Task
    pictures: Sequence[Picture]
    notes: Sequence[str]


def share(items: Sequence[Any], options: TrainOptions) -> int:
    """How many of the items --fraction is, one at least."""
    return max(1, round(options.fraction * len(items)))


def detection(options: TrainOptions, common: dict[str, Any]) -> TrainingData:
    year = options.year if takes(options.data, "year") else None
    train_set = open_detection(options.data, options.split, year=year)
    if options.holdout:
        train_set, val_set = hold_out(train_set, options.holdout, options.seed)
    else:
        val_set = open_detection(options.data, options.val_split, year=year)
    train_set = train_set.subset(share(train_set.samples, options), options.seed)
    spec = yolov1_spec(train_set.classes, options.imgsz, logistic=not options.linear)
    weights = LossWeights(giou=options.giou, ignore=options.ignore)
    own = {k: getattr(options, k) for k in ("epochs", "workers", "mosaic", "cache")}
    task = DetectTask(train=train_set, val=val_set, spec=spec, weights=weights, **common, **own)
    notes = list(dict.fromkeys(train_set.notes + val_set.notes))
    return TrainingData(
        spec, task, [Picture.file(str(sample.path)) for sample in train_set.samples], notes
    )


def classification(options: TrainOptions, common: dict[str, Any]) -> TrainingData:
    unpacked = options.project.parent / UNPACKED
    splits = (options.split,) if options.holdout else (options.split, options.val_split)
    sets = [open_classification(options.data, split, unpacked) for split in splits]
    (images, labels), *val_parts = (to_arrays(dataset) for dataset in sets)
    spec = classifier_spec(sets[0].classes, *images.shape[1:3])
    chosen: Sequence[int] = range(len(labels))
    if options.holdout:
        kept = round(len(labels) * (1 - options.holdout))
        shuffled = torch.randperm(
            len(labels), generator=torch.Generator().manual_seed(options.seed)
        ).tolist()
        chosen, held = shuffled[:kept], shuffled[kept:]
        val_parts = [(images[held], labels[held])]
    chosen = draw(chosen, share(chosen, options), options.seed)
    train_part = images[chosen], labels[chosen]
    task = ClassifyTask(
        train=train_part, val=val_parts[0], spec=spec, hole=options.cutout, **common
    )
    notes = [note for dataset in sets for note in dataset.notes]
    return TrainingData(spec, task, [sets[0].pictures[i] for i in chosen], notes)


def opening(
    contents: Mapping[str, str], spec: Spec, model: nn.Module, name: str, where: str
) -> list[str]:
    """contents: of a Task. name: of the architecture. where: the device and its precision."""
    names = ", ".join([*spec.names[:NAMES], *(["..."] if len(spec.names) > NAMES else [])])
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    return [
        *(f"{split}: {text}" for split, text in contents.items()),
        f"{len(spec.names)} classes: {names}",
        (
            f"{name}: {millions:.2f} M parameters, input {size_name((spec.height, spec.width))}, on"
            f" {where}"
        ),
    ]


def noted(notes: Sequence[str]) -> list[str]:
    """The notes of a dataset, the first few."""
    more = [f"and {len(notes) - NOTES} more of this kind"] if len(notes) > NOTES else []
    return [f"note: {line}" for line in (*notes[:NOTES], *more)]


@dataclass(frozen=True)
class Trained:
    """weights: the network to use, that of the best validated epoch, or where there is none that of
    the last one.

    rows: figures, one row per epoch. best: that of the best epoch. pictures: as of TrainingData.
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
    """Train the network and write its checkpoints and curves into options.folder; None but on the
    first process.

    command: how the user called, for the record. progress(epoch, done, total) is called after every
    step, say(line) with what has been read, and after every epoch. options.calibrate is the
    caller's matter. Raises UserError for what the user can mend.
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
    defaults = DEFAULTS[options.task] | (
        {"epochs": planned(folder)} if options.resume and options.epochs is None else {}
    )
    options = replace(options, **{k: v for k, v in defaults.items() if getattr(options, k) is None})
    automatic = "cuda" if torch.cuda.is_available() else "cpu"
    with processes(automatic if options.device == "auto" else options.device) as ranks:
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
    folder, device = options.folder, torch.device(ranks.device)
    if ranks.first:
        run_directory(folder.resolve().parent, folder.resolve().name, exist_ok=True)
    torch.manual_seed(options.seed)
    common: dict[str, Any] = {
        "batch": options.batch,
        "seed": options.seed,
        "rank": ranks.rank,
        "world": ranks.size,
    }
    data = (detection if options.task == "detect" else classification)(options, common)
    spec, task = data.spec, data.task
    shape = {
        "activation": options.activation,
        **({"levels": options.levels} if options.activation == "qcfs" else {}),
    }
    shape |= {"pool": options.pool} if options.pool else {}
    if options.model.startswith(TORCHVISION) and shape == {"activation": "relu"}:
        shape = {}  # it has its own activations
    model = build_model(
        options.model, spec, shape | ({"activation": "leaky"} if options.anneal else {})
    )
    if options.init is not None:
        initialise(model, options.init, spec)
    facts = provenance(options, command)
    last, best = (folder / f"{name}.safetensors" for name in ("last", "best"))
    if ranks.first and not started:
        # Of a training that was killed before its first checkpoint.
        best.unlink(missing_ok=True)

    chosen = {
        f.name: getattr(options, f.name) for f in fields(Settings) if f.name not in ("clip", "bf16")
    }
    settings = Settings(
        **chosen, bf16=has_bf16(device) if options.bf16 == "auto" else options.bf16 == "on"
    )

    def export(average: nn.Module, rows: list[dict[str, float]]) -> None:
        plot(rows, folder, options.figures)
        if not (usable := annealed(rows, settings)):
            return
        record = facts | {"epochs_done": len(rows), "last": rows[-1]}
        for path in (last, best) if best_row(usable) is rows[-1] else (last,):
            save_checkpoint(path, average, options.model, shape, spec, record)

    watch, tell = (progress, say) if ranks.first else (silent, silent)
    where = f"{device}, {ranks.size} processes" if ranks.size > 1 else str(device)
    where += " in bfloat16" if settings.bf16 else ""
    for line in (*noted(data.notes), *opening(task.contents(), spec, model, options.model, where)):
        tell(line)
    job = {k: v for k, v in asdict(options).items() if k not in FREE}
    _, rows = fit(
        model, task, settings, folder, device, options.resume is not None, export, watch, job, tell
    )
    if not ranks.first:
        return None
    return Trained(
        best if best.is_file() else last, rows, best_row(annealed(rows, settings)), data.pictures
    )


def annealed(rows: list[dict[str, float]], settings: Settings) -> list[dict[str, float]]:
    """The rows of those epochs whose network is what was asked for."""
    return [row for row in rows if row["epoch"] >= settings.anneal * settings.epochs]


def initialise(model: nn.Module, path: Path, spec: Spec) -> None:
    """Start from darknet weights, or from a checkpoint of the same network.

    An output layer for another number of classes starts afresh, and so do thresholds that the
    checkpoint lacks.
    """
    if path.suffix == ".weights":
        if not isinstance(model, YOLOv1):
            raise UserError(f"{path} are darknet weights: only --model yolov1 can start from them")
        return model.init_from_darknet(path, spec)
    source = load_checkpoint(path)[0].state_dict()
    own = model.state_dict()
    # Weight and bias of the last layer.
    output = list(own)[-2:]
    missing = {k for k, v in own.items() if k not in source or source[k].shape != v.shape}
    if any(k not in output and not k.endswith("theta") for k in missing):
        raise UserError(f"{path} is another network than --model: pass one of the same layers")
    model.load_state_dict(own | {k: v for k, v in source.items() if k in own and k not in missing})


def has_bf16(device: torch.device) -> bool:
    """Whether bfloat16 arithmetic is native, and hence faster."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return fast_bf16()


def provenance(options: TrainOptions, command: str) -> dict[str, Any]:
    """What the checkpoint says about its training; of the data only the folder's name."""
    asked = {k: v.name if isinstance(v, Path) else v for k, v in asdict(options).items()}
    return {
        "command": command,
        "job": asked,
        "init_sha256": sha256(options.init) if options.init is not None else None,
        "torch": torch.__version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
