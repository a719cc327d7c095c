"""Search for the numbers of a recipe: the score of a recipe, the study that optuna drives, and its
result.
"""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from spiking_yolo.apps.search import SearchOptions, space
from spiking_yolo.apps.search.space import changes
from spiking_yolo.convert.calibrate import calibrate
from spiking_yolo.convert.calibration_file import CalibrationResult, destination, tunes
from spiking_yolo.convert.converted import Converted, convert
from spiking_yolo.convert.load import load_calibration
from spiking_yolo.convert.methods import DEFAULT, get_recipe
from spiking_yolo.convert.statistics import Statistics
from spiking_yolo.convert.thresholds import NeuronParameters
from spiking_yolo.data.detection import draw
from spiking_yolo.errors import UserError, pip_install
from spiking_yolo.io.files import atomic_write
from spiking_yolo.io.json import json_text
from spiking_yolo.io.tables import columns, write_csv
from spiking_yolo.log import check_call
from spiking_yolo.models.load import Ann
from spiking_yolo.observe import Input, Observer, read_input
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.plan import SimulationOptions


@dataclass(frozen=True)
class Score:
    """Means over images. error: relative error of the heads against the ANN's. operations: in ANN
    MACs.
    """

    error: float
    operations: float

    def loss(self, limit: float | None) -> float:
        """What a search makes small: the error, or more than any useful error where operations
        exceed the limit.
        """
        if limit is not None and self.operations > limit:
            return max(self.error, 1.0) + self.operations / limit
        return self.error


@dataclass(frozen=True)
class Problem:
    """A network and the images on which its conversion is judged after T steps.

    tuned: the file of `tune`, of a method that has one; it stays as it is.
    """

    ann: Ann
    statistics: Statistics
    images: Sequence[Input]
    T: int
    device: str = "cpu"
    simulation: SimulationOptions = field(default_factory=SimulationOptions)
    weight_bits: int | None = None
    tuned: CalibrationResult | None = None

    def neurons(self, recipe: Recipe) -> NeuronParameters | None:
        """What a recipe that runs the network learns from the images, or has learned in tuning."""
        if self.tuned is not None:
            return self.tuned.neurons
        if not recipe.runs_network:
            return None
        images = [image.x[None] for image in self.images]
        return calibrate(self.ann.graph, self.ann.spec, self.statistics, recipe, images)

    def converted(self, recipe: Recipe) -> Converted:
        """The network by a recipe."""
        return convert(
            self.ann.graph,
            self.ann.spec,
            self.statistics,
            recipe,
            {"weights": self.ann.weights.name},
            self.neurons(recipe),
            self.weight_bits,
            self.tuned.weights if self.tuned else None,
        )

    def scores(self, recipe: Recipe) -> Iterator[Score]:
        """The score after each image, over the images so far."""
        network = self.converted(recipe).engine(self.device, self.simulation)
        observer = Observer(network, self.ann.graph.to(self.device), self.ann.spec)
        error = operations = 0.0
        for i, seen in enumerate(observer.observe(self.images, self.T, want=("ann",)), 1):
            error += seen.error(self.T)
            operations += seen.last.operations[recipe.counting] / seen.macs
            yield Score(error / i, operations / i)

    def score(self, recipe: Recipe) -> Score:
        return list(self.scores(recipe))[-1]


try:
    import optuna
    from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
except ImportError as error:
    raise UserError(f"the search needs optuna ({error}): {pip_install('search')}") from error

TRIALS = "trials.log"


@dataclass(frozen=True)
class Attempt:
    """A recipe and its score; complete if it was judged on all images, and not given up before."""

    recipe: Recipe
    score: Score
    complete: bool


