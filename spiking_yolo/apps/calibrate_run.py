"""Statistics of a network, and what methods learn by running it: the files of `calibrate`."""

import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spiking_yolo.apps.calibrate import CalibrateOptions
from spiking_yolo.apps.evaluate.quantised import choose
from spiking_yolo.convert.calibrate import calibrate as run_network
from spiking_yolo.convert.calibration_file import (
    CalibrationResult,
    Destination,
    calibrate_command,
    destination,
    tunes,
)
from spiking_yolo.convert.methods import DEFAULT, TUNED, VIDEO, get_recipe, list_methods
from spiking_yolo.convert.statistics import Statistics, preprocessed, take_statistics
from spiking_yolo.data.detection import draw, spread
from spiking_yolo.data.formats import open_classification, open_photographs
from spiking_yolo.data.images import Picture
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.io.assets import command
from spiking_yolo.io.tensors import write_together
from spiking_yolo.models.load import Ann
from spiking_yolo.models.load import load_ann as load
from spiking_yolo.options import Progress, drawn, load_ann, silent
from spiking_yolo.recipe import Recipe

# Images on which the quantisers of the rival ANN are chosen.
QUANTISER_IMAGES = 16
# Of --data, whose images are small: images for the statistics.
STATISTICS_IMAGES = 1000


@dataclass(frozen=True)
class Calibrated:
    """A file of a calibration.

    Attributes:
        path: None where the method needs the statistics only.
        method: None for the statistics.
        images: Number of images that were used.
        layers: Number of layers.
        skipped: What is wrong with the images that could not be read.
        kept: Whether the file was of these images already.
    """

    path: Path | None
    method: str | None = None
    images: int = 0
    layers: int = 0
    skipped: tuple[str, ...] = ()
    kept: bool = False


def calibrate(
    options: CalibrateOptions,
    on_file: Callable[[Calibrated], Any] = silent,
    progress: Progress = silent,
) -> list[Calibrated]:
    """Write the statistics, and a file for each method that learns by running the network.

    The statistics are written together with what the first method has learned from them. For a
    network of the package the files go to the user's cache, see convert/calibration_file.py.

    Args:
        options: Network, images, methods, and where the files go.
        on_file: Called with each file as soon as it is written.
        progress: Called as the progress of a study.
    """
    recipes = _recipes(options.methods)
    if options.quick and not all(recipe.calibration.kind == "trained" for recipe in recipes):
        raise UserError(f"--quick is for methods that train, such as {DEFAULT}: leave it out")
    recipes = [recipe.with_settings(options.changes) for recipe in recipes]
    ann = load_ann(options)
    for recipe in recipes:
        if tunes(recipe):
            raise UserError(f"method {recipe.name} is tuned: use {calibrate_command(ann, recipe)}")
    pictures = _pictures(options, ann)
    files = destination(ann, options.output, options.overwrite_shipped)
    job = _Job(ann, files, pictures, options.images is None, on_file, progress)
    return job.run(recipes, options.run_images)


def calibrate_trained(
    weights: Path,
    pictures: Sequence[Picture],
    seed: int = 0,
    on_file: Callable[[Calibrated], Any] = silent,
    progress: Progress = silent,
) -> list[Calibrated]:
    """Calibrate a trained network for the default method, on some of its training images."""
    ann = load(weights)
    small = ann.spec.task == "classify"
    recipe = get_recipe(DEFAULT)
    number = STATISTICS_IMAGES if small else _run_images(recipe, small)
    job = _Job(ann, destination(ann), draw(pictures, number, seed), small, on_file, progress)
    return job.run([recipe])


