"""The race of runtimes: turns and multiples worked out by hand, what each runs, the tool on a tiny
network.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from helpers.tiny import run_tool, write_tiny

from spiking_yolo.apps.benchmark import LIMITS, BenchmarkOptions, race, runtimes
from spiking_yolo.apps.benchmark.race import fastest, still_figures, video_figures
from spiking_yolo.apps.benchmark.run import read_limits
from spiking_yolo.apps.benchmark.runtimes import BASIS, RUNTIMES, Job, Runtime, write_files
from spiking_yolo.errors import pip_install
from spiking_yolo.graph import forward
from spiking_yolo.options import load_ann

SIMULATOR = "spiking, simulator"
INT8 = "ANN, onnxruntime int8"


@dataclass
class Scripted:
    """A runner whose images take 1, 2, 3, ... units in the order of its calls."""

    unit: float
    calls: list[range] = field(default_factory=list)
    count: int = 0

    def seconds(self, images: Path, turn: range) -> list[float]:
        self.calls.append(turn)
        times = []
        for _ in turn:
            self.count += 1
            times.append(self.unit * self.count)
        return times


def test_first_turns_and_first_images_do_not_count(monkeypatch):
    monkeypatch.setattr(race, "PAUSE", 0)
    runners = {"a": Scripted(1), "b": Scripted(10)}
    order: list[str] = []
    turns = [range(3), range(3, 6), range(6, 8)]
    seconds = race.race(cast(Any, runners), Path("images.npy"), turns, order.append)
    assert seconds == {"a": (5, 6, 8), "b": (50, 60, 80)}
    assert order == ["a", "b"] * 3 and runners["a"].calls == turns


SECONDS = {
    "ANN, PyTorch": (8.0, 8.0, 8.0),
    # The machine was slow in the second call, of this and of the simulator.
    BASIS: (4.0, 8.0, 4.0),
    "ANN, OpenVINO": (2.0, 4.0, 2.0),
    INT8: (1.0, 2.0, 1.0),
    "ANN, OpenVINO int8": (2.0, 2.0, 2.0),
    SIMULATOR: (3.0, 10.0, 5.0),
}


def test_multiples_of_photographs():
    assert fastest(SECONDS) == INT8 and fastest(SECONDS, "float32") == "ANN, OpenVINO"
    rows = still_figures(SECONDS)
    simulator = rows[SIMULATOR]
    assert (simulator["ms"], simulator["least_ms"]) == (5000, 3000)
    # 3/4, 10/8, 5/4; 3/2, 10/4, 5/2; 3, 5, 5.
    assert simulator["of_onnxruntime"] == 1.25
    assert (simulator["of_fastest_alike"], simulator["of_fastest"]) == (2.5, 5)
    # 2/1, 2/2, 2/1: of int8 the fastest int8.
    assert rows["ANN, OpenVINO int8"]["of_fastest_alike"] == 2
    assert rows[BASIS]["of_onnxruntime"] == rows[INT8]["of_fastest"] == 1


def test_multiples_of_a_video():
    anns = {name: SECONDS[name] for name in (BASIS, "ANN, OpenVINO", INT8)}
    row = video_figures({race.EVENT_DRIVEN: (1.0, 1.0, 2.0), **anns})
    assert row["ms"] == pytest.approx(4000 / 3) and row["frames"] == 3
    # Means: 4 / 16, 4 / 8, 4 / 4.
    multiples = row["of_onnxruntime"], row["of_fastest_alike"], row["of_fastest"]
    assert multiples == pytest.approx((0.25, 0.5, 1))


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A tiny network, whose files are written."""
    for module in ("onnxscript", "onnxruntime"):
        pytest.importorskip(module, reason=pip_install("onnx"))
    folder = tmp_path_factory.mktemp("race")
    options = BenchmarkOptions(weights=write_tiny(folder), images=folder / "photos")
    job = Job(options, folder, torch.get_num_threads())
    assert write_files(job, load_ann(options)) == 2
    return job


