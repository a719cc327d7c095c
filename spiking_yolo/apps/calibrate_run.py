"""The files that conversion needs beside the weights: statistics, and what methods learn by running
the network.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spiking_yolo.apps.calibrate import CalibrateOptions
from spiking_yolo.apps.evaluate.quantised import choose
from spiking_yolo.convert.calibrate import calibrate as run_network
from spiking_yolo.convert.calibration_file import CalibrationResult, Destination, destination
from spiking_yolo.convert.methods import DEFAULT, get_recipe, list_methods
from spiking_yolo.convert.statistics import Statistics, preprocessed, take_statistics
from spiking_yolo.data.detection import draw, spread
from spiking_yolo.data.formats import open_classification, open_photographs
from spiking_yolo.data.images import Picture
from spiking_yolo.errors import UserError
from spiking_yolo.io.tensors import write_together
from spiking_yolo.models.load import Ann
from spiking_yolo.models.load import load_ann as load
from spiking_yolo.options import Progress, drawn, load_ann, silent
from spiking_yolo.recipe import Recipe

# Images on which the quantiser of the rival ANN is chosen.
CHOSEN_ON = 16
# Of --images, that a method runs on.
RUN_IMAGES = 16
# The same, for a method that trains its neurons.
TRAINED, TRAINED_DRAWN = 128, 1000
# Of --data, whose images are small: for the statistics, and that a method runs on.
DRAWN, RUN_DRAWN = 1000, 100


@dataclass(frozen=True)
class Calibrated:
    """One file. method: None for the statistics. path: None where the method needs the statistics
    only.

    images, layers: how many were used. skipped: what is wrong with images that could not be read.
    kept: the file was of these images already.
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
    """Write the statistics and a file per method; on_file is called with each as soon as it is
    written.

    The statistics are written together with what the first method has learned from them. For a
    network of the package the files go to the user's cache, see convert/calibration_file.py.
    """
    recipes = [recipe.with_settings(options.settings) for recipe in _recipes(options.methods)]
    ann = load_ann(options)
    pictures, small = _pictures(options, ann), options.images is None
    where = destination(ann, options.output, options.overwrite_shipped)
    return _calibrate(ann, where, pictures, recipes, small, options.run_images, on_file, progress)


def calibrate_trained(
    weights: Path,
    pictures: Sequence[Picture],
    seed: int = 0,
    on_file: Callable[[Calibrated], Any] = silent,
    progress: Progress = silent,
) -> list[Calibrated]:
    """The statistics and the default method's file of a network, on so many of its training images
    as serve both.
    """
    ann = load(weights)
    small = ann.spec.task == "classify"
    chosen = draw(pictures, DRAWN if small else TRAINED, seed)
    return _calibrate(
        ann, destination(ann), chosen, [get_recipe(DEFAULT)], small, None, on_file, progress
    )


def _calibrate(
    ann: Ann,
    where: Destination,
    pictures: Sequence[Picture],
    recipes: Sequence[Recipe],
    small: bool,
    run_images: int | None,
    on_file: Callable[[Calibrated], Any],
    progress: Progress,
) -> list[Calibrated]:
    files: list[Calibrated] = []

    def done(file: Calibrated) -> None:
        files.append(file)
        on_file(file)

    statistics, file = _statistics(ann, where.statistics, pictures, progress)
    unsaved = [] if file.kept else [(where.statistics, *statistics.contents())]
    good, learning = (
        _usable(pictures, statistics),
        [recipe for recipe in recipes if recipe.runs_network],
    )
    if file.kept or not learning:
        write_together(unsaved)
        done(file)
    for recipe in learning:
        used = spread(good, run_images or _run_images(recipe, small))
        result, path = _run(ann, statistics, recipe, used, progress), where.calibration(ann, recipe)
        # What was learned is renamed first: beside old statistics it is refused, where new
        # statistics would be taken for those of an old calibration that does not say which it was
        # made from.
        write_together([*unsaved, (path, *result.contents())])
        if file not in files:
            unsaved = []
            done(file)
        done(Calibrated(path, recipe.name, len(used), len(result.neurons)))
    for recipe in recipes:
        if not recipe.runs_network:
            done(Calibrated(None, recipe.name))
    return files


def _run_images(recipe: Recipe, small: bool) -> int:
    if recipe.by_gradient:
        return TRAINED_DRAWN if small else TRAINED
    return RUN_DRAWN if small else RUN_IMAGES


def _recipes(methods: Sequence[str]) -> list[Recipe]:
    if methods == ("all",):
        return [m.recipe for m in list_methods().values() if m.recipe.runs_network]
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
    return drawn(pictures, options if options.limit else replace(options, limit=DRAWN))


def _statistics(
    ann: Ann, path: Path, pictures: Sequence[Picture], progress: Progress
) -> tuple[Statistics, Calibrated]:
    """Those in the file at `path` where they are of these pictures, or new ones, which are to be
    saved there.
    """
    names = tuple(picture.name for picture in pictures)
    with suppress(UserError):  # none there, or a damaged one, which is made again
        old = Statistics.load(path)
        if old.quantisers and (old.images, old.weights_sha256, old.imgsz) == (
            names,
            ann.sha256,
            ann.imgsz,
        ):
            return old, Calibrated(path, images=len(names), layers=len(old.histograms), kept=True)

    def counted() -> Iterator[Picture]:
        for k, picture in enumerate(pictures):
            yield picture
            progress("images", k + 1, len(pictures))

    statistics, skipped = take_statistics(ann.graph, ann.spec, ann.sha256, counted())
    batches = preprocessed(spread(_usable(pictures, statistics), CHOSEN_ON), ann.spec)
    progress("quantisers", 1, None)
    statistics = replace(statistics, quantisers=choose(ann.graph, statistics, batches))
    used, layers = len(statistics.images), len(statistics.histograms)
    return statistics, Calibrated(path, images=used, layers=layers, skipped=tuple(skipped))


def _run(
    ann: Ann,
    statistics: Statistics,
    recipe: Recipe,
    pictures: Sequence[Picture],
    progress: Progress,
) -> CalibrationResult:
    parts = itertools.count(1)
    batches = preprocessed(pictures, ann.spec)
    neurons = run_network(
        ann.graph,
        ann.spec,
        statistics,
        recipe,
        batches,
        lambda text: progress(recipe.name, next(parts), None, text),
    )
    names = tuple(picture.name for picture in pictures)
    return CalibrationResult(neurons, recipe, ann.sha256, ann.imgsz, names, statistics.fingerprint)


def _usable(pictures: Sequence[Picture], statistics: Statistics) -> list[Picture]:
    known = set(statistics.images)
    return [picture for picture in pictures if picture.name in known]
