"""The engine of `calibrate`: statistics, what methods learn by running the network, and tuning."""

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spiking_yolo.apps.calibrate import CalibrateOptions
from spiking_yolo.convert.calibrate import calibrate as run_network
from spiking_yolo.convert.calibration_file import (
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
from spiking_yolo.options import Progress, drawn, load_ann
from spiking_yolo.recipe import Recipe

# Of --data, whose images are small: images for the statistics.
STATISTICS_IMAGES = 1000


def calibrate(options: CalibrateOptions, say: Callable[[str], Any], progress: Progress) -> "Job":
    """Write the statistics, and a calibration for each method that learns by running the network.

    Tuning starts from the default method's calibration, which is made first where there is none.

    Args:
        options: Network, images, methods, and where the file goes.
        say: say(line), called with what was written, and the figures of tuning.
        progress: Called as the progress of a study.

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
    job = Job(ann, destination(ann, options.output), pictures, say, progress)
    if others := [recipe for recipe in recipes if recipe.calibration.kind != "tuned"]:
        job.run(others, options.run_images)
    for recipe in recipes:
        if recipe.calibration.kind == "tuned":
            job.tune(recipe, options, folders)
    return job


def calibrate_trained(
    weights: Path, pictures: Sequence[Picture], seed: int, say: Callable[[str], Any], bars: Progress
) -> None:
    """Calibrate a trained network for the default method, on some of its training images."""
    ann, recipe = load(weights), get_recipe(DEFAULT)
    number = _run_images(recipe, ann)
    Job(ann, destination(ann), draw(pictures, number, seed), say, bars).run([recipe])


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


@dataclass
class Job:
    """A network, the images to calibrate it on, and its file. skipped: images that are none."""

    ann: Ann
    path: Path
    pictures: Sequence[Picture]
    say: Callable[[str], Any]
    progress: Progress
    skipped: int = 0

    def run(self, recipes: Sequence[Recipe], run_images: int | None = None) -> None:
        """Write the statistics, and what the recipes learn.

        The statistics are written together with what the first recipe learns.

        Args:
            recipes: None of them is tuned.
            run_images: On which the network is run; None for the default of each method.
        """
        statistics, usable, unsaved = self._statistics()
        if unsaved and not any(recipe.runs_network for recipe in recipes):
            self._save((), statistics)
        for recipe in recipes:
            if not recipe.runs_network:
                self.say(f"method {recipe.name} needs the statistics only")
                continue
            used = spread(usable, run_images or _run_images(recipe, self.ann))
            self._save([self._learn(recipe, statistics, used)], statistics if unsaved else None)
            unsaved = False
            self._say_saved(recipe, len(used))

    def tune(
        self, recipe: Recipe, options: CalibrateOptions, folders: Sequence[Sequence[Picture]]
    ) -> None:
        """Tune by a recipe, and write what was learned."""
        from spiking_yolo.apps.tuning import tune

        default = find_calibration(self.ann, get_recipe(DEFAULT))
        if default is None:
            self.run([get_recipe(DEFAULT)])
            default = CalibrationFile.read(self.path).calibration(DEFAULT, "default")
        start = find_calibration(self.ann, get_recipe(DEFAULT, "tuned"))
        if recipe.calibration.frames == 1 or start is None:
            start = default
        tuned = tune(self.ann, recipe, start.neurons, folders, options, self.progress, self.say)
        thetas = {
            node.name: tuned.neurons[node.name]["theta"] for node in self.ann.graph.activations
        }
        stored = stored_weights(self.ann.graph, tuned.weights, thetas)
        names = [picture.name for picture in itertools.chain(*folders)]
        names += map(str, options.videos)
        self._save([CalibrationResult.of(recipe, tuned.neurons, names, stored)])
        self._say_saved(recipe, len(names))

    def _say_saved(self, recipe: Recipe, images: int) -> None:
        name = f"{recipe.name}, calibration {recipe.calibration.name}"
        self.say(f"{name} of {images} images: saved to {self.path}")

    def _save(
        self, results: Sequence[CalibrationResult], statistics: Statistics | None = None
    ) -> None:
        save_calibrations(self.path, self.ann.sha256, self.ann.imgsz, results, statistics)

    def _statistics(self) -> tuple[Statistics, Sequence[Picture], bool]:
        """Those in the file if they are of these pictures, or new ones.

        And the pictures that can be read, and whether the statistics are not in the file yet.
        """
        ann = self.ann
        names = ImageList.of([picture.name for picture in self.pictures])
        # A missing file, or a damaged one, is made again.
        with suppress(UserError, LookupError):
            file = CalibrationFile.read(self.path)
            same_network = (file.weights_sha256, file.imgsz) == (ann.sha256, ann.imgsz)
            old = file.statistics()
            if old.images == names and same_network:
                self.say(f"statistics of these {names.count} images: kept in {self.path}")
                return old, self.pictures, False

        def counted() -> Iterator[Picture]:
            for k, picture in enumerate(self.pictures):
                yield picture
                self.progress("images", k + 1, len(self.pictures))

        statistics, used, skipped = take_statistics(ann.graph, ann.spec, ann.sha256, counted())
        for line in skipped:
            print(f"skipped: {line}", file=sys.stderr)
        self.skipped = len(skipped)
        self.say(f"statistics of {len(used)} images: saved to {self.path}")
        usable = [picture for picture in self.pictures if picture.name in set(used)]
        return statistics, usable, True

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


def _run_images(recipe: Recipe, ann: Ann) -> int:
    """The number of images that a method runs on: those that train their neurons need more."""
    small = ann.spec.task == "classify"
    if recipe.by_gradient:
        return 1000 if small else 128
    return 100 if small else 16


def _folders(options: CalibrateOptions, ann: Ann) -> list[list[Picture]]:
    """The pictures, folder by folder."""
    if options.data is None:
        folders: list[list[Picture]] = []
        for path in options.images:
            files = open_photographs([str(path)], training=True)
            folders.append(list(map(Picture.file, files)))
        return folders
    if ann.spec.task != "classify":
        raise UserError(
            "--data takes a dataset of classes, and this network is a detector: give --images DIR"
            " instead"
        )
    return [list(open_classification(options.data, "train").pictures)]
