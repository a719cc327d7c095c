"""The engine of `calibrate`: statistics, what methods learn by running the network, and tuning."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spiking_yolo.apps.calibrate import CalibrateOptions
from spiking_yolo.convert.calibrate import calibrate as run_network
from spiking_yolo.convert.calibration_file import (
    STATISTICS,
    CalibrationFile,
    CalibrationResult,
    destination,
    find_calibration,
    save_calibrations,
)
from spiking_yolo.convert.methods import CALIBRATIONS, DEFAULT, get_recipe, list_methods
from spiking_yolo.convert.statistics import ImageList, Statistics, preprocessed, take_statistics
from spiking_yolo.convert.weight_bits import stored_weights
from spiking_yolo.data.detection import draw, spread
from spiking_yolo.data.formats import open_classification, open_photographs
from spiking_yolo.data.images import Picture
from spiking_yolo.errors import UserError
from spiking_yolo.models.load import Ann
from spiking_yolo.models.load import load_ann as load
from spiking_yolo.options import Progress, drawn, load_ann, silent
from spiking_yolo.recipe import Recipe

# Of --data, whose images are small: images for the statistics.
STATISTICS_IMAGES = 1000


@dataclass(frozen=True)
class Calibrated:
    """A part of a calibration file.

    Attributes:
        path: The file; None where a method needs the statistics only.
        name: "statistics", or the method and the name of its calibration.
        images: Number of images that were used.
        skipped: What is wrong with the images that could not be read.
        kept: Whether the file had this of these images already.
        remark: What to say of it.
    """

    path: Path | None
    name: str
    images: int = 0
    skipped: tuple[str, ...] = ()
    kept: bool = False
    remark: str = ""

    def text(self) -> str:
        """One line about it."""
        if self.path is None:
            return f"method {self.name} needs the statistics only"
        if self.kept:
            return f"{self.name} of these {self.images} images: kept in {self.path}"
        return f"{self.name} of {self.images} images{self.remark}: saved to {self.path}"


def calibrate(
    options: CalibrateOptions,
    on_part: Callable[[Calibrated], Any] = silent,
    progress: Progress = silent,
    say: Callable[[str], Any] = silent,
) -> list[Calibrated]:
    """Write the statistics, and a calibration for each method that learns by running the network.

    Tuning starts from the default method's calibration, which is made first where there is none.

    Args:
        options: Network, images, methods, and where the file goes.
        on_part: Called with each part as soon as it is written.
        progress: Called as the progress of a study.
        say: say(line), called with the figures of tuning.

    Raises:
        UserError: The options or the images do not fit the methods.
    """
    recipes = recipes_of(options)
    ann = load_ann(options)
    folders = _folders(options, ann)
    pictures = list(itertools.chain(*folders))
    if options.limit or options.data:
        number = options.limit or STATISTICS_IMAGES
        pictures = drawn(pictures, replace(options, limit=number))
    path = destination(ann, options.output, options.overwrite_shipped)
    job = _Job(ann, path, pictures, options.data is not None, on_part, progress)
    results: list[Calibrated] = []
    if others := [recipe for recipe in recipes if recipe.calibration.kind != "tuned"]:
        results = job.run(others, options.run_images)
    for recipe in recipes:
        if recipe.calibration.kind == "tuned":
            results += job.tune(recipe, options, folders, say)
    return results


def calibrate_trained(
    weights: Path,
    pictures: Sequence[Picture],
    seed: int = 0,
    on_part: Callable[[Calibrated], Any] = silent,
    progress: Progress = silent,
) -> list[Calibrated]:
    """Calibrate a trained network for the default method, on some of its training images."""
    ann = load(weights)
    small = ann.spec.task == "classify"
    recipe = get_recipe(DEFAULT)
    number = _run_images(recipe, small)
    path = destination(ann)
    job = _Job(ann, path, draw(pictures, number, seed), small, on_part, progress)
    return job.run([recipe])


def recipes_of(options: CalibrateOptions) -> list[Recipe]:
    """The recipes to calibrate for, with the settings applied."""
    name = options.calibration
    if options.tune:
        start = "tuned"
        if CALIBRATIONS.get(name or "", {}).get("calibration.kind") == "tuned":
            start = name
        if options.methods != (DEFAULT,):
            raise UserError(f"--tune is for {DEFAULT}: leave --method out")
        recipes = [get_recipe(DEFAULT, start)]
    elif options.methods == ("all",):
        recipes = [get_recipe(method, name) for method in list_methods()]
    else:
        recipes = [get_recipe(method, name) for method in options.methods]
    settings = dict(options.settings)
    if name:
        settings["calibration.name"] = name
    recipes = [recipe.with_settings(settings) for recipe in recipes]
    if options.videos and not any(recipe.calibration.frames > 1 for recipe in recipes):
        raise UserError("--videos are for what learns from clips: give --calibration video")
    return recipes


@dataclass(frozen=True)
class _Job:
    """A network, the images to calibrate it on, and its file. small: are the images?"""

    ann: Ann
    path: Path
    pictures: Sequence[Picture]
    small: bool
    on_part: Callable[[Calibrated], Any]
    progress: Progress

    def run(self, recipes: Sequence[Recipe], run_images: int | None = None) -> list[Calibrated]:
        """Write the statistics, and what the recipes learn.

        The statistics are written together with what the first recipe learns.

        Args:
            recipes: None of them is tuned.
            run_images: On which the network is run; None for the default of each method.
        """
        statistics, usable, part = self._statistics()
        unsaved = None
        if not part.kept:
            unsaved = statistics
        results = [part]
        if unsaved is not None and not any(recipe.runs_network for recipe in recipes):
            self._save((), unsaved)
        self.on_part(part)
        for recipe in recipes:
            if recipe.runs_network:
                used = spread(usable, run_images or _run_images(recipe, self.small))
                result = self._learn(recipe, statistics, used)
                self._save([result], unsaved)
                unsaved = None
                results.append(Calibrated(self.path, _title(recipe), len(used)))
            else:
                results.append(Calibrated(None, recipe.name))
            self.on_part(results[-1])
        return results

    def tune(
        self,
        recipe: Recipe,
        options: CalibrateOptions,
        folders: Sequence[Sequence[Picture]],
        say: Callable[[str], Any],
    ) -> list[Calibrated]:
        """Tune by a recipe, and write what was learned."""
        from spiking_yolo.apps.tuning import tune

        results: list[Calibrated] = []
        default = find_calibration(self.ann, get_recipe(DEFAULT))
        if default is None:
            results = self.run([get_recipe(DEFAULT)])
            default = CalibrationFile.read(self.path).calibration(DEFAULT, "default")
        start = find_calibration(self.ann, get_recipe(DEFAULT, "tuned"))
        if recipe.calibration.frames == 1 or start is None:
            start = default
        tuned = tune(self.ann, recipe, start.neurons, folders, options, self.progress, say)
        thetas = {
            node.name: tuned.neurons[node.name]["theta"] for node in self.ann.graph.activations
        }
        stored = stored_weights(self.ann.graph, tuned.weights, thetas)
        names = [picture.name for picture in itertools.chain(*folders)]
        names += map(str, options.videos)
        self._save([CalibrationResult.of(recipe, tuned.neurons, names, stored)])
        remark = f" ({tuned.operations:.3g} operations per MAC, error {tuned.error:.3g})"
        results.append(Calibrated(self.path, _title(recipe), len(names), remark=remark))
        self.on_part(results[-1])
        return results

    def _save(
        self, results: Sequence[CalibrationResult], statistics: Statistics | None = None
    ) -> None:
        save_calibrations(self.path, self.ann.sha256, self.ann.imgsz, results, statistics)

    def _statistics(self) -> tuple[Statistics, Sequence[Picture], Calibrated]:
        """Those in the file if they are of these pictures, or new ones, which are not saved yet.

        And the pictures that can be read, and what to say of the statistics.
        """
        ann = self.ann
        names = ImageList.of([picture.name for picture in self.pictures])
        # A missing file, or a damaged one, is made again.
        with suppress(UserError, LookupError):
            file = CalibrationFile.read(self.path)
            same_network = (file.weights_sha256, file.imgsz) == (ann.sha256, ann.imgsz)
            old = file.statistics()
            if old.images == names and same_network:
                return old, self.pictures, Calibrated(self.path, STATISTICS, names.count, kept=True)

        def counted() -> Iterator[Picture]:
            for k, picture in enumerate(self.pictures):
                yield picture
                self.progress("images", k + 1, len(self.pictures))

        statistics, used, skipped = take_statistics(ann.graph, ann.spec, ann.sha256, counted())
        readable = set(used)
        usable = [picture for picture in self.pictures if picture.name in readable]
        return statistics, usable, Calibrated(self.path, STATISTICS, len(used), tuple(skipped))

    def _learn(
        self, recipe: Recipe, statistics: Statistics, pictures: Sequence[Picture]
    ) -> CalibrationResult:
        """What a method learns by running the network on these pictures."""
        parts = itertools.count(1)

        def report(text: str, done: int | None = None, total: int | None = None) -> None:
            """Work of known length has a bar of its own, other parts are counted."""
            if done is None:
                self.progress(recipe.name, next(parts), None, text)
            else:
                self.progress(text, done, total)

        ann = self.ann
        images = preprocessed(pictures, ann.spec)
        neurons = run_network(ann.graph, ann.spec, statistics, recipe, images, report)
        return CalibrationResult.of(recipe, neurons, [picture.name for picture in pictures])


def _title(recipe: Recipe) -> str:
    """The method and the name of its calibration."""
    return f"{recipe.name}, calibration {recipe.calibration.name}"


def _run_images(recipe: Recipe, small: bool) -> int:
    """The number of images that a method runs on: those that train their neurons need more."""
    if recipe.by_gradient:
        photographs, small_images = 128, 1000
    else:
        photographs, small_images = 16, 100
    if small:
        return small_images
    return photographs


def _folders(options: CalibrateOptions, ann: Ann) -> list[list[Picture]]:
    """The pictures, folder by folder."""
    if options.data is None:
        folders: list[list[Picture]] = []
        for path in options.images:
            files = open_photographs([str(path)], training=True)
            folders.append([Picture.file(file) for file in files])
        return folders
    if ann.spec.task != "classify":
        raise UserError(
            "--data takes a dataset of classes, and this network is a detector: give --images DIR"
            " instead"
        )
    return [list(open_classification(options.data, "train").pictures)]