class Search:
    """A search that lives in a folder: every finished trial is kept there, and an interrupted
    search goes on.

    The random numbers of a trial follow from the seed and the number of trials before it, so that
    an interruption changes nothing. limit: of operations, in ANN MACs.
    """

    def __init__(
        self,
        problem: Problem,
        start: Recipe,
        directory: Path,
        call: Mapping[str, Any],
        budget: int,
        seed: int = 0,
    ):
        """call: what decides the result, besides the budget. Raises UserError when the folder is of
        another call.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.problem, self.start, self.budget, self.seed = problem, start, budget, seed
        self.limit: float | None = call.get("max_operations")
        self.study = _open(directory / TRIALS)
        if earlier := self.study.user_attrs.get("call"):
            check_call(earlier, call, directory / TRIALS)
        else:
            self.study.set_user_attr("shared", math.ceil(budget / 2))
            self.study.set_user_attr("call", dict(call))
        # The search was killed in it.
        for trial in self.study.get_trials(states=[TrialState.RUNNING]):
            self.study.tell(trial.number, state=TrialState.FAIL)

    def run(self, progress: Callable[[Attempt], Any] = lambda attempt: None) -> None:
        """Try recipes until the budget is spent. progress(attempt) is called after each."""
        while len(done := self._finished()) < self.budget:
            progress(self._first() if not done else self._next(done))

    @property
    def attempts(self) -> list[Attempt]:
        """Everything tried so far, in order; the first is the recipe that the search started
        from.
        """
        return [_attempt(trial) for trial in self._finished()]

    @property
    def best(self) -> Attempt:
        """The smallest error within the limit. Raises UserError when nothing tried is within it."""
        return best(self.attempts, self.limit)

    def _finished(self) -> list[FrozenTrial]:
        done = self.study.get_trials(
            deepcopy=False, states=[TrialState.COMPLETE, TrialState.PRUNED]
        )
        return [trial for trial in done if "recipe" in trial.user_attrs]

    def _first(self) -> Attempt:
        score = self.problem.score(self.start)
        self._note(
            space.numbers(self.start), score.loss(self.limit), _attributes(self.start, score)
        )
        return Attempt(self.start, score, True)

    def _next(self, done: Sequence[FrozenTrial]) -> Attempt:
        shared: int = self.study.user_attrs["shared"]
        base, startup = self.start, 10
        numbers = space.numbers(self.start)
        if len(done) >= shared:
            first = [attempt for attempt in map(_attempt, done[:shared]) if attempt.complete]
            centre = min(first, key=lambda attempt: attempt.score.loss(self.limit))
            base, startup = centre.recipe, 0
            layers = [node.name for node in self.problem.ann.graph.activations]
            numbers = space.layer_numbers(base, layers)
            # A killed search may have noted them already.
            if len(done) == shared and not self._noted():
                self._note(numbers, centre.score.loss(self.limit), {})
        seed = self.seed + 10007 * len(done)
        self.study.sampler = optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=startup, constant_liar=False
        )
        trial = self.study.ask({n.key: _distribution(n) for n in numbers})
        values = {n.key: n.searched(trial.params[n.key]) for n in numbers}
        return self._judge(trial, base.with_settings(space.settings(base, values)))

    def _noted(self) -> bool:
        """Whether the sampler knows already where the second part starts, which is no recipe that
        was tried.
        """
        done = self.study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
        return any("recipe" not in trial.user_attrs for trial in done)

    def _note(
        self, numbers: Sequence[space.Number], loss: float, attributes: dict[str, Any]
    ) -> None:
        """Tell the sampler about the numbers of a recipe that it did not propose."""
        params = {n.key: n.searched(n.start) for n in numbers}
        distributions = {n.key: _distribution(n) for n in numbers}
        self.study.add_trial(
            create_trial(
                params=params,
                distributions=distributions,
                value=_finite(loss),
                user_attrs=attributes,
            )
        )

    def _judge(self, trial: Trial, recipe: Recipe) -> Attempt:
        """Score a recipe; given up once it is worse than the median of the others after as many
        images.
        """
        i = 0
        score = Score(math.inf, math.inf)
        for i, score in enumerate(self.problem.scores(recipe), 1):
            trial.report(_finite(score.loss(self.limit)), i)
            if i < len(self.problem.images) and trial.should_prune():
                break
        complete = i == len(self.problem.images)
        for key, value in _attributes(recipe, score).items():
            trial.set_user_attr(key, value)
        if complete:
            self.study.tell(trial, _finite(score.loss(self.limit)))
        else:
            self.study.tell(trial, state=TrialState.PRUNED)
        return Attempt(recipe, score, complete)


def best(attempts: Sequence[Attempt], limit: float | None) -> Attempt:
    complete = [attempt for attempt in attempts if attempt.complete]
    allowed = [a for a in complete if limit is None or a.score.operations <= limit]
    if not allowed:
        least = min(attempt.score.operations for attempt in complete)
        raise UserError(
            f"nothing that was tried keeps to --max-operations {limit:g}, the least was"
            f" {least:.3g}: allow more, resume with a larger --budget, or start from a cheaper"
            " --method"
        )
    return min(allowed, key=lambda attempt: attempt.score.error)


def _open(path: Path) -> optuna.Study:
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _mend(path)
        storage = JournalStorage(JournalFileBackend(str(path)))
        pruner = optuna.pruners.MedianPruner(n_startup_trials=5)
        return optuna.create_study(
            storage=storage, study_name="search", load_if_exists=True, pruner=pruner
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"cannot keep the search in {path} ({error}): give another --project"
        ) from error


def _mend(path: Path) -> None:
    """Undo what a kill has left: a torn last line, for whose rest optuna would take what comes
    next, and optuna's lock, for which it would wait for ever. The folder is this process's own.
    """
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    if path.is_file():
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(path, whole)


def _distribution(n: space.Number) -> optuna.distributions.BaseDistribution:
    if n.whole:
        return optuna.distributions.IntDistribution(int(n.low), int(n.high), log=n.log)
    return optuna.distributions.FloatDistribution(n.low, n.high, log=n.log)


def _finite(loss: float) -> float:
    return loss if math.isfinite(loss) else 1e30


def _attributes(recipe: Recipe, score: Score) -> dict[str, Any]:
    return {
        "recipe": json.loads(recipe.to_json()),
        "error": score.error,
        "operations": score.operations,
    }


def _attempt(trial: FrozenTrial) -> Attempt:
    attributes = trial.user_attrs
    recipe = Recipe.from_json(json_text(attributes["recipe"]))
    score = Score(attributes["error"], attributes["operations"])
    return Attempt(recipe, score, trial.state == TrialState.COMPLETE)


@dataclass(frozen=True)
class SearchResult:
    """The recipes that a search tried, and the best of them.

    Attributes:
        problem: What they were judged on.
        photographs: The images that the search ran on.
        attempts: All recipes; the first is the one that the search started from.
        best: The smallest error within the limit.
        unseen: The number of other images, and on them the scores of the first recipe and of the
            best; None if there are no others.
    """

    problem: Problem
    photographs: Sequence[str]
    attempts: Sequence[Attempt]
    best: Attempt
    unseen: tuple[int, Score, Score] | None

    def text(self) -> str:
        """What was gained, and what was changed."""
        start = self.attempts[0]
        tried = f"{len(self.attempts)} recipes tried on {len(self.photographs)} images"
        title = f"{start.recipe.title}, T = {self.problem.T}, {tried}"
        lines = [title, _gain(start.score, self.best.score)]
        changed = changes(start.recipe, self.best.recipe)
        lines += [f"  --set {line}" for line in changed] or [
            "  the recipe that it started from stays the best"
        ]
        if self.unseen:
            images, before, after = self.unseen
            lines += [f"on {images} other images:", _gain(before, after)]
        return "\n".join(lines)

    def save(self, folder: Path) -> None:
        """Write trials.csv, where calibrations go what a recipe learned that runs the network, and
        recipe.json.
        """
        recipe, problem, ann = self.best.recipe, self.problem, self.problem.ann
        rows: list[dict[str, Any]] = []
        for i, attempt in enumerate(self.attempts):
            row = {
                "trial": i,
                "complete": attempt.complete,
                "relative_error": attempt.score.error,
                "operations_per_mac": attempt.score.operations,
                "settings": " ".join(changes(self.attempts[0].recipe, attempt.recipe)),
            }
            rows.append(row)
        write_csv(folder / "trials.csv", rows)
        neurons = problem.neurons(recipe)
        if neurons is not None:
            images, statistics = _names(self.photographs), problem.statistics.fingerprint
            result = CalibrationResult(neurons, recipe, ann.sha256, ann.imgsz, images, statistics)
            if problem.tuned is not None:
                result = replace(problem.tuned, recipe=recipe)
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
    return (
        recipe
        if recipe.name.endswith("-searched")
        else replace(recipe, name=f"{recipe.name}-searched")
    )


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
    """Try recipes around `start` until the budget is spent; the best has the smallest error within
    the limit.

    photographs: image files, of which some are drawn to search on, and as many others to look at
    afterwards. folder: keeps every trial; a search that is interrupted, or whose budget grows, goes
    on there. progress("recipes", done, total, remark) is called after each recipe. Raises UserError
    when the folder is of another search, and when no recipe keeps to `options.max_operations`.
    """
    used = draw(photographs, options.limit, options.seed)
    other = draw(
        [path for path in photographs if path not in set(used)], options.limit, options.seed
    )
    images, bits = _read(used, ann), options.weight_bits
    own = replace(start, name=start.name.removesuffix("-searched"))
    tuned = load_calibration(ann, own) if tunes(own) else None
    problem = Problem(ann, statistics, images, options.T, options.device, simulation, bits, tuned)
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
    losses = [a.score.loss(study.limit) for a in study.attempts if a.complete]
    done = len(study.attempts)
    total = max(options.budget, done)

    def count(attempt: Attempt) -> None:
        nonlocal done
        done += 1
        if attempt.complete:
            losses.append(attempt.score.loss(study.limit))
        progress("recipes", done, total, f"best {min(losses):.4f}")

    study.run(count)
    best = study.best
    unseen = None
    if other:
        rest = replace(problem, images=_read(other, ann))
        unseen = len(other), rest.score(start), rest.score(best.recipe)
    return SearchResult(problem, used, study.attempts, best, unseen)


def _read(paths: Sequence[str], ann: Ann) -> list[Input]:
    return [read_input(path, ann.spec) for path in paths]


def _names(paths: Sequence[str]) -> tuple[str, ...]:
    return tuple(Path(path).name for path in paths)


def _gain(start: Score, best: Score) -> str:
    rows = [("", "relative error", "operations / ANN MACs")]
    for name, score in (("  start", start), ("  best", best)):
        rows.append((name, f"{score.error:.4f}", f"{score.operations:.3g}"))
    return columns(rows)
