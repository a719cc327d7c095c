"""eval_coco.py and eval_voc.py as a person calls them: kills, resumption, several processes,
mistakes.
"""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.evaluating import make_scene
from helpers.tiny import run_tool

from spiking_yolo.apps.evaluate.evaluation import until_settled

ROOT = Path(__file__).parents[3]
COCO, VOC = ROOT / "tools" / "eval_coco.py", ROOT / "tools" / "eval_voc.py"
ENV = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene")
    return make_scene(folder, 16)[0]


def call(scene, project, *more):
    """Arguments of a run of some seconds."""
    network = ["--weights", scene, "--method", "dcgs", "--T", 120, "--steps", "4,16"]
    return ["--data", scene.parent, *network, "--project", project, *more]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As in the other processes: rounding depends on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tool(path, *args):
    """The tool in this process, since each start costs seconds: exit status, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run_tool(path.stem, *args)
    return status, out.getvalue(), err.getvalue()


def figures(folder):
    content = json.loads((folder / "results.json").read_text())
    del content["seconds_per_image"], content["command"]
    return content


@pytest.fixture(scope="module")
def reference(scene, tmp_path_factory):
    project = tmp_path_factory.mktemp("reference")
    status, printed, error = tool(COCO, *call(scene, project))
    assert status == 0, error
    return figures(project / "exp"), printed, project


def records(folder):
    return sum(len(p.read_bytes().splitlines()) - 1 for p in folder.glob("records-*.jsonl"))


def test_the_first_line_ends_where_the_network_has_settled():
    def row(mAP50: float, operations: float) -> dict[str, float]:
        return {"mAP50": mAP50, "output_error": 0.1, "sops_per_mac_spikes": operations}

    moving, settled = [row(0.4, 1), row(0.5, 2)], [row(0.4, 1), row(0.5, 2), row(0.5, 2)]
    assert until_settled(moving, "mAP50") == moving
    assert until_settled(settled, "mAP50") == moving
    assert until_settled([row(0.5, 2), row(0.5, 3)], "mAP50") == [row(0.5, 2), row(0.5, 3)]


def test_single_run(reference):
    content, printed, project = reference
    assert [row["T"] for row in content["steps"]] == [4, 16, 120] and content["images"] == 16
    assert content["steps"][2]["mAP50"] > 0.1
    # Which is a command.
    lines = printed.splitlines()
    assert max(map(len, lines)) <= max(110, len(str(project)) + 50)
    command = json.loads((project / "exp" / "results.json").read_text())["command"]
    assert content["weights"] == "net.weights" and command.startswith("eval_coco.py --data ")
    assert content["per_class"]["ann"].keys() == content["per_class"]["120"].keys()
    assert np.nanmean(list(content["per_class"]["120"].values())) == pytest.approx(
        content["steps"][2]["mAP50"]
    )
    score, costs, energy, saved = lines[-4:]
    percents = [f"{100 * row['mAP50']:.1f}" for row in content["steps"]]
    assert f"mAP50 {', '.join(percents)} % at T=4,16,120; ANN " in score
    last = content["steps"][2]
    assert costs.startswith("T=120: ") and f"{last['sops_per_mac_spikes']:.3g} spikes" in costs
    assert f"output error {last['output_error']:.3f}" in costs
    mJ = f"{last['energy_mJ_fp32']:.3g} / {content['ann']['energy_mJ_fp32']:.3g}"
    assert energy.startswith(f"mJ per image, SNN / ANN: fp32: {mJ}; 8 bit: ")
    assert saved == f"results saved to {project / 'exp'}; -v prints the tables"
    names = {p.name for p in (project / "exp").iterdir()}
    assert names >= {"results.csv", "predictions_ann.json", "predictions_16.json", "mAP-T.png"}


def test_killed_and_resumed_run_has_the_same_figures(scene, reference, tmp_path):
    command = [sys.executable, str(COCO), *map(str, call(scene, tmp_path))]
    process = subprocess.Popen(
        command, env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and records(tmp_path / "exp") < 3:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    log = tmp_path / "exp" / "records-0.jsonl"
    kept = records(tmp_path / "exp")
    assert 3 <= kept < 16 and not (tmp_path / "exp" / "results.json").exists()
    with open(log, "ab") as file:
        # As a kill inside a write leaves it.
        file.write(log.read_bytes().splitlines()[-1][:50])
    status, _, refused = tool(COCO, *call(scene, tmp_path, "--resume", "latest", "--conf", "0.01"))
    assert status == 2 and "conf=0.001, not 0.01" in refused
    assert tool(COCO, *call(scene, tmp_path, "--resume", "latest"))[0] == 0
    assert figures(tmp_path / "exp") == reference[0]
    # Nothing is left of the torn one.
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert sorted(line["index"] for line in lines[1:]) == list(range(16))
    status, _, finished = tool(COCO, *call(scene, tmp_path, "--resume", tmp_path / "exp"))
    assert status == 2 and "is finished" in finished


def test_two_processes_give_the_figures_of_one(scene, reference, tmp_path):
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    command = [*launcher, str(COCO), *map(str, call(scene, tmp_path))]
    done = subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert figures(tmp_path / "exp") == reference[0]
    for one in (p.name for p in tmp_path.glob("exp/predictions_*.json")):
        assert (tmp_path / "exp" / one).read_bytes() == (reference[2] / "exp" / one).read_bytes()
    assert [len(p.read_text().splitlines()) for p in sorted(tmp_path.glob("exp/records-*"))] == [
        9,
        9,
    ]
    assert done.stdout.count("results saved to") == 1


MISTAKES = {
    "no annotations": (COCO, ["--data", "{empty}"], "is no detection dataset"),
    "not COCO": (COCO, ["--data", "{empty}/not.json"], "no list 'images'"),
    "images without json": (
        COCO,
        ["--data", "{empty}", "--images", "{empty}"],
        "a COCO annotation file",
    ),
    "no listing": (VOC, ["--data", "{empty}"], "VOC2012"),
    "seed alone": (COCO, ["--seed", "1"], "--limit"),
    "batch": (COCO, ["--batch", "0"], "--batch"),
    "steps": (COCO, ["--T", "8", "--steps", "9"], "1..8"),
    "nothing to resume": (
        COCO,
        ["--T", "2", "--project", "{empty}", "--resume", "latest"],
        "no unfinished run",
    ),
    "weight bits": (COCO, ["--weight-bits", "1"], "--weight-bits"),
    "energy": (COCO, ["--sram-energy", "-1"], "--sram-energy"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_line(name, tmp_path):
    (tmp_path / "not.json").write_text("{}")
    path, args, said = MISTAKES[name]
    status, _, error = tool(path, *(a.format(empty=tmp_path) for a in args))
    assert (
        status == 2 and error.startswith("error: ") and said in error and error.count("\n") == 1
    ), error


def test_coco_network_on_voc_and_a_seeded_choice(tmp_path):
    """The shipped COCO network on two photographs in VOC's layout; the other is left out by
    --limit.
    """
    base = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (base / folder).mkdir(parents=True)
    boxes = {
        "dog": (768, 576, "dog", 130, 220, 320, 540),
        "horses": (773, 512, "horse", 400, 200, 600, 350),
    }
    for stem, (width, height, label, *corners) in boxes.items():
        shutil.copy(ROOT / "data" / "samples" / f"{stem}.jpg", base / "JPEGImages")
        box = "".join(
            f"<{k}>{v}</{k}>"
            for k, v in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
        )
        size = f"<size><width>{width}</width><height>{height}</height></size>"
        text = f"<annotation>{size}<object><name>{label}</name><bndbox>{box}</bndbox></object></annotation>"
        (base / "Annotations" / f"{stem}.xml").write_text(text)
    (base / "ImageSets" / "Main" / "val.txt").write_text("dog\nhorses\n")
    argv = [
        "--data",
        tmp_path,
        "--T",
        "2",
        "--limit",
        "1",
        "--seed",
        "3",
        "--project",
        tmp_path / "runs",
    ]
    status, printed, error = tool(VOC, *argv)
    assert status == 0, error
    assert (
        "20 of the network's 80 classes are matched" in printed
        and "1 of 2 images, by --limit" in printed
    )
    content = json.loads((tmp_path / "runs" / "exp" / "results.json").read_text())
    assert set(content["ann"]) >= {"mAP_07", "mAP_area", "mAP50"} and content["images"] == 1
    assert content["ann"]["mAP_area"] > 0
    assert (tmp_path / "runs" / "exp" / "instances.json").is_file()
