"""Videos with the state kept and anew in each frame, against counts of their own."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.evaluating import results
from helpers.tiny import run_tool, write_tiny
from helpers.video import walk, write_images

from spiking_yolo import SpikingYOLO
from spiking_yolo.convert.load import load, load_statistics
from spiking_yolo.data.images import preprocess
from spiking_yolo.data.mot import MotBoxes, mot_lines
from spiking_yolo.decode.selection import Selection
from spiking_yolo.evaluate.baselines import EightBits
from spiking_yolo.evaluate.run import evaluate, open_scorer
from spiking_yolo.evaluate.scoring import Settings
from spiking_yolo.evaluate.table import Row
from spiking_yolo.graph import forward
from spiking_yolo.models.load import load_ann

FRAMES = 6


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = write_tiny(tmp_path_factory.mktemp("tiny"))
    path.with_suffix(".names").write_text("cat\ndog\nperson")
    return path


@pytest.fixture(scope="module")
def data(weights, tmp_path_factory) -> Path:
    """A sequence with people, which are what the ANN is sure of, and a clip of one picture."""
    folder = tmp_path_factory.mktemp("data")
    frames, detector = walk(FRAMES), SpikingYOLO(weights)
    write_images(folder / "walk/img1", frames)
    lines = ""
    for number, frame in enumerate(frames, 1):
        x, placement = preprocess(frame, detector.spec)
        outputs = forward(detector.converted.graph, detector.spec.normalised(x[None]))
        selection = Selection(max_det=20, multi_label=True)
        (found,) = selection.boxes(outputs, detector.spec, [placement])
        lines += mot_lines(number, MotBoxes.of(found.xyxy[found.class_id == 2]))
    (folder / "walk/gt").mkdir()
    (folder / "walk/gt/gt.txt").write_text(lines)
    write_images(folder / "still/img1", walk(1) * 3)
    return folder


@pytest.fixture(scope="module")
def table(weights, data) -> dict[tuple[str, str], Row]:
    selection = Selection(conf=0.05, max_det=20, multi_label=True)
    network, settings = load(weights), Settings(bootstrap=20, selection=selection)
    scorer, statistics = (
        open_scorer(data, network.spec, settings),
        load_statistics(load_ann(weights)),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spiking_yolo.evaluate.run.EightBits.time", lambda *_: None)
        patch.setattr("spiking_yolo.evaluate.run.EightBits.seconds", lambda *_: 0.002)
        found, _ = evaluate({"signed-digits": network}, scorer, settings, statistics)
    found.save(weights.parent / "saved")
    return {(row.data, row.method): row for row in found.rows}


def test_a_row_for_each_video_and_for_all(table):
    methods = {"ANN", "ANN 8 bit", "signed-digits", "signed-digits, reset"}
    names = [name for name, method in table if method in methods]
    assert names == [name for name in ("still", "walk", "total") for _ in methods]
    assert "AP50" in table["walk", "ANN"].figures and "AP50" not in table["still", "ANN"].figures
    assert "AP50_minus_first" in table["walk", "signed-digits, reset"].intervals


def test_the_ann_agrees_with_itself_and_finds_the_people(table):
    for name in ("still", "walk", "total"):
        assert table[name, "ANN"].figures["agree"] == pytest.approx(1)
    assert table["walk", "ANN"].figures["AP50"] > 0.5


def test_a_picture_that_does_not_change_costs_nothing_with_the_state_kept(table):
    kept, anew = table["still", "signed-digits"], table["still", "signed-digits, reset"]
    assert kept.costs["sops_per_mac_digits"] == kept.costs["energy_mJ_int8"] == 0
    assert anew.costs["sops_per_mac_digits"] > 0
    assert anew.costs["first_sops_per_mac"] == kept.costs["first_sops_per_mac"]
    assert kept.costs["output_error"] == pytest.approx(anew.costs["output_error"], rel=1e-3)


def test_the_ann_in_fewer_frames_is_charged_its_share(table):
    for name, share in (("still", 1 / 3), ("walk", 2 / 6), ("total", 3 / 9)):
        every, third = table[name, "ANN 8 bit"], table[name, "ANN 8 bit, 1 in 3"]
        for cost in ("energy_mJ_int8", "macs", "ms"):
            assert third.costs[cost] == pytest.approx(share * every.costs[cost])
    assert every.costs["ms"] == pytest.approx(2)
    still = table["still", "ANN 8 bit, 1 in 3"].figures
    assert still == table["still", "ANN 8 bit"].figures


def test_the_8_bit_ann_is_timed_frame_by_frame(weights, monkeypatch):
    """The median of what passes between two looks at the clock; nan for other sizes."""
    pytest.importorskip("onnxruntime")
    clock = iter([0.0, 5.0, 10.0, 11.0, 20.0, 23.0])
    timed = EightBits(load(weights))
    run = timed.beside(lambda x: (x,))
    monkeypatch.setattr("spiking_yolo.evaluate.baselines.time.perf_counter", lambda: next(clock))
    x = torch.rand(1, 3, 32, 64)
    assert all(run(x)[0] is x for _ in range(3))
    assert timed.seconds(32, 64) == 3 and np.isnan(timed.seconds(64, 32))


def test_differences_are_messages_that_multiply(table):
    """45 nm: 0.1 pJ for an addition of 32 bits, 0.2 for a multiplication of 8, 0.03 for a shift."""
    stream, macs = table["walk", "signed-digits"].costs, table["walk", "ANN"].costs["macs"]
    digits, messages = (macs * stream[f"sops_per_mac_{kind}"] for kind in ("digits", "messages"))
    plain = table["walk", "signed-digits, differences"]
    more = (0.3 * messages - 0.13 * digits) / 1e9
    assert plain.costs["energy_mJ_int8"] == pytest.approx(stream["energy_mJ_int8"] + more)
    assert plain.figures == table["walk", "signed-digits"].figures


def test_the_frontier_joins_what_leaves_out_frames(weights, table):
    drawn = (weights.parent / "saved/frontier-mJ.svg").read_text()
    for name in ("ANN", "ANN 8 bit, fewer frames", "signed-digits T=1"):
        assert f"<!-- {name} -->" in drawn


def test_each_frame_of_reset_is_a_photograph(weights, table):
    detector = SpikingYOLO(weights)
    digits = [detector.detect(frame, T=1).operations["digits"] for frame in walk(FRAMES)]
    macs = table["walk", "ANN"].costs["macs"]
    row = table["walk", "signed-digits, reset"]
    assert row.costs["sops_per_mac_digits"] == pytest.approx(np.mean(digits[1:]) / macs)
    assert row.costs["first_sops_per_mac"] == pytest.approx(digits[0] / macs)


def test_the_command_goes_on_after_an_interruption(weights, data, tmp_path, capsys):
    call = ("--data", data, "--weights", weights, "--project", tmp_path, "--limit", 3)
    call += ("--lossless", "--max-det", 20)
    assert run_tool("eval_video", *call) == 0
    folder, out = tmp_path / "exp", capsys.readouterr().out
    assert "reset T=1" in out and "as truth" in out
    first = results(folder / "signed-digits")
    anew = results(folder / "signed-digits-reset")
    for name in ("agree", "output_error"):
        assert first["steps"][0][name] == anew["steps"][0][name]
    assert {row["video"] for row in first["videos"]} == {"still", "walk"}
    (folder / "results.csv").unlink()
    log = folder / "records-signed-digits.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    assert len(lines) == 3
    log.write_bytes(b"".join(lines[:2]))
    assert run_tool("eval_video", *call, "--resume", tmp_path / "exp") == 0
    again = results(folder / "signed-digits")
    for row in (again["steps"][0], first["steps"][0]):
        del row["seconds"]
    assert again["steps"] == first["steps"]
    assert run_tool("eval_video", *call, "--method", "signed-digits,p-norm") == 2
    assert capsys.readouterr().err.strip().endswith("anew: leave lossless out")


def test_tracks_of_people_are_scored(weights, tmp_path):
    pytest.importorskip("trackers")
    write_images(tmp_path / "walk/img1", walk(FRAMES))
    (tmp_path / "walk/gt").mkdir()
    lines = "".join(f"{k},1,10,10,20,20,1,-1,-1,-1\n" for k in range(1, FRAMES + 1))
    (tmp_path / "walk/gt/gt.txt").write_text(lines)
    selection = Selection(conf=0.05, max_det=20, multi_label=True)
    network, settings = load(weights), Settings(selection=selection)
    scorer = open_scorer(tmp_path / "walk", network.spec, settings)
    assert scorer.main == ("AP50", "MOTA", "IDF1", "HOTA", "agree")
    found, _ = evaluate({"signed-digits": network}, scorer, settings)
    assert found.rows[0].figures["people"] == 1
