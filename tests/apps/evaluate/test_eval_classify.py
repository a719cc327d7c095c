"""eval_classify.py called by a person, against computations of its own: one method, several,
resumed, in processes.
"""

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.classifying import NAMES, write_all, write_image
from helpers.tiny import ROOT, run_tool, write_tiny
from PIL import Image

from spiking_yolo.convert.load import load
from spiking_yolo.data.formats import open_classification
from spiking_yolo.models.load import load_checkpoint

STEPS = ("--steps", "2,8")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As in the processes of torchrun: rounding depends on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("classes"))


def evaluate(scene, project, *more) -> int:
    options = {"--weights": scene[0], "--data": scene[1], "--project": project, STEPS[0]: STEPS[1]}
    given = [part for pair in options.items() if pair[0] not in more for part in pair]
    return run_tool("eval_classify", *given, *more)


def results(folder: Path) -> dict:
    content = json.loads((folder / "results.json").read_text())
    del content["seconds_per_image"], content["command"]
    return content


@pytest.fixture(scope="module")
def reference(scene, tmp_path_factory):
    project = tmp_path_factory.mktemp("reference")
    assert evaluate(scene, project, "--batch", 4) == 0
    return project / "exp"


def inputs(scene) -> tuple[torch.Tensor, torch.Tensor]:
    """All test images and labels, read and normalised here."""
    spec = load_checkpoint(scene[0])[1]
    paths = sorted((scene[1] / "test").glob("*/*.png"))
    x = (
        torch.stack(
            [torch.from_numpy(np.asarray(Image.open(p)).copy()).permute(2, 0, 1) for p in paths]
        )
        / 255
    )
    mean, std = (torch.tensor(v)[:, None, None] for v in (spec.mean, spec.std))
    return (x - mean) / std, torch.tensor([NAMES.index(p.parent.name) for p in paths])


def accuracies(logits: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    return tuple(
        (logits.topk(k).indices == labels[:, None]).any(1).double().mean().item() for k in (1, 5)
    )


def test_rows_equal_computations_of_their_own(scene, reference):
    """The ANN by its module, the spiking network by a run of all images to each T alone."""
    content = results(reference)
    x, labels = inputs(scene)
    with torch.no_grad():
        ann = accuracies(load_checkpoint(scene[0])[0](x), labels)
    assert (content["ann"]["top1"], content["ann"]["top5"]) == pytest.approx(ann) and 0.5 < ann[
        0
    ] < ann[1]
    assert content["images"] == len(labels) and [row["T"] for row in content["steps"]] == [2, 8]
    for row in content["steps"]:
        snapshot = load(scene[0]).network().run(x, row["T"]).snapshots[row["T"]]
        assert (row["top1"], row["top5"]) == pytest.approx(accuracies(snapshot.outputs[0], labels))
        spikes = sum(total.mean().item() for total in snapshot.spikes.values())
        assert row["spikes_per_image"] == pytest.approx(spikes)
        assert row["sops_per_image"] == pytest.approx(snapshot.operations.digits.mean().item())


def test_files(reference):
    names = {p.name for p in reference.iterdir()}
    assert names >= {"results.csv", "accuracy-T.png", "accuracy-operations.png"}
    with open(reference / "results.csv") as file:
        rows = list(csv.DictReader(file))
    content = results(reference)
    assert [row["row"] for row in rows] == ["ann", "T=2", "T=8"] and float(
        rows[0]["macs"]
    ) == content["ann"]["macs"]
    saved = json.loads((reference / "predictions_8.json").read_text())
    right = [NAMES[row["class_id"][0]] == Path(row["image"]).parent.name for row in saved]
    assert len(saved) == content["images"] and np.mean(right) == pytest.approx(
        content["steps"][1]["top1"]
    )
    assert all(row["confidence"] == sorted(row["confidence"], reverse=True) for row in saved)
    assert all(NAMES[row["label"]] == Path(row["image"]).parent.name for row in saved)


def test_batches_change_nothing_but_rounding(scene, reference, tmp_path):
    assert evaluate(scene, tmp_path) == 0  # all in one
    a, b = results(reference), results(tmp_path / "exp")
    for one, other in zip([a["ann"], *a["steps"]], [b["ann"], *b["steps"]], strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            # None: what no ANN has.
            assert value == (other[name] if value is None else pytest.approx(other[name], rel=1e-4))


def cut(log: Path, keep: int) -> None:
    """As a kill -9 within a write leaves it: whole lines, and a part of one."""
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:keep]) + lines[keep][:40])


