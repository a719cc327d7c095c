"""What a benchmark computes from its clock, limits, shares of a run, the twin, videos; the tool on
a tiny network.
"""

import itertools
import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from helpers.networks import TinyLeaky, images, make, spiking
from helpers.tiny import photo, run_tool, write_tiny
from torch import Tensor

from spiking_yolo.apps.benchmark import LIMITS, BenchmarkOptions
from spiking_yolo.apps.benchmark.cases import (
    Case,
    Twin,
    panned,
    photographs,
    relu_twin,
    spikingjelly_run,
)
from spiking_yolo.apps.benchmark.run import Limit, read_limits, scaled
from spiking_yolo.apps.benchmark.timing import (
    Stopwatch,
    Timing,
    frame_shares,
    interleaved,
    peak_memory,
    shares,
    timed_frames,
)
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.errors import UserError
from spiking_yolo.graph import forward
from spiking_yolo.options import load_ann
from spiking_yolo.snn.stream import FrameRun

RESULTS = {"steps": {"a": {"ratio": 0.9}}, "spikingjelly": {"runs": {"b": {"faster": 1.5}}}}


def test_ratios_are_medians_of_pairs():
    """Two of three pairs took twice as long in both: the machine was slow, the ratio is not."""
    timing = Timing(seconds=(6.0, 12.0, 20.0), reference=(1.0, 2.0, 2.0), steps=4)
    assert timing.ratios == [1.5, 1.5, 2.5]
    assert (timing.ratio, timing.run, timing.faster) == (1.5, 12.0, pytest.approx(1 / 6))


def test_cases_take_turns_and_the_first_round_does_not_count(monkeypatch):
    """A clock that a moves by 10, b by 30, and each reference by 1 more; the first four calls take
    100 more.
    """
    clock, calls, pace = [0.0], [], itertools.count(1)
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def spend(name: str, amount: float, steps: int = 1) -> int:
        calls.append(name)
        clock[0] += amount + (100 if len(calls) <= 4 else 0)
        return steps

    cases = {"a": lambda: spend("a", 10, 5), "b": lambda: spend("b", 30)}
    result = interleaved(cases, lambda: spend("r", next(pace)), 3, torch.device("cpu"), calls=2)
    assert calls == ["r", "r", *["a", "r", "r", "b", "r", "r"] * 4]
    assert result == {
        "a": Timing((10,) * 3, (6.5, 10.5, 14.5), 5),
        "b": Timing((30,) * 3, (8.5, 12.5, 16.5), 1),
    }


@pytest.mark.parametrize(
    ("limit", "line"),
    [
        (Limit(("steps", "a", "ratio"), at_most=0.9), None),
        (
            Limit(("steps", "a", "ratio"), at_most=0.8),
            "steps / a / ratio is 0.900, above its limit 0.8",
        ),
        (Limit(("spikingjelly", "runs", "b", "faster"), at_least=1.5), None),
        (Limit(("spikingjelly", "runs", "b", "faster"), at_least=3), "is 1.500, below its limit 3"),
        (Limit(("steps", "unknown", "ratio"), at_most=0), None),
    ],
)
def test_limits(limit: Limit, line: str | None):
    violation = limit.violation(RESULTS)
    assert violation is None if line is None else violation is not None and line in violation
    assert (limit.value(RESULTS) is None) == ("unknown" in limit.of)


@pytest.mark.parametrize(
    "text", ["", "{", '[{"at_most": 1}]', '[{"of": ["a"]}]', '[{"of": ["a"], "at_mots": 1}]', "[1]"]
)
def test_a_file_that_holds_no_limits(text: str, tmp_path: Path):
    path = tmp_path / "limits.json"
    path.write_text(text)
    with pytest.raises(UserError, match="limit"):
        read_limits(path)


def test_the_shipped_limits_can_be_read():
    assert len(read_limits(LIMITS)) >= 3


