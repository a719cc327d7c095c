"""Tune the numbers of a recipe for one network, on calibration images."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from spiking_yolo.convert.calibration_file import CalibrationResult
from spiking_yolo.convert.locations import destination
from spiking_yolo.convert.registry import DEFAULT, get_recipe
from spiking_yolo.convert.statistics import Statistics
from spiking_yolo.datasets.draw import draw
from spiking_yolo.errors import UserError
from spiking_yolo.io.atomic import atomic_write
from spiking_yolo.io.images import preprocess, read_image
from spiking_yolo.io.tables import columns, write_csv
from spiking_yolo.models.load import Ann
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.options import SimulationOptions
from spiking_yolo.studies.search.options import SearchOptions
from spiking_yolo.studies.search.score import Problem, Score
from spiking_yolo.studies.search.space import changes
from spiking_yolo.studies.search.study import Search, Tried


@dataclass(frozen=True)
class SearchResult:
    """tried: all recipes, the first is the one that the search started from. photographs: the images it ran on.

    unseen: on so many other images the scores of the first recipe and of the best, where there are more images.
    """

    problem: Problem
    photographs: Sequence[str]
    tried: Sequence[Tried]
    best: Tried
    unseen: tuple[int, Score, Score] | None

    def text(self) -> str:
        """What was gained, and what was changed."""
        start = self.tried[0]
        title = f"{start.recipe.name}, T = {self.problem.T}, {len(self.tried)} recipes tried on "
        lines = [f"{title}{len(self.photographs)} images", _gain(start.score, self.best.score)]
        changed = changes(start.recipe, self.best.recipe)
        lines += [f"  --set {line}" for line in changed] or ["  the recipe that it started from stays the best"]
        if self.unseen:
            images, before, after = self.unseen
            lines += [f"on {images} other images:", _gain(before, after)]
        return "\n".join(lines)

    def save(self, folder: Path) -> None:
        """Write trials.csv, where calibrations go what a recipe learned that runs the network, and recipe.json."""
        recipe, problem, ann = self.best.recipe, self.problem, self.problem.ann
        rows = [
            {
                "trial": i,
                "complete": t.complete,
                "relative_error": t.score.error,
                "operations_per_mac": t.score.operations,
                "settings": " ".join(changes(self.tried[0].recipe, t.recipe)),
            }
            for i, t in enumerate(self.tried)
        ]
        write_csv(folder / "trials.csv", rows)
        if recipe.runs_network:
            neurons = problem.converted(recipe).neurons
            images, statistics = _names(self.photographs), problem.statistics.fingerprint
            result = CalibrationResult(neurons, recipe, ann.sha256, ann.imgsz, images, statistics)
            result.save(destination(ann).calibration(ann, recipe))
        with atomic_write(folder / "recipe.json") as temporary:
            temporary.write_text(recipe.to_json() + "\n")


def first_recipe(options: SearchOptions) -> Recipe:
    """The recipe that a search starts from, under a name of its own.

    Raises UserError for an unknown one, and when it reads nothing within T steps.
    """
    recipe = get_recipe(options.method or DEFAULT).with_settings(options.settings)
    if recipe.readout.skip >= options.T:
        raise UserError(f"--T must be at least {recipe.readout.skip + 1}, not {options.T}")
    return recipe if recipe.name.endswith("-searched") else replace(recipe, name=f"{recipe.name}-searched")


def search(
    ann: Ann,
    statistics: Statistics,
    start: Recipe,
    photographs: Sequence[str],
    folder: Path,
    options: SearchOptions = SearchOptions(),  # noqa: B008
    simulation: SimulationOptions = SimulationOptions(),
    progress: Callable[[str, int, int, str], Any] = lambda what, done, total, remark: None,
) -> SearchResult:
    """Try recipes around `start` until the budget is spent; the best has the smallest error within the limit.

    photographs: image files, of which some are drawn to search on, and as many others to look at afterwards. folder:
    keeps every trial; a search that is interrupted, or whose budget grows, goes on there.
    progress("recipes", done, total, remark) is called after each recipe. Raises UserError when the folder is
    of another search, and when no recipe keeps to `options.max_operations`.
    """
    used = draw(photographs, options.limit, options.seed)
    other = draw([path for path in photographs if path not in set(used)], options.limit, options.seed)
    images, bits = _read(used, ann), options.weight_bits
    problem = Problem(ann, statistics, images, options.T, options.device, simulation, bits)
    call = {
        "weights_sha256": ann.sha256,
        "recipe": json.loads(start.to_json()),
        "imgsz": list(ann.imgsz),
        "images": list(_names(used)),
        "T": options.T,
        "weight_bits": bits,
        **asdict(simulation),
        "max_operations": options.max_operations,
        "seed": options.seed,
    }
    study = Search(problem, start, folder, call, options.budget, options.seed)
    losses = [t.score.loss(study.limit) for t in study.tried if t.complete]
    done, total = len(study.tried), max(options.budget, len(study.tried))

    def count(tried: Tried) -> None:
        nonlocal done
        done += 1
        if tried.complete:
            losses.append(tried.score.loss(study.limit))
        progress("recipes", done, total, f"best {min(losses):.4f}")

    study.run(count)
    best = study.best
    unseen = None
    if other:
        rest = replace(problem, images=_read(other, ann))
        unseen = len(other), rest.score(start), rest.score(best.recipe)
    return SearchResult(problem, used, study.tried, best, unseen)


def _read(paths: Sequence[str], ann: Ann) -> list[Tensor]:
    return [preprocess(read_image(path), ann.spec)[0][None] for path in paths]


def _names(paths: Sequence[str]) -> tuple[str, ...]:
    return tuple(Path(path).name for path in paths)


def _gain(start: Score, best: Score) -> str:
    rows = [("", "relative error", "operations / ANN MACs")]
    rows += [(name, f"{s.error:.4f}", f"{s.operations:.3g}") for name, s in (("  start", start), ("  best", best))]
    return columns(rows)