def test_resumed_run_has_the_same_figures(scene, reference, tmp_path, capsys):
    shutil.copytree(reference, tmp_path / "exp")
    (tmp_path / "exp" / "results.json").unlink()
    cut(tmp_path / "exp" / "records-0.jsonl", 9)
    assert evaluate(scene, tmp_path, "--batch", 3, "--resume", "latest") == 2
    assert "batch=4, not 3" in capsys.readouterr().err
    assert evaluate(scene, tmp_path, "--batch", 4, "--resume", "latest") == 0
    assert results(tmp_path / "exp") == results(reference)
    assert evaluate(scene, tmp_path, "--batch", 4, "--resume", tmp_path / "exp") == 2


def test_methods_are_paired_with_the_first(scene, tmp_path, capsys):
    """Against drawing images, with all their predictions, again and again."""
    methods = ("p-norm", "dcgs", "burst")
    assert (
        evaluate(scene, tmp_path, "--methods", ",".join(methods), "--bootstrap", 80, "--seed", 3)
        == 0
    )
    folder, printed = tmp_path / "exp", capsys.readouterr().out
    compared = json.loads((folder / "comparison.json").read_text())["methods"]
    assert "minus_first" not in compared["p-norm"] and "minus p-norm, 95 %  " in printed
    for t in ("2", "8"):
        hits = {}
        for name in methods:
            rows = json.loads((folder / name / f"predictions_{t}.json").read_text())
            hits[name] = [row["label"] == row["class_id"][0] for row in rows]
        n = len(hits["p-norm"])
        for name in methods[1:]:
            gained = np.subtract(hits[name], hits["p-norm"], dtype=float)
            copies = np.random.default_rng(3).multinomial(n, np.full(n, 1 / n), size=80)
            drawn = [np.repeat(gained, times).mean() for times in copies]
            expected = [gained.mean(), *np.percentile(drawn, [2.5, 97.5])]
            assert compared[name]["minus_first"][t]["top1"] == pytest.approx(expected)
            shown = "{:+.1f} [{:.1f}, {:.1f}]".format(*(100 * np.array(expected)))
            assert shown in next(
                line for line in printed.split("minus p-norm")[1].splitlines() if name in line
            )
    assert any(row["top1"][1] < row["top1"][2] for row in compared["dcgs"]["minus_first"].values())


