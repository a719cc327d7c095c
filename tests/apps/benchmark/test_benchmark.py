"""What a benchmark computes from its clock, the rival; the tool on a tiny network."""

import itertools
import json
from pathlib import Path

import pytest
import torch
from helpers.tiny import run_tool, write_tiny
from torch import Tensor

from spiking_yolo.apps.benchmark import run
from spiking_yolo.apps.benchmark.run import figures, interleaved
from spiking_yolo.errors import pip_install
from spiking_yolo.graph import forward
from spiking_yolo.options import MethodOptions, load


def test_ratios_are_medians_of_pairs():
    """Two of three pairs took twice as long in both: the machine was slow, the ratio is not."""
    row = figures((6.0, 12.0, 20.0), (1.0, 2.0, 2.0), steps=4)
    assert row["ratios"] == [1.5, 1.5, 2.5] and row["ratio"] == 1.5


def test_cases_take_turns_and_the_first_round_does_not_count(monkeypatch):
    """A clock that a moves by 10, b by 30, and each reference by 1 more; the first four calls take
    100 more. A run of one step is called as often as the reference.
    """
    clock, calls, pace = [0.0], [], itertools.count(1)
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def spend(name: str, amount: float, steps: int = 1) -> int:
        calls.append(name)
        clock[0] += amount + (100 if len(calls) <= 4 else 0)
        return steps

    cases = {"a": lambda: spend("a", 10, 5), "b": lambda: spend("b", 30)}
    result = interleaved(cases, lambda: spend("r", next(pace)), 3, torch.device("cpu"), calls=2)
    assert calls == ["r", "r", *["a", "r", "r", "b", "b", "r", "r"] * 4]
    assert result == {
        "a": figures((10,) * 3, (6.5, 10.5, 14.5), 5),
        "b": figures((30,) * 3, (8.5, 12.5, 16.5), 1),
    }


def test_only_later_frames_are_timed(monkeypatch):
    """A clock that every frame moves by 6 and every pass by 8: of seven frames the first four do
    not count.
    """
    clock, frames = [0.0], [torch.full((1, 1, 1, 1), k) for k in range(7)]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def spend(amount: float) -> None:
        clock[0] += amount

    def stream(frame: Tensor) -> None:
        spend(6 if frame >= 4 else 600)

    row = run.later_frames(stream, frames, lambda: spend(8))
    assert row["ratios"] == [0.75] * 3 and row["ratio"] == 0.75
    assert (row["ms"], row["ann_ms"]) == (6000, 8000)


@pytest.mark.slow
def test_the_rival_computes_the_ann(tmp_path: Path):
    for module in ("onnxscript", "onnxruntime"):
        pytest.importorskip(module, reason=pip_install("onnx"))
    converted = load(MethodOptions(weights=write_tiny(tmp_path)))
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    (heads,) = run.onnxruntime(converted)(x)
    with torch.no_grad():
        (expected,) = forward(converted.graph, x)
    assert float((torch.from_numpy(heads) - expected).norm() / expected.norm()) < 1e-5


def test_the_tool(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = ["--weights", write_tiny(tmp_path), "--T", 2, "--repeats", 1, "--frames", 7]
    assert run_tool("benchmark", *call, "--methods", "signed-digits,p-norm") == 0
    results = json.loads((tmp_path / "runs/benchmark/exp/benchmark.json").read_text())
    assert results["one_step"]["signed-digits"]["steps"] == 1
    assert results["steps"]["p-norm"]["steps"] == 2
    video = results["video"]
    assert list(video) == ["sample clip", "still camera"]
    assert all(len(row["ratios"]) == 3 for row in video.values())