def test_a_timed_network_is_the_same_network_and_its_shares_add_up():
    x = images(1)
    converted = spiking(make(TinyLeaky), x, get_recipe("p-norm"))
    figures = shares(converted, x, 6, 1)
    kinds = figures["ms_per_step"]
    assert figures["steps"] == 6 and all(ms > 0 for ms in kinds.values())
    assert sum(figures["by_node"].values()) == pytest.approx(
        sum(kinds.values()) - kinds["everything else"]
    )
    assert {"conv2", "act2", "pool2", "head1"} <= set(figures["by_node"])
    timed = converted.network()
    Stopwatch(timed, torch.device("cpu"))
    snapshots = timed(x, 6).snapshots[6], converted.network()(x, 6).snapshots[6]
    assert all(torch.equal(a, b) for a, b in zip(*(s.outputs for s in snapshots), strict=True))


@torch.no_grad()
def test_the_twin_has_relu_and_is_else_the_same(tmp_path: Path):
    graph = relu_twin(load_ann(BenchmarkOptions(weights=write_tiny(tmp_path))).graph)
    assert {n.attrs["slope"] for n in graph.activations} == {0.0}
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for a, b in zip(Twin(graph)(x), forward(graph, x), strict=True):
        torch.testing.assert_close(a, b)


def test_spikingjelly_runs_the_twin(tmp_path: Path):
    pytest.importorskip(
        "spikingjelly", reason="spikingjelly is not installed: pip install spikingjelly"
    )
    ann = load_ann(BenchmarkOptions(weights=write_tiny(tmp_path)))
    result = spikingjelly_run(ann.graph, torch.rand(1, 3, 64, 64), 2)
    assert result is not None and "ReLU for leaky ReLU" in result[0]
    result[1]()


