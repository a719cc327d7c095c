"""One run of `tune`: its pictures, its checkpoints, its curve and the file that it makes."""

import hashlib
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from spiking_yolo.apps.tune import TuneOptions
from spiking_yolo.convert.calibration_file import (
    CalibrationResult,
    destination,
    find_calibration,
    tunes,
)
from spiking_yolo.convert.equal_slopes import equal_slopes
from spiking_yolo.convert.load import load_calibration, load_statistics
from spiking_yolo.convert.methods import DEFAULT, TUNED, VIDEO, get_recipe
from spiking_yolo.convert.statistics import preprocessed
from spiking_yolo.convert.thresholds import NeuronParameters
from spiking_yolo.convert.train_thresholds import budget
from spiking_yolo.convert.tune_weights import LOWEST, Row, Tuned, Tuning
from spiking_yolo.convert.weight_bits import stored_weights
from spiking_yolo.data.clips import RandomClips, clips_of, frame_times
from spiking_yolo.data.detection import spread
from spiking_yolo.data.formats import open_classification, open_photographs
from spiking_yolo.data.images import Picture, read_image
from spiking_yolo.data.mot import open_sequences
from spiking_yolo.data.unlabelled import RandomPictures
from spiking_yolo.draw.figure import line_plot
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.io.distributed import has_bf16, usable_device
from spiking_yolo.io.files import atomic_write
from spiking_yolo.io.json import json_text, write_json
from spiking_yolo.io.tables import write_csv
from spiking_yolo.models.load import Ann
from spiking_yolo.options import Progress, command_line, load_ann, silent, study_folder, versions
from spiking_yolo.recipe import Recipe

