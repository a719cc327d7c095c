"""The work behind tools/calibrate.py: statistics, and what methods learn by running the network."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from spiking_yolo import cli
from spiking_yolo.convert.calibrate import calibrate
from spiking_yolo.convert.calibration_file import CalibrationResult, calibration_path
from spiking_yolo.convert.registry import get_recipe, list_methods
from spiking_yolo.convert.statistics import Statistics, statistics_path, take_statistics
from spiking_yolo.datasets.open import open_classification
from spiking_yolo.errors import UserError
from spiking_yolo.io.images import Picture, preprocess, read_image
from spiking_yolo.io.sources import expand, is_stream
from spiking_yolo.models.load import Ann
from spiking_yolo.models.spec import Spec
from spiking_yolo.recipe import Recipe

RUN_IMAGES = 16  # of --images, that a method runs on
DRAWN, RUN_DRAWN = 1000, 100  # of --data, whose images are small: for the statistics, and that a method runs on


def calibrate_all(args: argparse.Namespace) -> int:
    """Write the files beside the weights; returns the exit status, 1 when images were skipped."""
    settings = cli.parse_settings(args.set)
    recipes = [recipe.with_settings(settings) for recipe in _recipes(args.method)]
    ann = cli.load_ann(args)
    pictures = _pictures(args, ann.spec)
    output = args.output or statistics_path(ann.weights, ann.imgsz)
    statistics, skipped = _statistics(ann, output, pictures)
    good = [picture for picture in pictures if picture.name in set(statistics.images)]
    wanted = args.run_images or (RUN_IMAGES if args.images else RUN_DRAWN)
    for recipe in recipes:
        if recipe.runs_network:
            _run(ann, statistics, recipe, good[:: max(1, len(good) // wanted)][:wanted])
        else:
            print(f"method {recipe.name} needs the statistics only")
    return 1 if skipped else 0


def _pictures(args: argparse.Namespace, spec: Spec) -> list[Picture]:
    """The calibration images: of --images the first, of the training split of --data some that are drawn."""
    if args.images:
        return [Picture.file(path) for path in expand(args.images) if not is_stream(path)][: args.limit]
    if spec.task != "classify":
        raise UserError("--data takes a dataset of classes, and this network is a detector: give --images DIR instead")
    return open_classification(args.data, "train").subset(args.limit or DRAWN, args.seed).pictures


def _recipes(method: str | None) -> list[Recipe]:
    if method == "all":
        return [m.recipe for m in list_methods().values() if m.recipe.runs_network]
    return [get_recipe(method)] if method else []


def _statistics(ann: Ann, output: Path, pictures: Sequence[Picture]) -> tuple[Statistics, list[str]]:
    names = tuple(picture.name for picture in pictures)
    if output.is_file():
        old = Statistics.load(output)
        if (old.images, old.weights_sha256, old.imgsz) == (names, ann.sha256, ann.imgsz):
            print(f"{output} is of these {len(names)} images already")
            return old, []
    bar = tqdm(pictures, "images", unit="image", disable=None)
    statistics, skipped = take_statistics(ann.graph, ann.spec, ann.sha256, bar)
    for reason in skipped:
        print(f"skipped: {reason}", file=sys.stderr)
    statistics.save(output)
    print(f"{len(statistics.images)} images, {len(statistics.histograms)} layers: saved to {output}")
    return statistics, skipped


def _run(ann: Ann, statistics: Statistics, recipe: Recipe, pictures: Sequence[Picture]) -> None:
    images = torch.stack([preprocess(read_image(picture.source), ann.spec)[0] for picture in pictures])
    batches = images.split(ann.spec.images_at_once)
    with tqdm(desc=recipe.name, unit="part", disable=None) as bar:

        def progress(text: str) -> None:
            bar.set_postfix_str(text)
            bar.update()

        sites = calibrate(ann.graph, statistics, recipe, batches, progress)
    output = calibration_path(ann.weights, ann.imgsz, recipe)
    CalibrationResult(sites, recipe, ann.sha256, ann.imgsz, tuple(picture.name for picture in pictures)).save(output)
    print(f"{recipe.name}, run on {len(images)} images: saved to {output}")
