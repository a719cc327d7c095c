"""The work behind tools/search.py."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from spiking_yolo import cli
from spiking_yolo.convert.calibration_file import CalibrationResult, calibration_path
from spiking_yolo.convert.pipeline import load_statistics
from spiking_yolo.convert.registry import DEFAULT, get_recipe
from spiking_yolo.errors import UserError
from spiking_yolo.io.files import atomic_write
from spiking_yolo.io.images import preprocess, read_image
from spiking_yolo.models.load import Ann
from spiking_yolo.recipe import Recipe
from spiking_yolo.studies.analyze.command import photographs, usable_device
from spiking_yolo.studies.search.score import Problem, Score
from spiking_yolo.studies.search.space import changes
from spiking_yolo.studies.search.study import TRIALS, Search, Tried


def search_all(args: argparse.Namespace) -> None:
    """Search, print and save. Raises UserError before any long work where the call is wrong."""
    start = _start(args)
    if start.readout.skip >= args.T:
        raise UserError(f"--T must be at least {start.readout.skip + 1}, not {args.T}")
    if args.max_operations is not None and not 0 < args.max_operations < float("inf"):
        raise UserError(f"--max-operations must be above 0, not {args.max_operations}")
    device = usable_device(args.device)
    used, other = _split(photographs([args.data], args.split or _training_split(Path(args.data))), args.images)
    ann = cli.load_ann(args)
    statistics = load_statistics(ann, args.statistics)
    problem = Problem(ann, statistics, _read(used, ann), args.T, device, cli.simulation(args))
    call = _call(args, problem, start, used)
    directory = args.resume or cli.run_directory(args.project, args.name)
    if args.resume and not (args.resume / TRIALS).is_file():
        raise UserError(f"{args.resume} holds no search: leave --resume out to start a new one")
    search = Search(problem, start, directory, call, args.budget, args.seed)
    _run(search, args.budget)
    _save(search, directory, used)
    print(f"{start.name}, T = {args.T}, {len(search.tried)} recipes tried on {len(used)} images")
    print(report(search.tried[0], search.best))
    if other:
        unseen = replace(problem, images=_read(other, ann))
        print(f"on {len(other)} other images:")
        print(_lines(unseen.score(start), unseen.score(search.best.recipe)))
    print(f"the recipe is saved; use it with --method {directory / 'recipe.json'}")


def _start(args: argparse.Namespace) -> Recipe:
    recipe = get_recipe(args.method or DEFAULT).with_settings(cli.parse_settings(args.set))
    return recipe if recipe.name.endswith("-tuned") else replace(recipe, name=f"{recipe.name}-tuned")


def _training_split(data: Path) -> str | None:
    """The split of a dataset to calibrate on; None for photographs and annotation files."""
    if (data / "annotations").is_dir():
        return "train2017"
    return "train" if data.suffix in (".yaml", ".yml") or any(data.glob("VOC[0-9]*")) else None


def _split(paths: Sequence[str], n: int) -> tuple[list[str], list[str]]:
    """n images spread over all to search on, and as many others, where there are more, to look at afterwards."""
    used = list(paths[:: max(1, len(paths) // n)][:n])
    rest = [path for path in paths if path not in set(used)]
    return used, rest[:: max(1, len(rest) // n)][:n] if rest else []


def _read(paths: Sequence[str], ann: Ann) -> list[Tensor]:
    return [preprocess(read_image(path), ann.spec)[0][None] for path in paths]


def _call(args: argparse.Namespace, problem: Problem, start: Recipe, used: Sequence[str]) -> dict[str, Any]:
    return {
        "weights_sha256": problem.ann.sha256,
        "recipe": json.loads(start.to_json()),
        "imgsz": list(problem.ann.imgsz),
        "images": [Path(path).name for path in used],
        "T": args.T,
        **asdict(problem.simulation),
        "max_operations": args.max_operations,
        "seed": args.seed,
    }


def _run(search: Search, budget: int) -> None:
    done = len(search.tried)
    with tqdm(total=max(budget, done), initial=done, desc="search", unit="recipe", disable=None) as bar:
        lowest = float("inf")

        def progress(tried: Tried) -> None:
            nonlocal lowest
            if tried.complete:
                lowest = min(lowest, tried.score.loss(search.limit))
            bar.set_postfix_str(f"best {lowest:.4f}", refresh=False)
            bar.update()

        search.run(progress)


def report(start: Tried, best: Tried) -> str:
    """What was gained and what was changed, for people."""
    lines = [_lines(start.score, best.score)]
    changed = changes(start.recipe, best.recipe)
    lines += [f"  --set {line}" for line in changed] or ["  the recipe that it started from stays the best"]
    return "\n".join(lines)


def _lines(start: Score, best: Score) -> str:
    rows = [("", "relative error", "operations / ANN MACs")]
    rows += [(name, f"{s.error:.4f}", f"{s.operations:.3g}") for name, s in (("  start", start), ("  best", best))]
    return "\n".join(f"{a:<8}{b:>15}{c:>24}" for a, b, c in rows)


def _save(search: Search, directory: Path, used: Sequence[str]) -> None:
    """recipe.json, trials.csv, and beside the weights what a recipe learned that runs the network."""
    recipe, problem = search.best.recipe, search.problem
    with atomic_write(directory / "trials.csv") as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", "complete", "relative_error", "operations_per_mac", "settings"])
        for i, t in enumerate(search.tried):
            settings = " ".join(changes(search.start, t.recipe))
            writer.writerow([i, t.complete, t.score.error, t.score.operations, settings])
    if recipe.runs_network:
        ann, names = problem.ann, tuple(Path(path).name for path in used)
        sites = {name: dict(own) for name, own in problem.converted(recipe).sites.items()}
        CalibrationResult(sites, recipe, ann.sha256, ann.imgsz, names).save(
            calibration_path(ann.weights, ann.imgsz, recipe)
        )
    with atomic_write(directory / "recipe.json") as temporary:
        temporary.write_text(recipe.to_json() + "\n")
