"""The search: its space, its score, that it finds what is better, and that an interruption changes
nothing.
"""

import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.networks import TinyLeaky, images, make, statistics
from helpers.tiny import run_tool, write_tiny

from spiking_yolo.apps.search import space
from spiking_yolo.apps.search.study import Problem, Score
from spiking_yolo.convert.methods import get_recipe, list_methods
from spiking_yolo.errors import UserError, pip_install
from spiking_yolo.graph import forward
from spiking_yolo.graph.trace import trace
from spiking_yolo.models.load import Ann
from spiking_yolo.models.spec import Spec
from spiking_yolo.observe import Input
from spiking_yolo.recipe import Recipe

pytest.importorskip("optuna", reason='the search needs optuna: pip install "optuna>=4,<6"')
from spiking_yolo.apps.search.study import TRIALS, Attempt, Search, best

# Thresholds far too large.
ROUGH = get_recipe("coarse-to-fine").with_settings({"threshold.scale": 3.0})


@pytest.fixture(scope="module")
def problem() -> Problem:
    x = images(3)
    graph = trace(make(TinyLeaky), x[:1])
    spec = Spec("classify", tuple("abcde"), 8, 8)
    ann = Ann(graph, spec, Path("tiny.weights"), "0" * 64)
    return Problem(ann, statistics(graph, x), [Input(image) for image in x], 6)


def search(
    problem: Problem, folder: Path, budget: int, limit: float | None = None, start: Recipe = ROUGH
) -> Search:
    return Search(problem, start, folder, {"max_operations": limit, "T": problem.T}, budget)


@pytest.mark.parametrize("name", list_methods())
def test_space_of_every_method_holds_the_method(name: str):
    """Each start lies in its range, and setting every number to its start gives the recipe back."""
    recipe = get_recipe(name)
    found = [*space.numbers(recipe), *space.layer_numbers(recipe, ["a", "b"])]
    assert all(n.low <= n.searched(n.start) <= n.high and n.low < n.high for n in found)
    assert all(n.low > 0 for n in found if n.log)
    again = recipe.with_settings(space.settings(recipe, {n.key: n.start for n in found}))
    assert again.threshold.layers == (("a", 1.0), ("b", 1.0))
    assert replace(again, threshold=replace(again.threshold, layers=())) == recipe


@pytest.mark.parametrize("end", ["low", "high"])
@pytest.mark.parametrize("name", list_methods())
def test_ends_of_every_range_are_recipes(name: str, end: str):
    recipe = get_recipe(name)
    values = {n.key: n.searched(getattr(n, end)) for n in space.numbers(recipe)}
    recipe.with_settings({k: int(v) if isinstance(v, int) else v for k, v in values.items()})


def test_the_space_keeps_to_what_the_method_is():
    keys = {name: {n.key for n in space.numbers(get_recipe(name))} for name in list_methods()}
    assert "neuron.gamma" not in keys["p-norm"] and "neuron.gamma" in keys["burst"]
    assert (
        "neuron.initial" in keys["p-norm"]
        and "neuron.initial" not in keys["opt"] | keys["differential"]
    )
    assert (
        "threshold.levels" in keys["calibration-light"] and "threshold.percentile" in keys["p-norm"]
    )
    assert {"msat.alpha", "msat.c"} <= keys["msat"] and "msat.c" not in keys["msat-plus"]
    assert not any(key.startswith("msat") for key in keys["rmp"])
    assert "threshold.scale" not in keys["fixed-fraction"]


def test_changes_are_what_set_would_say():
    start = get_recipe("p-norm")
    settings: dict[str, Any] = {"neuron.initial": 0.5, "threshold.layers": "a:0.5,b:2"}
    assert space.changes(start, start) == []
    said = space.changes(start, start.with_settings(settings))
    assert said == ["threshold.layers=a:0.5,b:2", "neuron.initial=0.5"]
    assert start.with_settings(dict(line.split("=") for line in said)) == start.with_settings(
        settings
    )


