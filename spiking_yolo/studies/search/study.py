"""The search itself: tree-structured Parzen estimators (Bergstra 2011) of optuna, in two halves.

The first half of the budget tunes the numbers that all layers share, the second one factor per layer, around the best
of the first half. Layer-wise search for converted networks is after Kim et al., Towards fast and accurate object
detection in bio-inspired spiking neural networks through Bayesian optimization, IEEE Access 2021.
"""

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spiking_yolo.errors import UserError
from spiking_yolo.io.json_text import json_text
from spiking_yolo.recipe import Recipe
from spiking_yolo.studies.evaluate.record_log import check_call
from spiking_yolo.studies.search import space
from spiking_yolo.studies.search.score import Problem, Score

try:
    import optuna
    from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
except ImportError as error:
    raise UserError(f"the search needs optuna ({error}): pip install 'spiking_yolo[search]'") from error

TRIALS = "trials.log"


@dataclass(frozen=True)
class Tried:
    """A recipe and its score. complete: judged on all images; hopeless ones are given up before."""

    recipe: Recipe
    score: Score
    complete: bool


class Search:
    """A search that lives in a folder: every finished trial is kept there, and an interrupted search goes on.

    The random numbers of a trial follow from the seed and the number of trials before it, so that an interruption
    changes nothing. limit: of operations, in ANN MACs.
    """

    def __init__(
        self, problem: Problem, start: Recipe, directory: Path, call: Mapping[str, Any], budget: int, seed: int = 0
    ):
        """call: what decides the result, besides the budget. Raises UserError when the folder is of another call."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.problem, self.start, self.budget, self.seed = problem, start, budget, seed
        self.limit: float | None = call.get("max_operations")
        self.study = _open(directory / TRIALS)
        if known := self.study.user_attrs.get("call"):
            check_call(known, call, directory / TRIALS)
        else:
            self.study.set_user_attr("shared", math.ceil(budget / 2))
            self.study.set_user_attr("call", dict(call))
        for trial in self.study.get_trials(states=[TrialState.RUNNING]):  # the search was killed in it
            self.study.tell(trial.number, state=TrialState.FAIL)

    def run(self, progress: Callable[[Tried], Any] = lambda tried: None) -> None:
        """Try recipes until the budget is spent. progress(tried) is called after each."""
        while len(done := self._finished()) < self.budget:
            progress(self._first() if not done else self._next(done))

    @property
    def tried(self) -> list[Tried]:
        """Everything tried so far, in order; the first is the recipe that the search started from."""
        return [_tried(trial) for trial in self._finished()]

    @property
    def best(self) -> Tried:
        """The smallest error within the limit. Raises UserError when nothing tried is within it."""
        return best(self.tried, self.limit)

    def _finished(self) -> list[FrozenTrial]:
        done = self.study.get_trials(deepcopy=False, states=[TrialState.COMPLETE, TrialState.PRUNED])
        return [trial for trial in done if "recipe" in trial.user_attrs]

    def _first(self) -> Tried:
        score = self.problem.score(self.start)
        self._note(space.numbers(self.start), score.loss(self.limit), _attributes(self.start, score))
        return Tried(self.start, score, True)

    def _next(self, done: Sequence[FrozenTrial]) -> Tried:
        shared: int = self.study.user_attrs["shared"]
        base, wanted, startup = self.start, space.numbers(self.start), 10
        if len(done) >= shared:
            first = [tried for tried in map(_tried, done[:shared]) if tried.complete]
            centre = min(first, key=lambda tried: tried.score.loss(self.limit))
            base, startup = centre.recipe, 0
            wanted = space.layer_numbers(base, [node.name for node in self.problem.ann.graph.activations])
            if len(done) == shared and not self._noted():  # which a killed search may have done
                self._note(wanted, centre.score.loss(self.limit), {})
        seed = self.seed + 10007 * len(done)
        self.study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup, constant_liar=False)
        trial = self.study.ask({n.key: _distribution(n) for n in wanted})
        values = {n.key: n.searched(trial.params[n.key]) for n in wanted}
        return self._judge(trial, base.with_settings(space.settings(base, values)))

    def _noted(self) -> bool:
        """Whether the sampler knows already where the second part starts, which is no recipe that was tried."""
        done = self.study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
        return any("recipe" not in trial.user_attrs for trial in done)

    def _note(self, numbers: Sequence[space.Number], loss: float, attributes: dict[str, Any]) -> None:
        """Tell the sampler about the numbers of a recipe that it did not propose."""
        params = {n.key: n.searched(n.start) for n in numbers}
        distributions = {n.key: _distribution(n) for n in numbers}
        self.study.add_trial(
            create_trial(params=params, distributions=distributions, value=_finite(loss), user_attrs=attributes)
        )

    def _judge(self, trial: Trial, recipe: Recipe) -> Tried:
        """Score a recipe; given up once it is worse than the median of the others after as many images."""
        score, i = Score(math.inf, math.inf), 0
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
        return Tried(recipe, score, complete)


def best(tried: Sequence[Tried], limit: float | None) -> Tried:
    complete = [t for t in tried if t.complete]
    allowed = [t for t in complete if limit is None or t.score.operations <= limit]
    if not allowed:
        least = min(t.score.operations for t in complete)
        raise UserError(
            f"nothing that was tried keeps to --max-operations {limit:g}, the least was {least:.3g}: allow more, "
            "resume with a larger --budget, or start from a cheaper --method"
        )
    return min(allowed, key=lambda t: t.score.error)


def _open(path: Path) -> optuna.Study:
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _mend(path)
        storage = JournalStorage(JournalFileBackend(str(path)))
        pruner = optuna.pruners.MedianPruner(n_startup_trials=5)
        return optuna.create_study(storage=storage, study_name="search", load_if_exists=True, pruner=pruner)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"cannot keep the search in {path} ({error}): give another --project") from error


def _mend(path: Path) -> None:
    """Undo what a kill has left: a torn last line, for whose rest optuna would take what comes next, and optuna's lock,
    for which it would wait for ever. The folder is this process's own.
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
    return {"recipe": json.loads(recipe.to_json()), "error": score.error, "operations": score.operations}


def _tried(trial: FrozenTrial) -> Tried:
    a = trial.user_attrs
    complete = trial.state == TrialState.COMPLETE
    return Tried(Recipe.from_json(json_text(a["recipe"])), Score(a["error"], a["operations"]), complete)
