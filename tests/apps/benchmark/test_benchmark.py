"""What a benchmark computes from its clock, the baseline; the tool on a tiny network."""

import itertools
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny import YOLO, photo, run_tool, write_tiny

from spiking_yolo.apps.benchmark import Baseline, run
from spiking_yolo.apps.benchmark.run import GROWTH, figures, growth, interleaved
from spiking_yolo.errors import UserError, pip_install
from spiking_yolo.evaluate.baselines import baseline_of, photographs
from spiking_yolo.graph import forward
from spiking_yolo.integer.memory import Timing
from spiking_yolo.options import MethodOptions


def pairs(*seconds: float) -> list[np.ndarray]:
    """The CPU takes twice as long as the clock: two threads."""
    return [np.array((one, 2 * one)) for one in seconds]


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """The time, which tests change."""
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    monkeypatch.setattr("time.process_time", lambda: 2 * clock[0])
    return clock


def test_ratios_are_medians_of_pairs():
    """Two of three pairs took twice as long in both: the machine was slow, the ratio is not."""
    row = figures(pairs(6.0, 12.0, 20.0), pairs(1.0, 2.0, 2.0), steps=4)
    assert row["ratios"] == [1.5, 1.5, 2.5] and row["ratio"] == row["cpu_ratio"] == 1.5
    assert (row["from"], row["to"], row["runs"]) == (1.5, 2.5, 3)
    assert (row["ms"], row["cpu_ms"], row["ann_ms"], row["ann_cpu_ms"]) == (3000, 6000, 2000, 4000)


def test_cases_take_turns_and_the_first_round_does_not_count(clock: list[float]):
    """A clock that a moves by 10, b by 30, and each reference by 1 more; the first four calls take
    100 more. A run of one step is called as often as the reference.
    """
    calls, pace = [], itertools.count(1)

    def spend(name: str, amount: float, steps: int = 1) -> int:
        calls.append(name)
        clock[0] += amount + (100 if len(calls) <= 4 else 0)
        return steps

    cases = {"a": lambda: spend("a", 10, 5), "b": lambda: spend("b", 30)}
    result = interleaved(cases, lambda: spend("r", next(pace)), 3, torch.device("cpu"), calls=2)
    assert calls == ["r", "r", *["a", "r", "r", "b", "b", "r", "r"] * 4]
    assert result == {
        "a": figures(pairs(10, 10, 10), pairs(6.5, 10.5, 14.5), 5),
        "b": figures(pairs(30, 30, 30), pairs(8.5, 12.5, 16.5), 1),
    }


def test_only_later_frames_are_timed(clock: list[float]):
    """A clock that every frame moves by 6 and every pass by 8: of seven frames the first four do
    not count.
    """
    frames = [torch.full((1, 1, 1, 1), k) for k in range(7)]

    def spend(amount: float) -> None:
        clock[0] += amount

    case = run.later_frames(lambda frame: spend(6 if frame >= 4 else 600), frames)
    row = interleaved({"": case}, lambda: spend(8), 3, torch.device("cpu"), calls=1)[""]
    assert row["ratios"] == [0.75] * 3 and row["ratio"] == 0.75
    assert (row["ms"], row["ann_ms"]) == (6000, 8000)


@pytest.mark.slow
@pytest.mark.parametrize("name", ("onnxruntime", "onnxruntime-int8"))
def test_a_baseline_computes_the_ann(tmp_path: Path, name: Baseline, capfd):
    """In 8 bits with padding of -inf, which has no scale."""
    for module in ("onnxscript", "onnxruntime"):
        pytest.importorskip(module, reason=pip_install("onnx"))
    cfg = YOLO.replace(
        "[convolutional]\nfilters=16", "[maxpool]\nsize=2\nstride=1\n[convolutional]\nfilters=16"
    )
    converted = MethodOptions(weights=write_tiny(tmp_path, cfg=cfg)).convert()
    x = torch.from_numpy(photographs(converted.spec)[0])
    capfd.readouterr()
    run = baseline_of(converted, name, torch.device("cpu"))
    (heads,) = run(x)
    with torch.no_grad():
        (expected,) = forward(converted.graph, x)
    error = (torch.from_numpy(heads) - expected).norm() / expected.norm()
    assert error < (0.25 if name.endswith("int8") else 1e-5)
    assert "pre-processing" not in capfd.readouterr().err