@pytest.mark.parametrize("method", ["coarse-to-fine", "calibration-light"])
def test_score_is_the_mean_over_images(problem: Problem, method: str):
    """Against the norms computed here, of a network simulated in one batch."""
    recipe = get_recipe(method)
    x = torch.stack([image.x for image in problem.images])
    graph = problem.ann.graph
    result = problem.converted(recipe).network().run(x, problem.T)
    last = result.snapshots[problem.T]
    flat = [
        torch.cat([o.flatten(1) for o in outputs], 1)
        for outputs in (last.outputs, forward(graph, x))
    ]
    errors = (flat[0] - flat[1]).norm(dim=1) / flat[1].norm(dim=1)
    scores = list(problem.scores(recipe))
    for n, score in enumerate(scores, 1):
        assert score.error == pytest.approx(errors[:n].mean().item(), rel=1e-9)
        assert score.operations == pytest.approx(
            last.operations.spikes[:n].mean().item() / result.macs, rel=1e-9
        )
    assert problem.score(recipe) == scores[-1]


def test_loss_puts_every_cheap_recipe_before_every_dear_one():
    assert Score(0.3, 5.0).loss(None) == Score(0.3, 5.0).loss(5.0) == 0.3
    assert Score(0.9, 1.0).loss(2.0) < Score(0.1, 2.1).loss(2.0) < Score(0.1, 3.0).loss(2.0)


def test_best_ignores_what_was_given_up_or_costs_too_much():
    a, b, c = Recipe("a"), Recipe("b"), Recipe("c")
    tried = [
        Attempt(a, Score(0.5, 1.0), True),
        Attempt(b, Score(0.1, 3.0), True),
        Attempt(c, Score(0.01, 0.5), False),
    ]
    assert best(tried, None).recipe == b and best(tried, 2.0).recipe == a
    with pytest.raises(UserError, match=r"--max-operations 0\.5, the least was 1"):
        best(tried, 0.5)


def test_search_finds_a_better_recipe_and_tunes_layers_in_its_second_half(
    problem: Problem, tmp_path: Path
):
    found = search(problem, tmp_path, 16)
    found.run()
    tried = found.attempts
    assert len(tried) == 16 and tried[0].recipe == ROUGH
    assert found.best.score.error < 0.7 * tried[0].score.error
    assert all(not t.recipe.threshold.layers for t in tried[:8])
    halves = min((t for t in tried[:8] if t.complete), key=lambda t: t.score.error)
    for t in tried[8:]:
        assert [name for name, _ in t.recipe.threshold.layers] == ["act1", "act2", "act3"]
        assert replace(t.recipe, threshold=replace(t.recipe.threshold, layers=())) == halves.recipe
    assert problem.score(found.best.recipe) == found.best.score


def test_search_keeps_to_the_limit(problem: Problem, tmp_path: Path):
    fine = get_recipe("coarse-to-fine").with_settings({"threshold.scale": 0.02})
    limit = problem.score(fine).operations * 0.7
    found = search(problem, tmp_path, 14, limit, fine)
    found.run()
    assert found.attempts[0].score.operations > limit >= found.best.score.operations


class Killed(Exception):
    pass


def killed_after(n: int) -> Callable[[Attempt], None]:
    calls = iter(range(1, n + 1))

    def progress(attempt: Attempt) -> None:
        if next(calls) == n:
            raise Killed

    return progress


