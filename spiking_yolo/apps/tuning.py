"""Tuning of a network for `calibrate --tune`: its pictures, its steps, and its state on disk."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from spiking_yolo.apps.calibrate import CalibrateOptions
from spiking_yolo.convert.calibration_file import find_statistics
from spiking_yolo.convert.statistics import preprocessed
from spiking_yolo.convert.thresholds import NeuronParameters, least_thetas
from spiking_yolo.convert.training import Row, Tuned, Tuning
from spiking_yolo.data.detection import spread
from spiking_yolo.data.images import Picture, read_image
from spiking_yolo.data.mot import VideoSequence, open_sequences
from spiking_yolo.data.unlabelled import RandomClips, RandomPictures, clips_of, frame_times
from spiking_yolo.errors import UserError
from spiking_yolo.io.distributed import usable_device
from spiking_yolo.io.files import atomic_write, cache_folder
from spiking_yolo.io.json import json_text
from spiking_yolo.models.load import Ann
from spiking_yolo.options import Progress
from spiking_yolo.recipe import Recipe

# Fewest pictures from which a network can learn anything that holds for others.
FEWEST = 32
# Pictures on which states are compared, and which are not trained on.
VALIDATION = 48
# Pictures of a step of a detector.
BATCH = 4


def tune(
    ann: Ann,
    recipe: Recipe,
    start: NeuronParameters,
    folders: Sequence[Sequence[Picture]],
    options: CalibrateOptions,
    progress: Progress,
    say: Callable[[str], Any],
) -> Tuned:
    """Tune a network; after an interruption go on with the last state that was saved.

    Args:
        ann: The network.
        recipe: With calibration.kind=tuned.
        start: Parameters of the neurons to start from.
        folders: Pictures without labels.
        options: Videos, batch, seed and device.
        progress: progress("tuning", done, total), called after every step.
        say: say(line), called with the figures of the validation pictures.

    Raises:
        UserError: There are too few pictures, or the loss is not finite before anything was
            learned.
    """
    device = usable_device(options.device)
    folders, validation = _split(folders)
    batch = options.batch or max(BATCH, ann.spec.images_at_once)
    how = ann.spec, batch, options.seed, ann.spec.task
    videos: list[VideoSequence] = []
    for path in options.videos:
        videos += open_sequences(path)
    frames = recipe.calibration.frames
    if frames > 1:
        side = max(ann.spec.height, ann.spec.width)
        times = frame_times(frames)
        clips = [clips_of(video, times, side) for video in videos]
        pictures = RandomClips(folders, *how, frames, clips)
        compared = pictures.others(validation, len(validation))
    else:
        pictures = RandomPictures(folders, *how)
        compared = preprocessed(validation, ann.spec)
    known = find_statistics(ann)
    least: dict[str, torch.Tensor] = {}
    if known is not None:
        least = least_thetas(ann.graph, known.histograms)
    tuning = Tuning(ann.graph, ann.spec, recipe, start, compared, device, least)
    job = {
        "weights": ann.sha256,
        "imgsz": ann.imgsz,
        "recipe": recipe.to_json(),
        "pictures": [[picture.name for picture in part] for part in folders],
        "videos": [video.name for video in videos],
        "batch": batch,
        "seed": options.seed,
    }
    # The same job finds its state again.
    name = hashlib.sha256(json_text(job).encode()).hexdigest()[:16]
    state = cache_folder() / "tuning" / f"{name}.pt"
    _train(tuning, pictures, state, progress, say)
    result = tuning.result()
    state.unlink(missing_ok=True)
    return result


def _split(folders: Sequence[Sequence[Picture]]) -> tuple[list[list[Picture]], list[Picture]]:
    """The pictures to tune on, folder by folder, and those to validate on.

    The latter are as many of each folder, at equal distances, of those that can be read.
    """
    count = sum(map(len, folders))
    if count < FEWEST:
        raise UserError(
            f"{count} pictures are too few to tune on: give {FEWEST} or more, in any number of"
            " folders; 500 are good"
        )
    each = max(1, min(VALIDATION, count // 4) // len(folders))
    validation: list[Picture] = []
    rest: list[list[Picture]] = []
    for pictures in folders:
        chosen = [picture for picture in spread(pictures, each) if _readable(picture)]
        validation += chosen
        rest.append([picture for picture in pictures if picture not in chosen])
    return [pictures for pictures in rest if pictures], validation


def _readable(picture: Picture) -> bool:
    try:
        read_image(picture.source)
    except UserError:
        return False
    return True


def _train(
    tuning: Tuning,
    pictures: RandomPictures,
    state: Path,
    progress: Progress,
    say: Callable[[str], Any],
) -> None:
    """All steps that are left; fewer where the loss is no longer finite."""
    steps = tuning.plan.steps
    if state.is_file():
        try:
            tuning.load_state_dict(torch.load(state, tuning.device, weights_only=True))
        except Exception as error:  # torch.load raises whatever the damage leads to
            raise UserError(f"{state} is damaged: remove it to tune anew") from error
        say(f"going on after {tuning.steps} of {steps} steps")
    else:
        say(f"starting at {tuning.goal:g} operations per MAC")
    while tuning.steps < steps:
        rows = len(tuning.rows)
        try:
            tuning.train_on(pictures(tuning.steps).to(tuning.device))
        except FloatingPointError:
            text = f"the loss is not finite in step {tuning.steps + 1}"
            if tuning.best is None:
                raise UserError(f"{text}: give a larger --batch, or other pictures") from None
            say(f"{text}; the best state, of step {tuning.best.step}, is kept")
            return
        progress("tuning", tuning.steps, steps)
        if len(tuning.rows) > rows:
            say(line(tuning.rows[-1]))
            _save(tuning, state)


def _save(tuning: Tuning, path: Path) -> None:
    with atomic_write(path) as temporary:
        try:
            torch.save(tuning.state_dict(), temporary)
        except RuntimeError as error:
            # That is what torch raises when the disk is full.
            raise OSError("it did not fit") from error


def line(row: Row) -> str:
    """A row of figures, to print."""
    return (
        f"step {row['step']:.0f}: {row['operations']:.3f} operations per MAC, error"
        f" {row['error']:.3f}; validation {row['validation_operations']:.3f}, error"
        f" {row['validation_error']:.3f}"
    )