def test_several_methods_in_one_run(scene, reference, tmp_path, capsys):
    methods = ("--methods", "p-norm,signed-digits", "--early-exit", 3, "--batch", 4)
    assert evaluate(scene, tmp_path, *methods) == 0
    printed = capsys.readouterr().out
    run = tmp_path / "exp"
    content = json.loads((run / "comparison.json").read_text())
    assert list(content["methods"]) == ["p-norm", "signed-digits"]
    assert content["methods"]["signed-digits"]["steps"] == results(reference)["steps"]
    one = results(run / "p-norm")
    assert one["method"] == "p-norm" and one["steps"] == content["methods"]["p-norm"]["steps"]
    assert "early_exit" in one and one["steps"][0]["top1"] < one["ann"]["top1"]
    with open(run / "comparison.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["ann", *["p-norm"] * 2, *["signed-digits"] * 2]
    assert {p.name for p in run.glob("*.png")} == {"accuracy-T.png", "accuracy-operations.png"}
    gap = 100 * (one["steps"][1]["top1"] - one["ann"]["top1"])
    assert re.search(rf"minus ANN .*\np-norm +\S+ +{re.escape(f'{gap:+.1f}')}\n", printed)
    assert (
        max(len(line) for line in printed.splitlines() if not line.startswith("results saved"))
        <= 100
    )

    (run / "comparison.json").unlink()
    cut(run / "signed-digits" / "records-0.jsonl", 1)
    # A run of one method is not there.
    assert evaluate(scene, tmp_path, "--resume", "latest") == 2
    assert evaluate(scene, tmp_path, *methods, "--resume", "latest") == 0
    resumed = json.loads((run / "comparison.json").read_text())
    assert (
        resumed.pop("command") == f"{content.pop('command')} --resume latest" and resumed == content
    )


def test_two_processes_give_the_figures_of_one(scene, reference, tmp_path):
    weights, data = scene
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    args = ["--data", data, "--weights", weights, "--project", tmp_path, *STEPS, "--batch", "4"]
    command = [*launcher, str(ROOT / "tools" / "eval_classify.py"), *map(str, args)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert results(tmp_path / "exp") == results(reference)
    assert len(list((tmp_path / "exp").glob("records-*.jsonl"))) == 2
    assert done.stdout.count("results saved to") == 1


def test_limit_is_a_seeded_choice_of_all_classes(scene, tmp_path, capsys):
    for name, options in (("a", ()), ("b", ("--seed", 1))):
        assert (
            evaluate(
                scene,
                tmp_path,
                "--name",
                name,
                "--limit",
                9,
                "--bootstrap",
                50,
                "--per-class",
                *options,
            )
            == 0
        )
    assert "note: 9 of" in capsys.readouterr().out
    images = {
        name: [
            row["image"]
            for row in json.loads((tmp_path / name / "predictions_ann.json").read_text())
        ]
        for name in "ab"
    }
    for name, seed in (("a", 0), ("b", 1)):
        assert images[name] == [
            p.name for p in open_classification(scene[1]).subset(9, seed).pictures
        ]
    assert images["a"] != images["b"] and len({Path(image).parent for image in images["a"]}) > 2
    low, high = results(tmp_path / "a")["ann"]["interval_95"]["top1"]
    assert low <= results(tmp_path / "a")["ann"]["top1"] <= high


def test_converted_file(scene, reference, tmp_path, capsys):
    weights = tmp_path / "spiking.safetensors"
    assert run_tool("export", "--weights", scene[0], "-o", weights) == 0
    assert evaluate((weights, scene[1]), tmp_path, "--batch", 4) == 0
    for own, other in zip(
        results(tmp_path / "exp")["steps"], results(reference)["steps"], strict=True
    ):
        assert own == pytest.approx(other, rel=1e-6)
    assert evaluate((weights, scene[1]), tmp_path, "--methods", "p-norm,opt") == 2
    assert "already converted" in capsys.readouterr().err


def test_what_is_missing_is_made_by_the_command_of_the_message(scene, tmp_path, capsys):
    weights = tmp_path / "a b" / "net.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(scene[0].read_bytes())
    runs = ("--methods", "msat", "--set", "calibration.T=2")
    # The statistics; what a method finds by running the network.
    for call in (("--methods", "p-norm"), runs):
        capsys.readouterr()
        assert evaluate((weights, scene[1]), tmp_path, *call) == 2
        said = capsys.readouterr().err
        command = re.search(r"spiking-yolo calibrate (.*?)( \[|$)", said.strip())
        assert command and said.count("\n") == 1
        args = shlex.split(command[1].replace("DATA", str(scene[1])))
        assert run_tool("calibrate", *args) == 0
        assert evaluate((weights, scene[1]), tmp_path, *call, "--limit", 2) == 0


MISTAKES = {
    "detector": (["--weights", "{folder}/tiny.weights"], "a detector, which gives images no class"),
    "other classes": (["--data", "{folder}/other"], "no class 'zebra'"),
    "no data": (["--data", "{folder}/nowhere"], "nowhere does not exist"),
    "no split": (["--split", "val"], "val has no folders of images"),
    "no images of the split": (["--data", "{folder}"], "test has no folders of images"),
    "seed alone": (["--seed", "1"], "--limit"),
    "method twice": (["--methods", "p-norm,p-norm"], "once"),
    "unknown method": (["--methods", "p-norm,magic"], "'magic'"),
    "step": (["--steps", "0,8"], "--steps"),
    "batch": (["--batch", "0"], "--batch"),
    "nothing to resume": (["--methods", "p-norm,opt", "--resume", "latest"], "no unfinished run"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_line(name, scene, tmp_path, capsys):
    args, said = MISTAKES[name]
    write_tiny(tmp_path)
    write_image(tmp_path / "other" / "test" / "zebra" / "0.png", 0)
    before = sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    assert evaluate(scene, tmp_path, *(a.format(folder=tmp_path) for a in args)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and error.count("\n") == 1, error
    assert sorted(tmp_path.rglob("*")) == before
