"""The work behind tools/calibrate.py: statistics, and what methods learn by running the network."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from . import cli
from .convert.calibrate import calibrate
from .convert.load import Ann
from .convert.observe import Statistics, statistics_path, take_statistics
from .convert.registry import get_recipe, list_methods
from .convert.state import State, state_path
from .images import fit, read_image
from .recipe import Recipe
from .sources import expand, is_stream


def calibrate_all(args: argparse.Namespace) -> int:
    """Write the files beside the weights; returns the exit status, 1 when images were skipped."""
    settings = cli.parse_settings(args.set)
    recipes = [recipe.with_settings(settings) for recipe in _recipes(args.method)]
    paths = [path for path in expand(args.images) if not is_stream(path)][: args.limit]
    ann = cli.load_ann(args)
    output = args.output or statistics_path(ann.weights, ann.imgsz)
    statistics, skipped = _statistics(ann, output, paths)
    good = [path for path in paths if Path(path).name in set(statistics.images)]
    for recipe in recipes:
        if recipe.runs_network:
            _run(ann, statistics, recipe, good[:: max(1, len(good) // args.run_images)][: args.run_images])
        else:
            print(f"method {recipe.name} needs the statistics only")
    return 1 if skipped else 0


def _recipes(method: str | None) -> list[Recipe]:
    if method == "all":
        return [m.recipe for m in list_methods().values() if m.recipe.runs_network]
    return [get_recipe(method)] if method else []


def _statistics(ann: Ann, output: Path, paths: Sequence[str]) -> tuple[Statistics, list[str]]:
    names = tuple(Path(path).name for path in paths)
    if output.is_file():
        old = Statistics.load(output)
        if (old.images, old.weights_sha256, old.imgsz) == (names, ann.sha256, ann.imgsz):
            print(f"{output} is of these {len(names)} images already")
            return old, []
    bar = tqdm(paths, "images", unit="image", disable=None)
    statistics, skipped = take_statistics(ann.graph, ann.spec, ann.sha256, bar)
    for reason in skipped:
        print(f"skipped: {reason}", file=sys.stderr)
    statistics.save(output)
    print(f"{len(statistics.images)} images, {len(statistics.sites)} layers: saved to {output}")
    return statistics, skipped


def _run(ann: Ann, statistics: Statistics, recipe: Recipe, paths: Sequence[str]) -> None:
    images = [fit(read_image(path), ann.spec)[0][None] for path in paths]
    with tqdm(desc=recipe.name, unit="part", disable=None) as bar:

        def progress(text: str) -> None:
            bar.set_postfix_str(text)
            bar.update()

        sites = calibrate(ann.graph, statistics, recipe, images, progress)
    output = state_path(ann.weights, ann.imgsz, recipe)
    State(sites, recipe, ann.sha256, ann.imgsz, tuple(Path(path).name for path in paths)).save(output)
    print(f"{recipe.name}, run on {len(images)} images: saved to {output}")