def apart(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@torch.no_grad()
def ann_heads(job: Job, x: np.ndarray) -> list[np.ndarray]:
    return [head.numpy() for head in forward(load_ann(job.options).graph, torch.from_numpy(x))]


@pytest.mark.parametrize("name", [name for name in RUNTIMES if not RUNTIMES[name].spiking])
def test_the_ann_in_every_runtime(name: str, job: Job):
    runtime = RUNTIMES[name]
    if absent := runtime.absent():
        pytest.skip(absent)
    if name.endswith("compiled") and runtimes.missing():
        pytest.skip(runtimes.missing())
    run = runtime.load(job)
    x = np.load(job.folder / runtimes.PHOTOGRAPHS_FILE)[:1]
    (heads,) = run(x)
    (expected,) = ann_heads(job, x)
    error = apart(heads, expected)
    if runtime.precision == "float32":
        assert error < 1e-5
    else:
        # Eight bits are seen, and no more than that.
        assert 1e-4 < error < 0.1


def test_the_spiking_network_in_every_runtime(job: Job):
    x = np.load(job.folder / runtimes.PHOTOGRAPHS_FILE)[:1]
    (expected,) = RUNTIMES[SIMULATOR].load(job)(x)
    assert 1e-4 < apart(expected, ann_heads(job, x)[0]) < 0.1
    for name in ("spiking, onnxruntime", "spiking, onnxruntime, not counted"):
        (heads,) = RUNTIMES[name].load(job)(x)
        assert apart(heads, expected) < 0.01
    stream = runtimes.event_driven(job)
    (first,) = stream(x)
    np.testing.assert_allclose(first, expected, rtol=1e-4, atol=1e-4)
    # Of an unchanged frame nothing is sent, and the heads stay.
    np.testing.assert_allclose(stream(x)[0], first, rtol=1e-4, atol=1e-4)


def test_what_this_machine_lacks(job: Job, monkeypatch):
    runtime = Runtime(runtimes.openvino, needs=("no_such_runtime", "json"))
    assert runtime.absent() == "not installed: pip install no_such_runtime"
    monkeypatch.setenv("CXX", "no-compiler")
    for name in ("ANN, PyTorch compiled", "spiking, simulator compiled"):
        assert "no C++ compiler" in race._start(RUNTIMES[name], job)

    def broken(job: Job) -> Any:
        print("words of a library")
        raise RuntimeError("operator Foo is not supported\nTraceback")

    assert race._start(Runtime(broken), job) == "operator Foo is not supported"


def test_the_part_of_the_tool(job: Job, tmp_path: Path, capsys, monkeypatch):
    """Three of the runtimes, of which one is not installed; a dataset; a limit that is broken."""
    monkeypatch.chdir(tmp_path)
    absent = Runtime(runtimes.openvino, needs=("no_such_runtime",))
    few = {BASIS: RUNTIMES[BASIS], "ANN, OpenVINO": absent, SIMULATOR: RUNTIMES[SIMULATOR]}
    for module in (race, runtimes):
        monkeypatch.setattr(module, "RUNTIMES", few)
    frame = np.full((48, 80, 3), 90, np.uint8)
    monkeypatch.setattr(race, "clips", lambda options: {"still": [frame] * options.frames})
    limits = tmp_path / "limits.json"
    of = ["runtimes", "still", SIMULATOR, "of_onnxruntime"]
    limits.write_text(json.dumps([{"of": of, "at_most": 1e-9}]))
    call = ["--weights", job.options.weights, "--images", job.options.images, "--repeats", 1]
    call += ["--parts", "runtimes", "--data", annotated(tmp_path), "--frames"]
    assert run_tool("benchmark", *call, 11) == 2
    assert "still has 11 frames: give a video of 12 or more" in capsys.readouterr().err
    assert run_tool("benchmark", *call, 13, "--assert", "--limits", limits) == 1
    out, err = capsys.readouterr()
    assert "ANN, OpenVINO: not installed: pip install no_such_runtime" in out
    assert " / ".join(of) in err and "mAP50-95" in out
    (results,) = tmp_path.glob("runs/benchmark/*/benchmark.json")
    part = json.loads(results.read_text())["runtimes"]
    assert part["fastest"] == {"float32": BASIS, "all": BASIS}
    assert (part["calibration"], part["photographs"]) == (2, 1)
    assert list(part["still"]) == list(few) and part["still"][BASIS]["of_fastest"] == 1
    assert 0 <= part["still"][SIMULATOR]["mAP50-95"] <= part["still"][SIMULATOR]["mAP50"] <= 1
    # Of 13 frames the first 6 do not count, nor the first of the others, nor the last alone.
    assert {row["frames"] for row in part["video"].values()} == {5}


def annotated(folder: Path) -> Path:
    """An annotation file of one photograph of the tiny network's."""
    image = {"id": 1, "file_name": "a.png", "width": 80, "height": 48}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [8, 8, 24, 24]}
    categories = [{"id": k, "name": name} for k, name in enumerate(("cat", "dog", "bird"), 1)]
    write_tiny(folder)
    path = folder / "photos" / "boxes.json"
    content = {"images": [image], "annotations": [box], "categories": categories}
    path.write_text(json.dumps(content))
    return path


def test_without_the_extra(job: Job, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    call = ["--weights", job.options.weights, "--images", job.options.images]
    assert run_tool("benchmark", *call, "--parts", "runtimes", "--assert") == 0
    out = capsys.readouterr().out
    assert pip_install("onnx") in out and "not measured here: runtimes" in out


def test_the_shipped_limits_name_rows_that_exist():
    limits = [limit for limit in read_limits(LIMITS) if limit.of[0] == "runtimes"]
    stills = {limit.of[2] for limit in limits if limit.of[1] == "still"}
    assert stills and stills <= set(RUNTIMES)
    assert {limit.of[3] for limit in limits} == {"of_onnxruntime"}