def test_the_tool(tmp_path: Path, capsys, monkeypatch):
    """Ratios of every method, shares, and a limit that nothing can meet: exit status 1 and one
    line.
    """
    monkeypatch.chdir(tmp_path)
    # Compiling takes longer than all the rest.
    monkeypatch.setenv("CXX", "no-compiler")
    weights = write_tiny(tmp_path)
    entries = [{"of": ["steps", "p-norm/float32/eager", "ratio"], "at_most": 1e-9}]
    entries.append({"of": ["growth", "nothing", "ratio"], "at_most": 1})
    limits = tmp_path / "limits.json"
    limits.write_text(json.dumps(entries))
    call = [
        "--weights",
        weights,
        "--images",
        tmp_path / "photos",
        "--T",
        2,
        "--repeats",
        1,
        "--methods",
        "p-norm",
    ]
    status = run_tool(
        "benchmark", *call, "--parts", "one_step,steps,batch,shares", "--assert", "--limits", limits
    )
    out, err = capsys.readouterr()
    assert status == 1 and err.count("\n") == 1 and "p-norm/float32/eager / ratio is" in err
    assert "not measured here: growth / nothing / ratio" in out
    results = json.loads((tmp_path / "runs/benchmark/exp/benchmark.json").read_text())
    assert {
        "default/float32/eager",
        "msat-plus gamma=1/float32/eager",
        "p-norm/float32/eager",
    } <= set(results["steps"])
    assert results["one_step"]["default/float32/eager"]["steps"] == 1
    assert results["shares"]["p-norm"]["steps"] == 2 and results["machine"]["threads"] >= 1
    assert results["call"] == {"weights": "tiny.weights", "imgsz": [64, 64], "T": 2, "repeats": 1}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--parts", "steps,speed"], "no part 'speed'"),
        (["--assert", "--limits", "nowhere.json"], "cannot read the limits"),
        (["--T", "0"], "--T"),
        (["--methods", "p-nrom"], "p-nrom"),
        (["--video", "nowhere.mp4"], "nowhere.mp4: it does not exist"),
    ],
)
def test_mistakes_of_the_tool(options: list[str], words: str, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = ["--weights", write_tiny(tmp_path), "--images", tmp_path / "photos", *options]
    assert run_tool("benchmark", *call) == 2
    error = capsys.readouterr().err
    assert error.startswith("error:") and error.count("\n") == 1 and words in error


def test_sizes_grow_as_the_network_s_own(tmp_path: Path):
    assert scaled((416, 416), 0.75) == (320, 320)
    assert scaled((96, 160), 2) == (192, 320)
    assert scaled((32, 416), 0.25) == (32, 96)  # not less than one cell
    options = BenchmarkOptions(
        weights=write_tiny(tmp_path), images=tmp_path / "photos", imgsz=(64, 96)
    )
    spec = load_ann(options).spec
    assert photographs(options, spec, 3).shape == (3, 3, 64, 96)
    assert photographs(options, spec, 1, (32, 64)).shape == (1, 3, 32, 64)


def test_a_panned_photograph():
    """Windows of three quarters, four pixels apart, up to the right border and back."""
    photograph = np.arange(32, dtype=np.uint8)[None, :, None].repeat(3, 2)
    result = list(panned(photograph, 6))
    assert [frame[0, 0, 0] for frame in result] == [0, 4, 8, 4, 0, 4]
    assert {frame.shape for frame in result} == {(1, 24, 3)}


def test_only_later_frames_are_timed(monkeypatch):
    """A clock that every frame moves by 6 and every pass by 8: of seven frames the first four do
    not count.
    """
    clock, frames = [0.0], [torch.full((1, 1, 1, 1), k) for k in range(7)]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def spend(amount: float) -> None:
        clock[0] += amount

    def stream(frame: Tensor) -> FrameRun:
        spend(6 if frame >= 4 else 600)
        return FrameRun(cast(Any, None), fresh=bool(frame == 0 or frame == 5), cut=False)

    result = timed_frames(stream, frames, lambda: spend(8))
    assert (
        result["ratios"] == [0.75] * 3
        and result["mean"] == result["ratio"] == 0.75
        and result["tenths"] == [0.75] * 2
    )
    assert (result["ms"], result["ann_ms"], result["frames"], result["cuts"]) == (6000, 8000, 3, 1)


def test_shares_of_a_later_frame():
    network = spiking(make(TinyLeaky), images(2), get_recipe("signed-digits")).network()
    kinds = frame_shares(network, list(images(7).split(1)))
    assert (
        set(kinds) == {"convolutions", "neurons", "pooling", "everything else"}
        and min(kinds.values()) > 0
    )


def test_videos_of_the_tool(tmp_path: Path, capsys, monkeypatch):
    """The sample clip under its name, others under theirs, and both cameras; a short one is
    refused.
    """
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "few"
    folder.mkdir()
    for k in range(6):
        photo(folder / f"{k}.png", k)
    call = [
        "--weights",
        write_tiny(tmp_path),
        "--images",
        tmp_path / "photos",
        "--parts",
        "video",
        "--frames",
        7,
    ]
    assert run_tool("benchmark", *call) == 0
    results = json.loads((tmp_path / "runs/benchmark/exp/benchmark.json").read_text())["video"]
    assert list(results) == ["sample clip", "still camera", "moving camera"]
    assert all(
        len(row["ratios"]) == row["frames"] == 3 and row["cuts"] == 0 for row in results.values()
    )
    assert {limit.of[1] for limit in read_limits(LIMITS) if limit.of[0] == "video"} == set(results)
    assert run_tool("benchmark", *call, "--video", folder) == 0
    assert str(folder) in capsys.readouterr().out
    (folder / "0.png").unlink()
    assert run_tool("benchmark", *call, "--video", folder) == 2
    error = capsys.readouterr().err
    assert "few has 5 frames: give a video of 6 or more" in error and error.count("\n") == 1


def test_peak_memory_is_that_of_a_process_with_torch(tmp_path: Path):
    options = BenchmarkOptions(weights=write_tiny(tmp_path), images=tmp_path / "photos")
    mb = peak_memory(options, Case("p-norm"), 1, 2)
    assert mb is None or 50 < mb < 4000


def test_the_start_of_the_command(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = [
        "--weights",
        write_tiny(tmp_path),
        "--images",
        tmp_path / "photos",
        "--parts",
        "start",
        "--repeats",
        1,
    ]
    assert run_tool("benchmark", *call) == 0
    results = json.loads((tmp_path / "runs/benchmark/exp/benchmark.json").read_text())["start"]
    assert {limit.of[1] for limit in read_limits(LIMITS) if limit.of[0] == "start"} == set(results)
    assert (
        all(0 < row["s"] < 60 for row in results.values())
        and "missing file" in capsys.readouterr().out
    )