@dataclass(frozen=True)
class _Job:
    """A network, the images to calibrate it on, and where its files go. small: are the images?"""

    ann: Ann
    files: Destination
    pictures: Sequence[Picture]
    small: bool
    on_file: Callable[[Calibrated], Any]
    progress: Progress

    def run(self, recipes: Sequence[Recipe], run_images: int | None = None) -> list[Calibrated]:
        """run_images: on which methods run; None for the default of each."""
        results: list[Calibrated] = []

        def report(file: Calibrated) -> None:
            results.append(file)
            self.on_file(file)

        statistics, file = self.statistics()
        unsaved = [] if file.kept else [(self.files.statistics, *statistics.contents())]
        usable = _usable(self.pictures, statistics)
        learning = [recipe for recipe in recipes if recipe.runs_network]
        if file.kept or not learning:
            write_together(unsaved)
            report(file)
        for recipe in learning:
            used = spread(usable, run_images or _run_images(recipe, self.small))
            result = self.run_method(recipe, statistics, used)
            path = self.files.calibration(self.ann, recipe)
            # The calibration is renamed first: beside old statistics it is refused, but new
            # statistics would be accepted beside an old calibration that names none.
            write_together([*unsaved, (path, *result.contents())])
            if file not in results:
                unsaved = []
                report(file)
            report(Calibrated(path, recipe.name, len(used), len(result.neurons)))
        for recipe in recipes:
            if not recipe.runs_network:
                report(Calibrated(None, recipe.name))
        return results

    def statistics(self) -> tuple[Statistics, Calibrated]:
        """Those in the file if they are of these pictures, or new ones, which are not saved yet."""
        names = tuple(picture.name for picture in self.pictures)
        path = self.files.statistics
        # A missing file, or a damaged one, is made again.
        with suppress(UserError):
            old = Statistics.load(path)
            same_network = (old.weights_sha256, old.imgsz) == (self.ann.sha256, self.ann.imgsz)
            if old.quantisers and old.images == names and same_network:
                return old, Calibrated(path, None, len(names), len(old.histograms), kept=True)

        def counted() -> Iterator[Picture]:
            for k, picture in enumerate(self.pictures):
                yield picture
                self.progress("images", k + 1, len(self.pictures))

        graph, spec = self.ann.graph, self.ann.spec
        statistics, skipped = take_statistics(graph, spec, self.ann.sha256, counted())
        usable = _usable(self.pictures, statistics)
        batches = preprocessed(spread(usable, QUANTISER_IMAGES), spec)
        self.progress("quantisers", 1, None)
        statistics = replace(statistics, quantisers=choose(graph, statistics, batches))
        images, layers = len(statistics.images), len(statistics.histograms)
        return statistics, Calibrated(path, None, images, layers, tuple(skipped))

    def run_method(
        self, recipe: Recipe, statistics: Statistics, pictures: Sequence[Picture]
    ) -> CalibrationResult:
        """What a method learns by running the network on these pictures."""
        ann = self.ann
        parts = itertools.count(1)

        def report(text: str, done: int | None = None, total: int | None = None) -> None:
            """Work of known length has a bar of its own, other parts are counted."""
            if done is None:
                self.progress(recipe.name, next(parts), None, text)
            else:
                self.progress(text, done, total)

        images = preprocessed(pictures, ann.spec)
        neurons = run_network(ann.graph, ann.spec, statistics, recipe, images, report)
        names = tuple(picture.name for picture in pictures)
        fingerprint = statistics.fingerprint
        return CalibrationResult(neurons, recipe, ann.sha256, ann.imgsz, names, fingerprint)


def _run_images(recipe: Recipe, small: bool) -> int:
    """The number of images that a method runs on: those that train their neurons need more."""
    if recipe.by_gradient:
        return 1000 if small else 128
    return 100 if small else 16


def _recipes(methods: Sequence[str]) -> list[Recipe]:
    if methods == ("all",):
        tune = f"methods {TUNED} and {VIDEO} are left out: use `{command('tune')}`"
        warnings.warn(Notice(tune), stacklevel=2)
        recipes = [method.recipe for method in list_methods().values()]
        return [recipe for recipe in recipes if recipe.runs_network and not tunes(recipe)]
    return [get_recipe(method) for method in methods]


def _pictures(options: CalibrateOptions, ann: Ann) -> Sequence[Picture]:
    if options.images:
        files = open_photographs([str(options.images)], training=True)
        return [Picture.file(path) for path in drawn(files, options)]
    if ann.spec.task != "classify":
        raise UserError(
            "--data takes a dataset of classes, and this network is a detector: give --images DIR"
            " instead"
        )
    assert options.data is not None
    pictures = open_classification(options.data, "train").pictures
    return drawn(pictures, options if options.limit else replace(options, limit=STATISTICS_IMAGES))


def _usable(pictures: Sequence[Picture], statistics: Statistics) -> list[Picture]:
    """The pictures that could be read when the statistics were taken."""
    names = set(statistics.images)
    return [picture for picture in pictures if picture.name in names]