# Fewest pictures from which a network can learn anything that holds for others.
FEWEST = 32
# Pictures of a step of a detector.
BATCH = 4
# Pictures from which the laws of activations are taken, at most.
LAWS = 24
# Files of a run: its checkpoint, the figures of its steps, and what it came to.
STATE, CURVE, CARD = "state.pt", "curve.csv", "card.json"


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        path: The calibration file.
        card: Figures and origin of the file.
        folder: Of the run.
        unreadable: What is wrong with the pictures that were skipped.
    """

    path: Path
    card: Mapping[str, Any]
    folder: Path
    unreadable: Sequence[str]

    def text(self) -> str:
        card = self.card
        return (
            f"{card['operations']:.3g} operations per MAC, error {card['error']:.3g} on"
            f" {card['held_back']} pictures that were held back (step {card['step']} of"
            f" {card['steps']}, {card['images']} pictures): saved to {self.path}"
        )


def tune(
    options: TuneOptions,
    progress: Progress = silent,
    say: Callable[[str], Any] = silent,
) -> Outcome:
    """Tune a network and write its calibration file.

    Args:
        options: Network, pictures, method, and where the files go.
        progress: progress("tuning", done, total), called after every step.
        say: say(line), called with each row of the curve.

    Raises:
        UserError: There are too few pictures, the default method is not calibrated, the run to
            resume is another one, or the loss is not finite before anything was learned.
    """
    recipe = get_recipe(options.method).with_settings(options.settings)
    if not tunes(recipe):
        raise UserError(f"--method {options.method} is not tuned: give {TUNED} or {VIDEO}")
    ann = load_ann(options)
    if recipe.calibration.operations < LOWEST and recipe.calibration.frames == 1:
        warnings.warn(
            Notice(
                f"no network was of use with fewer than {LOWEST:g} operations per MAC so far:"
                " expect lost objects"
            ),
            stacklevel=2,
        )
    default = load_calibration(ann, get_recipe(DEFAULT)).neurons
    fingerprint = load_statistics(ann).fingerprint
    folders, held_back = _pictures(options, ann)
    if options.videos and recipe.calibration.frames == 1:
        raise UserError(f"--videos are for methods that learn from clips: --method {VIDEO}")
    videos = [video for path in options.videos for video in open_sequences(path)]
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    where = usable_device(device)
    folder = study_folder(options, STATE, CARD)
    batch = options.batch or max(BATCH, ann.spec.images_at_once)
    how = ann.spec, batch, options.seed, ann.spec.task
    frames = recipe.calibration.frames
    if frames > 1:
        side = max(ann.spec.height, ann.spec.width)
        clips = [clips_of(video, frame_times(frames), side) for video in videos]
        pictures = RandomClips(folders, *how, frames, clips)
        compared = pictures.others(held_back, len(held_back))
    else:
        pictures = RandomPictures(folders, *how)
        compared = preprocessed(held_back, ann.spec)
    tuning = Tuning(
        ann.graph,
        ann.spec,
        recipe,
        _starts(ann, recipe, default, folders, progress),
        compared,
        where,
        options.bf16 == "on" or (options.bf16 == "auto" and has_bf16(where)),
        options.lr,
    )
    job = {
        "weights": ann.sha256,
        "recipe": recipe.to_json(),
        "pictures": _fingerprint(folders),
        "videos": [video.name for video in videos],
        **{name: getattr(options, name) for name in ("batch", "hold_back", "lr", "seed")},
    }
    say(f"starting from {tuning.start}, scaled to {tuning.goal:g} operations per MAC")
    run = _Run(options, folder, tuning, pictures, job, progress, say)
    run.train(resume=options.resume is not None)
    result = run.result()
    names = tuple(picture.name for part in folders for picture in part)
    names += tuple(video.name for video in videos)
    thetas = {name: result.neurons[name]["theta"] for name in tuning.network.sites}
    stored = stored_weights(ann.graph, result.weights, thetas)
    calibration = CalibrationResult(
        result.neurons, recipe, ann.sha256, ann.imgsz, names, fingerprint, stored
    )
    path = destination(ann, options.output, options.overwrite_shipped).calibration(ann, recipe)
    calibration.save(path)
    card = {
        "file": path.name,
        "weights": ann.weights.name,
        "weights_sha256": ann.sha256,
        "operations": result.operations,
        "error": result.error,
        "start": tuning.start,
        "step": result.step,
        "steps": recipe.calibration.steps,
        "images": len(names) - len(videos),
        "videos": len(videos),
        "held_back": len(held_back),
        "minutes": run.minutes,
        "command": command_line(),
        "versions": versions(),
    }
    write_json(folder / CARD, card, indent=1)
    return Outcome(path, card, folder, list(pictures.unreadable.values()))


def _pictures(options: TuneOptions, ann: Ann) -> tuple[list[list[Picture]], list[Picture]]:
    """The pictures to tune on, folder by folder, and those that are held back.

    As many of each folder are held back, at equal distances; only pictures that can be read are.
    """
    folders: list[list[Picture]] = []
    if options.data is not None:
        if ann.spec.task != "classify":
            raise UserError(
                "--data takes a dataset of classes, and this network is a detector: give --images"
                " DIR instead"
            )
        folders.append(list(open_classification(options.data, "train").pictures))
    for path in options.images:
        files = open_photographs([str(path)], training=True)
        folders.append([Picture.file(file) for file in files])
    count = sum(map(len, folders))
    if count < FEWEST:
        raise UserError(
            f"{count} pictures are too few to tune weights on: give {FEWEST} or more, by any number"
            " of --images; 500 are good"
        )
    held_back: list[Picture] = []
    each = max(1, min(options.hold_back, count // 4) // len(folders))
    for k, pictures in enumerate(folders):
        chosen = [picture for picture in spread(pictures, each) if _readable(picture)]
        held_back += chosen
        folders[k] = [picture for picture in pictures if picture not in chosen]
    return [pictures for pictures in folders if pictures], held_back


def _starts(
    ann: Ann,
    recipe: Recipe,
    default: NeuronParameters,
    folders: Sequence[Sequence[Picture]],
    progress: Progress,
) -> dict[str, NeuronParameters]:
    """What training may start from.

    For clips these are neurons that were tuned on pictures, where there are any. For pictures they
    are the default's, and neurons with equal slopes at the goal, from some pictures of each folder,
    unless the network cannot take so many operations.
    """
    if recipe.calibration.frames > 1:
        tuned = get_recipe(TUNED).with_settings({"calibration.weights": False})
        if find_calibration(ann, tuned).is_file():
            return {"neurons tuned on pictures": load_calibration(ann, tuned).neurons}
        return {"the default": default}
    pictures: list[Picture] = []
    for part in folders:
        chosen = spread(part, LAWS // len(folders))
        pictures += [picture for picture in chosen if _readable(picture)]
    images = preprocessed(pictures, ann.spec)
    goal = budget(ann.graph, recipe.calibration.operations)
    starts = {"the default": default}
    with suppress(UserError):
        neurons = equal_slopes(ann.graph, ann.spec, recipe, images, goal, 0, progress)
        starts["equal slopes"] = neurons
    return starts


def _readable(picture: Picture) -> bool:
    try:
        read_image(picture.source)
    except UserError:
        return False
    return True


def _fingerprint(folders: Sequence[Sequence[Picture]]) -> str:
    """Of the names of the pictures, in their order."""
    names = [[picture.name for picture in pictures] for pictures in folders]
    return hashlib.sha256(json_text(names).encode()).hexdigest()


class _Run:
    """The loop of a tuning, with checkpoints."""

    def __init__(
        self,
        options: TuneOptions,
        folder: Path,
        tuning: Tuning,
        pictures: RandomPictures,
        job: Mapping[str, Any],
        progress: Progress,
        say: Callable[[str], Any],
    ):
        self.options = options
        self.folder = folder
        self.tuning = tuning
        self.pictures = pictures
        self.job = job
        self.progress = progress
        self.say = say
        self.seconds = 0.0

    def train(self, resume: bool) -> None:
        """All steps that are left; fewer where the loss is no longer finite."""
        steps = self.tuning.calibration.steps
        if resume:
            self._load()
            self.say(f"going on after {self.tuning.steps} of {steps} steps")
        self._save()
        saved = began = time.monotonic()
        before = self.seconds
        while self.tuning.steps < steps:
            try:
                self._step()
            except FloatingPointError:
                self._stop()
                return
            now = time.monotonic()
            self.seconds = before + now - began
            self.progress("tuning", self.tuning.steps, steps)
            if now - saved >= 60 * self.options.save_every or self.tuning.steps == steps:
                self._save()
                saved = now

    def _step(self) -> None:
        """One step; where memory runs out, with half as many pictures from then on."""
        rows = len(self.tuning.rows)
        x = self.pictures(self.tuning.steps).to(self.tuning.device)
        try:
            self.tuning.step(x)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            if self.pictures.batch == 1:
                raise UserError(
                    "out of memory with one picture at a time: give a smaller --imgsz"
                ) from None
            self.pictures.batch //= 2
            self.say(f"out of memory: going on with --batch {self.pictures.batch}")
            return
        if len(self.tuning.rows) > rows:
            self.say(line(self.tuning.rows[-1]))
            self._draw()

    def _stop(self) -> None:
        """Say that training has failed, and go on with the best state, if there is one."""
        text = f"the loss is not finite in step {self.tuning.steps + 1}: lower --lr"
        if self.tuning.best is None:
            raise UserError(f"{text} (now {self.options.lr:g})")
        self.say(f"{text}; the best state, of step {self.tuning.best.step}, is kept")

    def result(self) -> Tuned:
        return self.tuning.result()

    @property
    def minutes(self) -> float:
        """Time that the steps have taken, of all processes of the run."""
        return round(self.seconds / 60, 1)

    def _draw(self) -> None:
        """Write the curve as a table and as pictures."""
        rows = self.tuning.rows
        table = [{name: f"{value:.6g}" for name, value in row.items()} for row in rows]
        write_csv(self.folder / CURVE, table, COLUMNS)
        for name, title in (
            ("error", "log error of the answers"),
            ("operations", "digits per MAC"),
        ):
            series: dict[str, tuple[list[float], list[float]]] = {}
            for key, label in ((name, "training"), (f"held_back_{name}", "held back")):
                shown = [row for row in rows if key in row]
                if shown:
                    series[label] = ([row["step"] for row in shown], [row[key] for row in shown])
            path = self.folder / f"{name}.png"
            line_plot(path, series, "step", title, also=self.options.figures)

    def _save(self) -> None:
        content = {
            "tuning": self.tuning.state_dict(),
            "job": dict(self.job),
            "batch": self.pictures.batch,
            "seconds": self.seconds,
        }
        with atomic_write(self.folder / STATE) as path:
            try:
                torch.save(content, path)
            except RuntimeError as error:
                # That is what torch raises when the disk is full.
                raise OSError("it did not fit") from error

    def _load(self) -> None:
        path = self.folder / STATE
        try:
            saved = torch.load(path, map_location=self.tuning.device, weights_only=True)
            before = dict(saved["job"])
        except Exception as error:  # torch.load raises whatever the damage leads to
            raise UserError(f"{path} is damaged or of another version: tune anew") from error
        for name, value in self.job.items():
            if before.get(name) != value:
                raise UserError(
                    f"{self.folder} was tuned with other {WORDS.get(name, f'--{name}')}: give the"
                    " same, or leave --resume out"
                )
        self.tuning.load_state_dict(saved["tuning"])
        self.pictures.batch = saved["batch"]
        self.seconds = saved["seconds"]


# Of the job of a run, as messages say it.
WORDS = {"recipe": "--method or --set", "pictures": "--images", "hold_back": "--hold-back"}
COLUMNS = (
    "step",
    "operations",
    "error",
    "held_back_operations",
    "held_back_error",
)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch is about memory; on a CPU it is a plain RuntimeError."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or "allocate memory" in str(error)


def line(row: Row) -> str:
    """A row of the curve, to print."""
    text = f"step {row['step']:.0f}: {row['operations']:.3f} operations per MAC"
    text += f", error {row['error']:.3f}"
    if "held_back_error" in row:
        text += f"; held back {row['held_back_operations']:.3f}, error {row['held_back_error']:.3f}"
    return text
