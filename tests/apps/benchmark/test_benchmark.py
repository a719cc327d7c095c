"""What a benchmark computes from its clock, the rivals, limits; the tool on a tiny network."""

import itertools
import json
from pathlib import Path

import pytest
import torch
from helpers.tiny import photo, run_tool, write_tiny
from torch import Tensor

from spiking_yolo.apps.benchmark import BenchmarkOptions, run
from spiking_yolo.apps.benchmark.run import Timing, interleaved
from spiking_yolo.errors import pip_install
from spiking_yolo.graph import forward
from spiking_yolo.options import MethodOptions, load
from spiking_yolo.snn.readout import Run


def test_ratios_are_medians_of_pairs():
    """Two of three pairs took twice as long in both: the machine was slow, the ratio is not."""
    timing = Timing(seconds=(6.0, 12.0, 20.0), reference=(1.0, 2.0, 2.0), steps=4)
    assert timing.ratios == [1.5, 1.5, 2.5] and timing.ratio == 1.5
    assert timing.figures()["mean"] == pytest.approx(38 / 5 / 4)


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


def test_only_later_frames_are_timed(monkeypatch):
    """A clock that every frame moves by 6 and every pass by 8: of seven frames the first four do
    not count.
    """
    clock, frames = [0.0], [torch.full((1, 1, 1, 1), k) for k in range(7)]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def spend(amount: float) -> None:
        clock[0] += amount

    def stream(frame: Tensor) -> Run:
        spend(6 if frame >= 4 else 600)
        return Run({}, {}, 0, 1, 0, 0, fresh=bool(frame == 0 or frame == 5))

    row = run.later_frames(stream, frames, lambda x: spend(8))
    assert row["ratios"] == [0.75] * 3 and row["mean"] == row["ratio"] == 0.75
    assert (row["ms"], row["ann_ms"], row["cuts"]) == (6000, 8000, 1)


@pytest.mark.slow
@pytest.mark.parametrize("rival", ["onnxruntime", "int8"])
def test_rivals_compute_the_ann(rival: str, tmp_path: Path):
    for module in ("onnxscript", "onnxruntime"):
        pytest.importorskip(module, reason=pip_install("onnx"))
    options = BenchmarkOptions(weights=write_tiny(tmp_path), images=tmp_path / "photos")
    converted = load(MethodOptions(weights=options.weights))
    x = run.read_photographs(options, converted.spec)
    (heads,) = getattr(run, rival)(converted, x, tmp_path)(x[:1])
    with torch.no_grad():
        (expected,) = forward(converted.graph, x[:1])
    error = float((torch.from_numpy(heads) - expected).norm() / expected.norm())
    # Eight bits are seen, and no more than that.
    assert error < 1e-5 if rival == "onnxruntime" else 1e-4 < error < 0.1


def test_the_tool(tmp_path: Path, capsys, monkeypatch):
    """All parts, and a limit that nothing can meet: exit status 1 and one line."""
    monkeypatch.chdir(tmp_path)
    limits = (
        run.Limit("steps", "pytorch", "p-norm", "ratio", 1e-9),
        run.Limit("video", "pytorch", "nothing", "mean", 1),
    )
    monkeypatch.setattr(run, "LIMITS", limits)
    call = ["--weights", write_tiny(tmp_path), "--images", tmp_path / "photos", "--T", 2]
    call += ["--repeats", 1, "--methods", "signed-digits,p-norm", "--frames", 7, "--assert"]
    assert run_tool("benchmark", *call) == 1
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and "too slow: steps, p-norm" in err
    assert "not measured here: video, nothing" in out
    results = json.loads((tmp_path / "runs/benchmark/exp/benchmark.json").read_text())
    assert results["one_step"]["pytorch"]["signed-digits"]["steps"] == 1
    assert results["steps"]["pytorch"]["p-norm"]["steps"] == 2
    video = results["video"]["pytorch"]
    assert list(video) == ["sample clip", "still camera"]
    assert all(len(row["ratios"]) == 3 and row["cuts"] == 0 for row in video.values())
    assert results["call"] == {"weights": "tiny.weights", "imgsz": [64, 64], "T": 2, "repeats": 1}


def test_mistakes(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "few").mkdir()
    for k in range(5):
        photo(tmp_path / "few" / f"{k}.png", k)
    for options, word in [
        (["--parts", "steps,speed"], "speed"),
        (["--rivals", "openvino"], "openvino"),
        (["--T", "0"], "--T"),
        (["--methods", "p-nrom"], "p-nrom"),
        (["--video", "nowhere.mp4"], "nowhere.mp4"),
        (["--video", "few", "--methods", "signed-digits"], "5 frames"),
    ]:
        call = ["--weights", write_tiny(tmp_path), "--images", tmp_path / "photos", *options]
        assert run_tool("benchmark", *call) == 2
        error = capsys.readouterr().err
        assert error.startswith("error:") and error.count("\n") == 1 and word in error
