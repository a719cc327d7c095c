"""The leaderboard: which row counts, what is refused, and that published figures stay apart."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from helpers.drawing import saved_figures
from helpers.evaluating import make_scene
from helpers.leaderboard import results, write_results
from helpers.tiny import run_tool

from spiking_yolo.apps.leaderboard.board import Leaderboard, cell
from spiking_yolo.apps.leaderboard.published import read_published
from spiking_yolo.apps.leaderboard.results import read_run, read_runs
from spiking_yolo.errors import UserError

SILENT = {"sops_per_mac_spikes": 0.0, "sops_per_mac_digits": 0.0, "sops_per_mac_messages": 0.0}


def board(*contents: dict[str, Any], folder: Path, counting: str = "digits") -> Leaderboard:
    paths = [write_results(folder / f"{i}.json", **content) for i, content in enumerate(contents)]
    return Leaderboard.of(read_runs(paths), read_published(), counting)


def test_operations_are_absolute_in_every_counting(tmp_path):
    one, two = board({}, folder=tmp_path).rows
    # The better row is the first: AP50 0.4 at T = 2, whose 1 digit per MAC is 2 G digits.
    assert one.key == ("val2017", "COCO", "tiny", "416", "p-norm", 2)
    assert one.step.operations == {"spikes": 4e9, "digits": 2e9, "messages": 1e9}
    assert one.minus_ann == pytest.approx(-0.1)
    assert two.key.T == 1 and two.minus_ann == pytest.approx(-0.3)


def test_the_largest_run_counts_then_the_latest_then_the_smallest_seed(tmp_path):
    runs = [
        {"images": 8, "date": "2026-11-28"},
        {"images": 9, "date": "2026-11-02", "seed": 5},
        {"images": 9, "date": "2026-11-11", "seed": 4},
        {"images": 9, "date": "2026-11-11", "seed": 3},
    ]
    for order in (runs, runs[::-1]):
        rows = board(*order, folder=tmp_path).rows
        assert [(r.key.T, r.run.n, r.run.day, r.run.seed) for r in rows] == [
            (2, 9, "2026-11-11", 3),
            (1, 9, "2026-11-11", 3),
        ]


def test_other_datasets_sizes_and_rules_are_other_rows(tmp_path):
    voc = results()
    for row in (voc["ann"], *voc["steps"]):
        row["mAP_area"] = 0.9 * row["mAP50"]
    changes = [{}, {"dataset": "mine"}, {"imgsz": [288, 416]}, voc]
    datasets = board(*changes, folder=tmp_path).datasets
    assert {name: len(rows) for name, rows in datasets.items()} == {
        ("mine", "COCO"): 2,
        ("val2017", "COCO"): 4,
        ("val2017", "VOC"): 2,
    }
    assert datasets["val2017", "VOC"][0].step.score.ap50 == pytest.approx(0.36)
    assert {row.key.size for row in datasets["val2017", "COCO"]} == {"416", "288x416"}


def test_a_network_without_an_ann_has_no_difference(tmp_path):
    trained = board({"ann": {"macs": 2e9}}, folder=tmp_path)
    assert trained.rows[0].facts()["operations"]["digits"] == 2e9
    assert "| 40.0 | 20.0 | - | 4 | 2 | 1 | 8 |" in trained.markdown()
    trained.save(tmp_path / "out")
    written = json.loads((tmp_path / "out" / "leaderboard.json").read_text())
    assert written["rows"][0]["minus_ann"] is None


def test_a_network_that_never_spiked_has_a_row_and_no_point(tmp_path):
    step = {**results()["steps"][0], "mAP50": 0.0, **SILENT}
    silent = board({"steps": [step], "ann": {"macs": 2e9}}, folder=tmp_path)
    silent.save(tmp_path / "out")
    assert len(silent.rows) == 1 and (tmp_path / "out" / "leaderboard.png").stat().st_size


def test_a_method_has_one_colour_in_every_panel_and_silent_steps_no_place(tmp_path, monkeypatch):
    figures = saved_figures(monkeypatch)
    steps = results()["steps"]
    quiet = [{**steps[0], **SILENT}, steps[1]]
    blind = [{**steps[0], "mAP50": 0.0005}, steps[1]]
    contents = (
        {"method": "msat"},
        {"method": "p-norm", "steps": quiet},
        {"method": "p-norm", "dataset": "other", "steps": blind},
    )
    board(*contents, folder=tmp_path).save(tmp_path / "out")
    curves = [line for axes in figures[0].axes for line in axes.lines]
    colours: dict[str, set[Any]] = {}
    for line in curves:
        method, comma, _ = str(line.get_label()).partition(",")
        if comma and method in ("msat", "p-norm"):
            colours.setdefault(method, set()).add(line.get_color())
    assert [len(of_method) for of_method in colours.values()] == [1, 1]
    assert colours["msat"] != colours["p-norm"]
    lengths = [len(line.get_xdata()) for line in curves if "p-norm" in str(line.get_label())]
    assert lengths == [1, 1], "no place for a step without a spike, or without an object"


def test_names_of_networks_do_not_overlap(tmp_path, monkeypatch):
    figures = saved_figures(monkeypatch)
    ann = results()["ann"]
    contents: list[dict[str, Any]] = [
        {"weights": f"{name}.pt", "ann": {**ann, "mAP50": ap50}, "weights_sha256": name}
        for name, ap50 in (("a", 0.5), ("b", 0.501), ("c", 0.502))
    ]
    board(*contents, folder=tmp_path).save(tmp_path / "out")
    axes = figures[0].axes[0]
    low, high = axes.get_ylim()
    heights = [text.xyann[1] for text in axes.texts]  # type: ignore[attr-defined]
    assert [text.get_text() for text in axes.texts] == ["a", "b", "c"]
    assert all(b - a > 0.04 * (high - low) for a, b in pairwise(heights))


def test_steps_after_a_network_has_settled_are_left_out(tmp_path):
    one, two = results()["steps"]
    rows = board({"steps": [one, two, {**two, "T": 4}, {**two, "T": 8}]}, folder=tmp_path).rows
    assert [row.key.T for row in rows] == [2, 1]
    cheaper = {**two, "T": 4, "sops_per_mac_messages": 0.1}
    rows = board({"steps": [one, two, cheaper]}, folder=tmp_path).rows
    assert sorted(row.key.T for row in rows) == [1, 2, 4]


def test_countings_that_were_rounded_are_taken(tmp_path):
    step = {**results()["steps"][0], "sops_per_mac_digits": 0.5, "sops_per_mac_messages": 0.504}
    assert len(board({"steps": [step]}, folder=tmp_path).rows) == 1
    with pytest.raises(UserError, match="spikes >= digits >= messages"):
        board({"steps": [{**step, "sops_per_mac_messages": 0.506}]}, folder=tmp_path)


def test_the_paired_interval_is_kept(tmp_path):
    steps = results()["steps"]
    steps[0]["interval_95"] = {"mAP50": [0.1, 0.3], "mAP50_minus_ann": [-0.4, -0.2]}
    rows = board({"steps": steps}, folder=tmp_path).rows
    assert [row.step.interval for row in rows] == [None, (-0.4, -0.2)]
    text = board({"steps": steps}, folder=tmp_path).markdown()
    assert "| -30.0 [-40.0, -20.0] | 2 | 1 | 0.5 | 8 | 0 | 2026-11-28 |" in text


def test_the_same_files_give_the_same_bytes(tmp_path):
    a = write_results(tmp_path / "a" / "results.json")
    b = write_results(tmp_path / "b" / "results.json", method="msat", recipe=None)
    for name, sources in (("one", [a, b]), ("two", [b, a]), ("three", [tmp_path / "a", b, b])):
        project = ["--project", tmp_path / "out", "--name", name]
        assert run_tool("leaderboard", *sources, *project) == 0
    for file in ("leaderboard.md", "leaderboard.json", "leaderboard.png"):
        one, two, three = [
            (tmp_path / "out" / name / file).read_bytes() for name in ("one", "two", "three")
        ]
        assert one == two == three
    content = json.loads((tmp_path / "out" / "one" / "leaderboard.json").read_text())
    assert [(row["method"], row["T"]) for row in content["rows"]] == [
        ("msat", 2),
        ("p-norm", 2),
        ("msat", 1),
        ("p-norm", 1),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": None}, "images is missing"),
        ({"seed": None}, "seed is missing"),
        ({"seed": -1}, "seed is not at least 0"),
        ({"images": 0}, "images is not at least 1"),
        ({"images": "8"}, "images is not a whole number"),
        ({"weights_sha256": 13}, "weights_sha256 is not text or null"),
        ({"weights": "/"}, "weights is not the name of a file"),
        ({"imgsz": [416]}, "imgsz is not"),
        ({"imgsz": [416.0, 416]}, "imgsz is not a list of whole numbers"),
        ({"steps": ["1"]}, "steps is not a list of objects"),
        ({"steps": [results()["steps"][0]] * 2}, "steps has one T twice"),
        ({"steps": [{**results()["steps"][0], "sops_per_mac_messages": 9}]}, "spikes >= digits"),
        (
            {"steps": [{**results()["steps"][0], "interval_95": {"mAP50_minus_ann": [0.5, -0.9]}}]},
            r"mAP50_minus_ann is not \[low, high\]",
        ),
        (
            {"steps": [{**results()["steps"][0], "interval_95": {"mAP50_minus_ann": [-1.8, 0.3]}}]},
            "fractions",
        ),
        ({"date": "yesterday"}, "date is no date"),
        ({"method": " "}, "method is empty"),
        ({"steps": [{"T": 1}]}, r"steps\[0\].sops_per_mac_spikes is missing"),
        ({"ann": {"mAP50": 1.5, "mAP50-95": 0, "macs": 1}}, "ann.mAP50 is not 0 to 1"),
        ({"ann": {"top1": 0.5, "macs": 1}}, "of a classifier"),
        ({"ann": None}, "is no results.json"),
        ({"steps": []}, "steps is empty"),
    ],
)
def test_a_file_of_another_schema_is_one_line(change, message, tmp_path):
    path = write_results(tmp_path / "results.json", **change)
    with pytest.raises(UserError, match=message) as error:
        read_run(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": [{**results()["steps"][0], "mAP50": 0.3}]}, "other figures for p-norm at T=1"),
        ({"weights_sha256": "13"}, "two networks are called tiny"),
        ({"ann": {**results()["ann"], "macs": 3e9}}, "two networks are called tiny"),
        ({"recipe": {"name": "p-norm", "neuron": {"gamma": 4}}}, "p-norm with other neuron.gamma"),
    ],
)
def test_two_that_contradict_each_other_are_one_line(change, message, tmp_path):
    with pytest.raises(UserError, match=message):
        board({}, change, folder=tmp_path)


def test_missing_and_damaged_files(tmp_path, capsys):
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "empty").mkdir()
    for source, words in (("none.json", "missing"), ("bad.json", "json"), ("empty", "inside")):
        assert run_tool("leaderboard", tmp_path / source, "--project", tmp_path / "out") == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and words in error
    assert not (tmp_path / "out").exists()


def test_text_of_a_file_stays_text():
    assert cell("a|b <img src=x>") == "a\\|b &lt;img src=x&gt;"


def test_published_detectors_say_where_they_were_read(tmp_path):
    published = read_published()
    assert {"SpikeYOLO, largest", "EMS-YOLO", "SpikeDet (MDSNet)"} <= {p.name for p in published}
    # Nobody has published operations that are counted as ours are.
    text = board({}, folder=tmp_path).markdown()
    assert "| SpikeYOLO, largest | val2017 | 66.2 | 48.9 | 1 x 4 | unknown |" in text
    content = [{"name": "x", "dataset": "d", "level": "rumour"}]
    path = tmp_path / "published.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"\[0\].level is none of paper, abstract"):
        read_published(path)
    path.write_text("{}")
    with pytest.raises(UserError, match="no list"):
        read_published(path)


def test_of_an_evaluation(tmp_path):
    """`eval` writes all that a leaderboard needs."""
    weights, instances = make_scene(tmp_path)
    data = ("--data", instances, "--images", tmp_path / "images", "--weights", weights)
    project = ("--project", tmp_path / "eval", "--method", "p-norm", "--T", "4")
    assert run_tool("eval_coco", *data, *project, "--bootstrap", "9", "--seed", "3") == 0
    assert run_tool("leaderboard", tmp_path / "eval", "--project", tmp_path / "out") == 0
    written = json.loads((tmp_path / "eval" / "exp" / "results.json").read_text())
    assert written["ann"]["energy_mJ_loihi"] is None
    assert all(step["energy_mJ_loihi"] > 0 for step in written["steps"])
    rows = json.loads((tmp_path / "out" / "exp" / "leaderboard.json").read_text())["rows"]
    assert {row["T"] for row in rows} == {1, 2, 4}
    assert {row["seed"] for row in rows} == {3}
    for row in rows:
        step = next(step for step in written["steps"] if step["T"] == row["T"])
        assert row["operations"]["spikes"] == pytest.approx(step["sops_per_image"])
        assert row["minus_ann_95"] == step["interval_95"]["mAP50_minus_ann"]