def test_a_baseline_that_is_missing(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    converted = MethodOptions(weights=write_tiny(tmp_path)).convert()
    with pytest.raises(UserError, match=r"pip install '.*onnx\]'"):
        baseline_of(converted, "onnxruntime-int8", torch.device("cpu"))


FIGURES = {"ratio", "cpu_ratio", "from", "to", "ms", "cpu_ms", "ann_ms", "ann_cpu_ms", "runs"}
FIGURES |= {"steps", "ratios"}


def test_the_tool(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    call = ["--weights", write_tiny(tmp_path), "--T", 2, "--repeats", 1]
    call += ["--frames", 7, "--threads", 1, "--busy", 1]
    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def popen(*words: Any, **how: Any) -> subprocess.Popen[bytes]:
        started.append(start(*words, **how))
        return started[-1]

    monkeypatch.setattr(run.subprocess, "Popen", popen)
    try:
        assert run_tool("benchmark", *call, "--methods", "signed-digits,p-norm") == 0
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
    results = json.loads((tmp_path / "runs/benchmark/exp/benchmark.json").read_text())
    assert results["machine"]["threads"] == 1
    assert results["call"]["source"] == "person.mp4" and results["call"]["frames"] == 7
    assert results["one_step"]["signed-digits"]["steps"] == 1
    assert results["steps"]["p-norm"]["steps"] == 2
    video = results["video"]
    assert list(video) == ["lossless", "default", "still camera"]
    assert results["call"]["busy"] == 1
    # The other program ran beside it, and does not go on.
    assert [other.returncode for other in started] == [-signal.SIGKILL]
    assert all(
        row.keys() == FIGURES and row["runs"] == len(row["ratios"]) == 3 for row in video.values()
    )
    said = capsys.readouterr().out
    assert "ratio  cpu ratio" in said
    assert f"processor: {results['machine']['cpu']}, kernels: " in said


def test_the_name_of_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cpuinfo = tmp_path / "cpuinfo"
    monkeypatch.setattr(run, "Path", lambda name: cpuinfo)
    monkeypatch.setattr(run.platform, "processor", lambda: "")
    assert run.processor() == run.platform.machine()
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Some: CPU @ 2 GHz\nmodel name\t: other\n")
    assert run.processor() == "Some: CPU @ 2 GHz"


def test_layers_of_a_source(tmp_path: Path, monkeypatch):
    """Photographs in a folder are a video too; what changes most is computed everywhere."""
    monkeypatch.chdir(tmp_path)
    weights = write_tiny(tmp_path)
    if not MethodOptions(weights=weights).convert().network().fast:
        pytest.skip("no kernels in C")
    for k in range(8):
        (tmp_path / "clip").mkdir(exist_ok=True)
        photo(tmp_path / "clip" / f"{k}.png", k // 5)
    call = ["--weights", weights, "--parts", "layers", "--source", "clip", "--name", "seen"]
    assert run_tool("benchmark", *call) == 0
    results = json.loads((tmp_path / "runs/benchmark/seen/benchmark.json").read_text())
    kinds = {name for name, row in results["layers"].items() if "ms" in row}
    assert kinds >= {"image", "outside of C"} and kinds & {"events", "direct"}
    assert (results["call"]["source"], results["call"]["frames"]) == ("clip", 8)


@pytest.mark.parametrize(
    ("options", "message"),
    (
        (["--source", "photos"], "photos has 2 frames: --source needs 5 or more"),
        (["--source", "none.mp4"], "none.mp4 does not exist; check the path"),
        (["--parts", "layers", "--method", "p-norm"], "choose signed-digits"),
        (["--threads", 0], "threads"),
        (["--baseline", "tvm"], "baseline"),
    ),
)
def test_refusals(tmp_path: Path, monkeypatch, capsys, options: list[object], message: str):
    monkeypatch.chdir(tmp_path)
    call = ["--weights", write_tiny(tmp_path), "--parts", "video", *options]
    assert run_tool("benchmark", *call) == 2
    assert message in capsys.readouterr().err


def test_growth_crosses_where_events_cost_as_much_as_all():
    timings = [Timing("events", "a", 9, n, 1000, 50.0, 20_000.0) for n in (100, 300, 200)]
    assert dict(zip(GROWTH, growth(timings), strict=True)) == pytest.approx(
        {
            "groups": 1000,
            "changed_%": 20,
            "ns_per_group": 50,
            "ms_at_10_%": 0.005,
            "ms_everywhere": 0.02,
            "crossing_%": 40,
        }
    )