@pytest.mark.parametrize("n", [1, 8, 13])
def test_an_interruption_changes_nothing(
    problem: Problem, tmp_path: Path, n: int, monkeypatch: pytest.MonkeyPatch
):
    """Killed between two trials, and within one, against a search that ran through; its second part
    begins with 8.
    """
    whole = search(problem, tmp_path / "whole", 16)
    whole.run()
    broken = search(problem, tmp_path / "broken", 16)
    with pytest.raises(Killed):
        broken.run(killed_after(n))
    assert len(broken.attempts) == n

    def kill(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(broken, "_judge", kill)
    with pytest.raises(Killed):
        broken.run()  # a trial that never ends
    resumed = search(problem, tmp_path / "broken", 16)
    seen: list[Attempt] = []
    resumed.run(seen.append)
    assert len(seen) == 16 - n and resumed.attempts == whole.attempts
    search(problem, tmp_path / "broken", 16).run(pytest.fail)  # nothing is left to do


def test_a_line_that_a_kill_has_torn_is_forgotten_and_so_is_its_lock(
    problem: Problem, tmp_path: Path
):
    whole = search(problem, tmp_path / "whole", 2)
    whole.run()
    with pytest.raises(Killed):
        search(problem, tmp_path / "broken", 2).run(killed_after(1))
    with open(tmp_path / "broken" / TRIALS, "a") as file:
        file.write('{"op_code": 5, "tri')
    (tmp_path / "broken" / f"{TRIALS}.lock").symlink_to("nowhere")
    resumed = search(problem, tmp_path / "broken", 2)
    resumed.run()
    assert resumed.attempts == whole.attempts


def test_a_folder_belongs_to_one_search(problem: Problem, tmp_path: Path):
    search(problem, tmp_path, 2)
    with pytest.raises(UserError, match=r"was made with T=6, not 7: resume with the same settings"):
        search(replace(problem, T=7), tmp_path, 2)


def test_losses_that_are_no_numbers_do_not_stop_the_search(
    problem: Problem, tmp_path: Path, monkeypatch: Any
):
    monkeypatch.setattr(Problem, "scores", lambda self, recipe: iter([Score(math.nan, 1.0)] * 3))
    monkeypatch.setattr(Problem, "score", lambda self, recipe: Score(0.5, 1.0))
    found = search(problem, tmp_path, 3)
    found.run()
    assert len(found.attempts) == 3 and found.best.recipe == ROUGH


def test_tool_writes_a_recipe_that_the_tools_take(tmp_path: Path, capsys: Any):
    weights = write_tiny(tmp_path)
    arguments = (
        "--weights",
        weights,
        "--data",
        tmp_path / "photos",
        "--project",
        tmp_path / "runs",
    )
    arguments += (
        "--limit",
        1,
        "--T",
        4,
        "--method",
        "calibration-light",
        "--set",
        "calibration.T=4",
    )
    assert run_tool("search", *arguments, "--budget", 3) == 0
    said = capsys.readouterr().out
    assert "3 recipes tried on 1 images" in said and "on 1 other images" in said
    folder = tmp_path / "runs" / "exp"
    recipe = Recipe.read(folder / "recipe.json")
    assert recipe.name == "calibration-light-searched"
    assert len((folder / "trials.csv").read_text().splitlines()) == 4
    photo = tmp_path / "photos" / "a.png"
    detect = (
        "--weights",
        weights,
        "--method",
        folder / "recipe.json",
        "--T",
        4,
        "--project",
        tmp_path / "runs",
    )
    assert run_tool("detect", photo, *detect) == 0
    assert run_tool("search", *arguments, "--budget", 5, "--resume", folder) == 0
    assert len((folder / "trials.csv").read_text().splitlines()) == 6
    assert json.loads((folder / "recipe.json").read_text())["name"] == "calibration-light-searched"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--max-operations", 0), "--max-operations must be above 0"),
        (("--method", "nonsense"), "unknown method"),
        (("--T", 4, "--set", "readout.skip=4", "--method", "p-norm"), "--T must be at least 5"),
        (("--resume", "nowhere"), "holds no interrupted run"),
        (("--device", "abacus"), "cannot use the device abacus"),
        (("--split", "train2017"), "--split belongs to"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, capsys: Any, options: tuple, message: str):
    weights = write_tiny(tmp_path)
    arguments = (
        "--weights",
        weights,
        "--data",
        tmp_path / "photos",
        "--project",
        tmp_path / "runs",
        "--budget",
        1,
    )
    assert run_tool("search", *arguments, *options) == 2
    said = capsys.readouterr()
    assert message in said.err and len(said.err.splitlines()) == 1 and not said.out
    assert not (tmp_path / "runs").exists()


def test_without_optuna_the_tool_says_what_to_install(
    tmp_path: Path, capsys: Any, monkeypatch: Any
):
    monkeypatch.setitem(sys.modules, "optuna", None)
    for name in [name for name in sys.modules if name.startswith("spiking_yolo.apps.search.s")]:
        monkeypatch.delitem(sys.modules, name)
    assert run_tool("search", "--weights", write_tiny(tmp_path)) == 2
    assert pip_install("search") in capsys.readouterr().err
