"""Evaluations as functions: one network or several, with and without a folder, an image at a
time.
"""

import json
from dataclasses import replace

import pytest
from helpers.classifying import write_all
from helpers.drawing import saved_figures
from helpers.evaluating import make_scene
from helpers.tiny import run_tool

from spiking_yolo.apps.evaluate import EvaluationOptions, comparison
from spiking_yolo.apps.evaluate.run import compare, evaluate, notes
from spiking_yolo.apps.evaluate.tables import Table
from spiking_yolo.convert.load import load, load_statistics
from spiking_yolo.data.coco import load_coco
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.metrics.energy import NetworkSize
from spiking_yolo.models.load import load_ann
from spiking_yolo.recipe import Recipe

OPTIONS = EvaluationOptions(T=8, steps=(4,), limit=4, seed=1, batch=3)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene")
    return make_scene(folder)[0], load_coco(folder)


@pytest.fixture(scope="module")
def networks(scene):
    return {name: load(scene[0], name) for name in ("p-norm", "dcgs")}


def test_several_networks_are_evaluated_as_each_alone(scene, networks, tmp_path, capsys):
    finished, seen = {}, []
    comparison = compare(
        networks,
        scene[1],
        OPTIONS,
        folder=tmp_path,
        progress=lambda *at: seen.append(at),
        finished=finished.__setitem__,
    )
    assert capsys.readouterr() == ("", "")  # a study prints nothing
    assert seen == [(name, done, 4) for name in networks for done in (0, 3, 4)]
    assert list(comparison.tables) == list(finished) == ["p-norm", "dcgs"]
    for name, network in networks.items():
        alone = evaluate(network, scene[1], OPTIONS)
        assert alone.table.steps == comparison.tables[name].steps == finished[name].table.steps
        assert [s.image_id for s in alone.dataset.samples] == [
            s.image_id for s in scene[1].subset(4, 1).samples
        ]
        assert alone.of_images == 6 and (tmp_path / name / "records-0.jsonl").is_file()
    assert comparison.text().startswith("instances, 4 images\nmAP50 (%)")
    resumed = []
    again = compare(
        networks, scene[1], OPTIONS, folder=tmp_path, progress=lambda *at: resumed.append(at)
    )
    assert resumed == [(name, 4, 4) for name in networks]
    assert [t.steps for t in again.tables.values()] == [t.steps for t in comparison.tables.values()]


def test_statistics_add_the_quantised_ann(scene, networks):
    assert not evaluate(networks["p-norm"], scene[1], OPTIONS).table.baseline
    statistics = load_statistics(load_ann(scene[0]))
    evaluation = evaluate(networks["p-norm"], scene[1], OPTIONS, statistics=statistics)
    # 5 and 9 values, and 8 bits always.
    assert [row["bits"] for row in evaluation.table.baseline] == [3, 4, 8]
    assert len(evaluation.worth) == 5 and "less than ANN" in evaluation.text()


def test_notes_say_what_is_scored(scene, networks):
    spec = networks["p-norm"].spec
    assert notes(spec, scene[1], OPTIONS) == [
        "note: 4 of 6 images, by --limit; only these are scored"
    ]
    assert notes(spec, scene[1], EvaluationOptions()) == []


@pytest.mark.parametrize(
    ("options", "timesteps"),
    [
        ({}, (1, 2, 4, 8, 16, 32, 64)),
        ({"T": 10}, (1, 2, 4, 8, 10)),
        ({"steps": (9, 3, 9)}, (3, 9)),
        ({"T": 10, "steps": (3,)}, (3, 10)),
        ({"T": 2}, (1, 2)),
    ],
)
def test_timesteps(options, timesteps):
    assert EvaluationOptions(**options).timesteps == timesteps


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"T": 8, "steps": (9,)}, "1..8"),
        ({"limit": 0}, "limit"),
        ({"conf": float("nan")}, "conf"),
        ({"sram_energy": -1.0}, "sram_energy"),
        ({"T": "8"}, "T must be a whole number"),
        ({"seed": 1}, "--limit"),
        ({"metric": "map"}, "metric must be one of"),
    ],
)
def test_options_out_of_range(options, said):
    with pytest.raises(UserError, match=said):
        EvaluationOptions(**options)
    assert EvaluationOptions(seed=1, bootstrap=5).seed == 1


def test_eval_takes_detectors_and_classifiers_by_what_the_network_is(scene, tmp_path):
    """Several methods of a detector get a folder each; a classifier is scored by accuracy."""
    call = (
        "--data",
        scene[1].samples[0].path.parents[1],
        "--weights",
        scene[0],
        "--T",
        4,
        "--project",
        tmp_path,
    )
    assert run_tool("eval", *call, "--method", "p-norm,signed-memory", "--name", "boxes") == 0
    content = json.loads((tmp_path / "boxes" / "comparison.json").read_text())
    assert list(content["methods"]) == ["p-norm", "dcgs"] and "mAP50" in content["ann"]
    assert (tmp_path / "boxes" / "p-norm" / "results.json").is_file()
    weights, data = write_all(tmp_path / "classes")
    call = (
        "--data",
        data,
        "--weights",
        weights,
        "--T",
        4,
        "--project",
        tmp_path,
        "--name",
        "accuracy",
    )
    assert run_tool("eval", *call) == 0
    assert "top1" in json.loads((tmp_path / "accuracy" / "results.json").read_text())["ann"]


def test_a_method_that_has_sent_hardly_anything_is_named_and_does_not_stretch_the_plot(
    tmp_path, monkeypatch
):
    figures = saved_figures(monkeypatch)
    ann = {"mAP50": 0.5, "macs": 100.0}
    idle = [{"T": t, "mAP50": 0.0, "sops_per_image": 0.0} for t in (1, 2, 3)]
    slow = [
        {"T": t, "mAP50": 0.1 * t, "sops_per_image": n} for t, n in ((1, 0.0), (2, 1e-6), (3, 40.0))
    ]
    fast = [{"T": t, "mAP50": 0.4, "sops_per_image": 80.0} for t in (1, 2, 3)]
    rows = {"idle": idle, "still": idle, "slow": slow, "fast": fast}
    tables = {name: Table(ann, of, NetworkSize(100.0)) for name, of in rows.items()}
    recipes = {name: Recipe(name) for name in tables}
    compared = comparison.Comparison(None, recipes, tables, "mAP50")  # type: ignore[arg-type]
    compared._plot_time(tmp_path / "T.png")
    compared._plot_operations(tmp_path / "operations.png")
    by_time, by_operations = (
        {line.get_label(): line for line in figure.axes[0].lines} for figure in figures
    )
    assert [*by_time] == ["idle", "still", "slow", "fast", "ANN"]
    assert [*by_operations] == ["slow", "fast", "ANN"]
    assert list(by_operations["slow"].get_xdata()) == [0.4]
    assert list(by_operations["slow"].get_ydata()) == [pytest.approx(30)]
    for name in ("slow", "fast"):
        curves = (by_time[name], by_operations[name])
        assert len({curve.get_color() for curve in curves}) == 1
        assert len({curve.get_marker() for curve in curves}) == 1
    assert "of idle, still; T = 1, 2 of slow" in figures[1].axes[0].get_xlabel()
    nothing = replace(compared, tables={"idle": tables["idle"]})
    with pytest.warns(Notice, match="none.png is left out"):
        nothing._plot_operations(tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
