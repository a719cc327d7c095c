"""eval-video as a person calls it: figures against an independent count, resumption, mistakes."""

import csv
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.tiny import run_tool, write_tiny
from helpers.video import grey, noise, walk, write_frames, write_images

from spiking_yolo import SpikingYOLO
from spiking_yolo.apps.video import MODES, evaluation
from spiking_yolo.apps.video.modes import FrameRecord
from spiking_yolo.data.images import preprocess
from spiking_yolo.data.mot import MotBoxes, mot_lines, read_mot
from spiking_yolo.decode.selection import Selection
from spiking_yolo.errors import Notice
from spiking_yolo.graph import forward
from spiking_yolo.io.tables import WIDTH
from spiking_yolo.log import read_log
from spiking_yolo.metrics.video import person_ap

FRAMES = 6
CONF = ("--conf", "0.05")


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = write_tiny(tmp_path_factory.mktemp("tiny"))
    path.with_suffix(".names").write_text("cat\ndog\nperson")
    return path


def people(detector: SpikingYOLO, frames: list[np.ndarray]) -> dict[int, MotBoxes]:
    """What the ANN is sure of, as ground truth."""
    truth = {}
    for number, frame in enumerate(frames, 1):
        x, placement = preprocess(frame, detector.spec)
        outputs = forward(detector.converted.graph, x[None])
        selection = Selection(max_det=100, multi_label=True)
        (found,) = selection.boxes(outputs, detector.spec, [placement])
        truth[number] = MotBoxes.of(found.xyxy[found.class_id == 2])
    return truth


@pytest.fixture(scope="module")
def data(weights, tmp_path_factory) -> Path:
    """A sequence with people, and a clip that shows one picture."""
    folder = tmp_path_factory.mktemp("data")
    frames = walk(FRAMES)
    write_images(folder / "walk/img1", frames)
    (folder / "walk/gt").mkdir()
    truth = people(SpikingYOLO(weights), frames)
    (folder / "walk/gt/gt.txt").write_text(
        "".join(mot_lines(number, boxes) for number, boxes in truth.items())
    )
    write_images(folder / "still/img1", walk(1) * 3)
    return folder


@pytest.fixture
def tool(weights, tmp_path):
    def call(*args: object) -> int:
        options = ("--weights", weights, "--project", tmp_path / "runs", "--bootstrap", 20, *CONF)
        return run_tool("eval_video", *args, *options)

    return call


def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


def by_mode(part: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["mode"]: row for row in part["rows"]}


@pytest.fixture(scope="module")
def done(weights, data, tmp_path_factory) -> Path:
    """A run with everything."""
    project = tmp_path_factory.mktemp("done")
    assert (
        run_tool("eval_video", "--data", data, "--weights", weights, "--project", project, *CONF)
        == 0
    )
    return project / "exp"


def test_layers_add_up_to_the_operations_of_a_frame(done):
    """For the timeline, in every frame of the spiking network."""
    lines = (done / "frames-walk-stream.jsonl").read_text().splitlines()
    frames = [frame for frame in map(json.loads, lines) if "layers" in frame]
    assert len(frames) == FRAMES
    for frame in frames:
        total = sum(operations["digits"] for operations in frame["layers"].values())
        assert total == pytest.approx(frame["operations"]["digits"])


def test_files_and_schema(done):
    kept = {f"frames-{name}-{mode}.jsonl" for name in ("walk", "still") for mode in MODES}
    figures = {"timeline-walk.png", "timeline-still.png"}
    assert {path.name for path in done.iterdir()} == kept | figures | {
        "results.json",
        "results.csv",
    }
    content = results(done)
    assert [(one["name"], one["frames"]) for one in content["sequences"]] == [
        ("still", 3),
        ("walk", FRAMES),
    ]
    for part in (*content["sequences"], content["total"]):
        assert [row["mode"] for row in part["rows"]] == list(MODES)
        for row in part["rows"]:
            assert {
                "agreement",
                "output_error",
                "first",
                "later",
                "energy_mJ",
                "seconds_per_frame",
                "cuts",
            } <= set(row)
            assert {"spikes", "digits", "messages", "sops"} <= set(row["later"])
            assert set(row["energy_mJ"]) == {"fp32", "int8", "sram16", "sram32", "reuse", "loihi"}
    with open(done / "results.csv") as file:
        table = list(csv.DictReader(file))
    assert [(row["sequence"], row["mode"]) for row in table[-4:]] == [
        ("total", mode) for mode in MODES
    ]
    later = by_mode(content["sequences"][1])["stream"]["later"]["digits"]
    assert (
        float(
            next(r for r in table if (r["sequence"], r["mode"]) == ("walk", "stream"))[
                "later.digits"
            ]
        )
        == later
    )


@pytest.fixture
def identities(weights, tmp_path) -> Path:
    """A sequence whose ground truth is what the ANN tracks."""
    pytest.importorskip("trackers", reason="needs the extra track")
    from spiking_yolo.metrics.tracking import track_frames

    detector, frames = SpikingYOLO(weights), walk(FRAMES)
    write_images(tmp_path / "walk/img1", frames)
    (tmp_path / "walk/seqinfo.ini").write_text("[Sequence]\nframeRate=10\n")
    observer = detector.observer(Selection(conf=0.05, max_det=100, multi_label=True))
    boxes = [seen.ann_boxes for seen in observer.observe(frames, T=0, want=("boxes", "ann"))]
    boxes = [of_frame.take(of_frame.class_id == 2) for of_frame in boxes]
    text = ""
    for number, tracked in enumerate(track_frames(boxes, fps=10), 1):
        for one, (x1, y1, x2, y2) in zip(tracked.track_id, tracked.xyxy.tolist(), strict=True):
            # With every digit: some boxes of this network are a thousandth of a pixel wide.
            text += f"{number},{one},{x1 + 1!r},{y1 + 1!r},{x2 - x1!r},{y2 - y1!r},1,-1,-1,-1\n"
    assert len({line.split(",")[1] for line in text.splitlines()}) > 1
    (tmp_path / "walk/gt.txt").write_text(text)
    return tmp_path / "walk"


def test_tracks_of_people_are_scored_beside_the_ann(tool, identities, tmp_path, capsys):
    assert tool("--data", identities) == 0
    out = capsys.readouterr().out
    rows = by_mode(results(tmp_path / "runs/exp")["total"])
    ann, stream = rows["ann"], rows["stream"]
    assert (ann["MOTA"], ann["IDF1"], ann["id_switches"]) == (1, 1, 0)
    assert ann["HOTA"] == pytest.approx(1) and ann["tracks"] == ann["people"] > 1
    for figure in ("MOTA", "IDF1", "HOTA"):
        assert stream[f"{figure}_minus_ann"] == pytest.approx(stream[figure] - ann[figure])
    assert stream["HOTA"] < 1
    (line,) = [one for one in out.splitlines() if one.startswith("walk ann") and "100.0  " in one][
        -1:
    ]
    assert re.search(r"walk ann +100\.0 +100\.0 +100\.0 +0 ", line)
    assert all(len(one) <= WIDTH for one in out.splitlines()[:-1])


def test_without_the_tracker_the_rest_is_measured(tool, identities, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.warns(Notice, match="MOTA, IDF1 and HOTA are left out: this needs trackers"):
        assert tool("--data", identities, "--modes", "ann,stream") == 0
    assert "IDF1" not in capsys.readouterr().out
    assert "MOTA" not in by_mode(results(tmp_path / "runs/exp")["total"])["ann"]


def test_without_identities_there_are_no_tracks(done):
    assert "IDF1" not in by_mode(results(done)["sequences"][1])["ann"]


def test_the_ann_agrees_with_itself(done):
    for part in (*results(done)["sequences"], results(done)["total"]):
        ann = by_mode(part)["ann"]
        assert (
            ann["agreement"] == ann["agreement_by_box"] == 1 and ann["output_error"]["worst"] == 0
        )
        assert ann["first"]["sops"] == ann["later"]["sops"] == 1
    walked, still = by_mode(results(done)["sequences"][1]), by_mode(results(done)["sequences"][0])
    assert walked["ann"]["AP50"] > 0.8 and walked["ann"]["AP50_minus_ann"] == 0
    assert "AP50" not in still["stream"]  # nobody marked anything
    assert walked["stream"]["AP50_minus_ann"] == pytest.approx(
        walked["stream"]["AP50"] - walked["ann"]["AP50"]
    )


def ap_of(folder: Path, mode: str, truth: dict[int, MotBoxes]) -> float:
    """AP50 of the boxes that were kept."""
    _, lines, _ = read_log(folder / f"frames-walk-{mode}.jsonl")
    found = [FrameRecord.from_json(line).boxes for line in lines]
    return float(person_ap([found], [truth], ("cat", "dog", "person"), n=1).value[1])


def test_ap_is_that_of_the_boxes(done, data):
    truth = read_mot(data / "walk/gt/gt.txt")
    for mode, row in by_mode(results(done)["sequences"][1]).items():
        assert row["AP50"] == pytest.approx(ap_of(done, mode, truth))
        assert row["AP50_95"][0] <= row["AP50"] <= row["AP50_95"][1]


def test_operations_are_those_of_the_detector(weights, done):
    detector = SpikingYOLO(weights)
    found = list(detector.stream(walk(FRAMES), conf=0.05))
    row = by_mode(results(done)["sequences"][1])["stream"]
    assert row["first"]["digits"] == pytest.approx(found[0].operations["digits"] / found[0].macs)
    for counting in ("spikes", "digits", "messages"):
        expected = np.mean([one.operations[counting] / one.macs for one in found[1:]])
        assert row["later"][counting] == pytest.approx(expected)
        assert row["later"]["sent"][counting] == pytest.approx(
            np.mean([one.sent[counting] for one in found[1:]])
        )
    assert row["later"]["sops"] == row["later"]["digits"] < row["first"]["digits"]


def test_each_frame_of_reset_is_a_first_one(weights, done):
    rows = by_mode(results(done)["sequences"][1])
    detector = SpikingYOLO(weights)
    found = [detector.detect(frame, T=1) for frame in walk(FRAMES)]
    assert rows["reset"]["first"] == rows["stream"]["first"]
    expected = np.mean([one.operations_per_mac for one in found[1:]])
    assert (
        rows["reset"]["later"]["sops"] == pytest.approx(expected)
        and expected > 2 * rows["stream"]["later"]["sops"]
    )


def test_a_picture_that_does_not_change_costs_nothing(done):
    rows = by_mode(results(done)["sequences"][0])
    for mode in ("stream", "delta"):
        later = rows[mode]["later"]
        assert (
            later["sops"] == later["analogue"] == later["updates"] == later["sent"]["messages"] == 0
        )
        assert rows[mode]["energy_mJ"]["sram16"] == 0 < rows[mode]["first_energy_mJ"]["sram16"]
    error = rows["stream"]["output_error"]
    assert error["first"] == error["last"] == error["mean"] == pytest.approx(error["worst"])


def test_energy_by_hand(done):
    """8 bit: .3 pJ per MAC; .1 per operation and update, .03 for a shift, .2 for the product of a
    graded change.
    """
    content = results(done)
    rows, macs = by_mode(content["sequences"][1]), content["macs"]
    assert rows["ann"]["energy_mJ"]["int8"] == pytest.approx(0.3 * macs / 1e9)
    for mode, operation in (("stream", 0.13), ("reset", 0.13), ("delta", 0.3)):
        later = rows[mode]["later"]
        picojoules = (
            operation * later["sops"] * macs
            + 0.1 * later["updates"]
            + 0.3 * later["analogue"] * macs
        )
        assert rows[mode]["energy_mJ"]["int8"] == pytest.approx(picojoules / 1e9)


def test_total_is_over_all_frames(done):
    content = results(done)
    still, walked = map(by_mode, content["sequences"])
    total = by_mode(content["total"])["stream"]
    later = (
        2 * still["stream"]["later"]["sops"] + (FRAMES - 1) * walked["stream"]["later"]["sops"]
    ) / (FRAMES + 1)
    assert total["later"]["sops"] == pytest.approx(later)
    assert total["AP50"] == walked["stream"]["AP50"]
    assert total["output_error"]["worst"] == max(
        one["stream"]["output_error"]["worst"] for one in (still, walked)
    )


def test_what_is_printed(tool, data, tmp_path, capsys):
    clip = write_frames(tmp_path / "a-name-that-is-as-long-as-names-are.mp4", walk(3))
    assert tool("--data", data / "walk", data / "still", clip) == 0
    out, err = capsys.readouterr()
    *lines, last = out.splitlines()
    assert err == "" and max(map(len, lines)) <= WIDTH and last.startswith("results saved to")
    assert "3 sequences, 12 frames; method signed-digits, T=1 per frame" in out
    for label in ("walk ann", "walk stream", "still delta", "total reset"):
        assert sum(line.startswith(f"{label} ") for line in out.splitlines()) == 2 + (
            "ann" not in label
        )
    assert "stream takes less" in out and "a-name-that-is... stream" in out


def test_every_frame_keeps_its_people(tool, data, tmp_path):
    assert (
        tool("--data", data / "walk", "--every", 2, "--limit-frames", 2, "--modes", "ann,delta")
        == 0
    )
    (sequence,) = results(tmp_path / "runs/exp")["sequences"]
    truth = read_mot(data / "walk/gt/gt.txt")
    expected = ap_of(tmp_path / "runs/exp", "ann", {1: truth[1], 2: truth[3]})
    assert sequence["frames"] == 2 and by_mode(sequence)["ann"]["AP50"] == pytest.approx(expected)
    assert expected > ap_of(tmp_path / "runs/exp", "ann", {1: truth[1], 2: truth[5]})
    _, lines, _ = read_log(tmp_path / "runs/exp/frames-walk-ann.jsonl")
    assert [line["frame"] for line in lines] == [0, 2]


def test_one_frame(tool, data, tmp_path, capsys):
    assert tool("--data", data / "walk", "--limit-frames", 1) == 0
    row = by_mode(results(tmp_path / "runs/exp")["total"])["stream"]
    assert (
        row["later"]["sops"] is None
        and row["energy_mJ"]["fp32"] is None
        and row["first"]["sops"] > 0
    )


def test_cuts_and_refresh(tool, tmp_path):
    write_images(tmp_path / "cut/img1", [*walk(3), *noise(1, 48, 80), *walk(2, seed=5)])
    assert tool("--data", tmp_path / "cut", "--modes", "stream,delta,reset") == 0
    rows = by_mode(results(tmp_path / "runs/exp")["total"])
    assert rows["stream"]["cuts"] == rows["delta"]["cuts"] == [3, 4] and rows["reset"]["cuts"] == []
    assert tool("--data", tmp_path / "cut", "--modes", "stream", "--refresh", 2) == 0
    _, lines, _ = read_log(tmp_path / "runs/exp2/frames-cut-stream.jsonl")
    assert [line["fresh"] for line in lines] == [True, False, True, True, True, False]


def test_absolute_thresholds(tool, data, tmp_path):
    def later(*options: object) -> float:
        assert tool("--data", data / "walk", "--modes", "delta", *options) == 0
        newest = max((tmp_path / "runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        return by_mode(results(newest)["total"])["delta"]["later"]["sops"]

    assert later("--delta-unit", "absolute", "--delta-threshold", 1e9) == 0
    fine, coarse = (later("--delta-threshold", value) for value in (0.01, 2))
    assert fine > later() > coarse > 0


def without_seconds(folder: Path) -> list[Any]:
    content = results(folder)
    rows = [row for part in (*content["sequences"], content["total"]) for row in part["rows"]]
    return [
        {key: value for key, value in row.items() if key != "seconds_per_frame"} for row in rows
    ]


def test_resume_does_the_rest(tool, data, done, tmp_path, monkeypatch, capsys):
    original, calls = evaluation.measure, []

    def stopped(*args: Any) -> Any:
        calls.append(1)
        if len(calls) > 5:
            raise KeyboardInterrupt
        return original(*args)

    folder = tmp_path / "runs/exp"
    monkeypatch.setattr(evaluation, "measure", stopped)
    assert tool("--data", data) == 130
    assert f"--resume {folder}" in capsys.readouterr().err
    assert len(list(folder.iterdir())) == 5 and not (folder / "results.json").exists()
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}

    assert tool("--data", data, "--resume", "latest", "--T", 2) == 2
    assert "T=1, not 2" in capsys.readouterr().err
    calls[:] = [1, 1]  # three are left
    assert tool("--data", data, "--resume", folder) == 0
    assert (
        len(calls) == 5
        and before.items() <= {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}.items()
    )
    whole = [
        {key: v for key, v in row.items() if not key.endswith("_95")}
        for row in without_seconds(done)
    ]
    assert [
        {key: v for key, v in row.items() if not key.endswith("_95")}
        for row in without_seconds(folder)
    ] == whole

    (folder / "frames-walk-ann.jsonl").write_text("{\n{}\n")
    assert tool("--data", data, "--resume", folder) == 2
    assert "frames-walk-ann.jsonl line 1 is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "F/nowhere"], "does not exist"),
        (["--data", "F/empty"], "holds no video"),
        (["--data", "F/bare"], "has no frames"),
        (["--data", "F/text.mp4"], "cannot open the video"),
        (["--data", "F/nan"], "gt.txt line 1: every number must be finite"),
        (["--data", "F/minus"], "must not be negative"),
        (["--data", "F/short"], "is not 'frame,id,left,top,width,height,...'"),
        (["--data", "F/still", "F/still"], "two sequences called still"),
        (["--data", "F/still", "F/total"], "two sequences called total"),  # so is the row of all
        (["--data", "F/still", "--modes", "ann,snn"], "--modes: no mode 'snn'"),
        (["--data", "F/still", "--T", 0], "--T"),
        (["--data", "F/still", "--limit-frames", 0], "--limit-frames"),
        (["--data", "F/still", "--delta-unit", "absolute"], "give --delta-threshold too"),
        (["--data", "F/still", "--delta-threshold", -1], "--delta-threshold"),
        (["--data", "F/still", "--method", "p-norm"], "give --modes ann,reset,delta"),
        (["--data", "F/still", "--set", "encoding.frames=reset"], "--set encoding.frames=keep"),
        (["--data", "F/still", "--set", "readout.skip=1"], "readout.skip"),
        (["--data", "F/still", "--resume", "F/empty"], "holds no interrupted run"),
        (["--data", "F/good", "--names", "F/other.names"], "no class 'person'"),
        ([], "--data"),
    ],
)
def test_mistakes(tool, tmp_path, capsys, options, message):
    for name in ("empty", "bare/img1"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "other.names").write_text("cat\ndog\nbird")
    lines = {
        "nan": "1,1,nan,1,5,5",
        "minus": "1,1,1,1,-5,5",
        "short": "1,1,1",
        "good": "1,1,1,1,5,5",
    }
    for name, line in lines.items():
        write_images(tmp_path / name / "img1", grey([0, 9]))
        (tmp_path / name / "gt.txt").write_text(line + "\n")
    write_images(tmp_path / "still/img1", grey([0, 9]))
    write_images(tmp_path / "total/img1", grey([0, 9]))
    assert tool(*(str(option).replace("F/", f"{tmp_path}/") for option in options)) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and message in err
    assert not (tmp_path / "runs").exists()


def test_a_video_that_breaks_off_counts_as_far_as_it_goes(tool, tmp_path):
    from helpers.video import break_tail

    clip = break_tail(write_frames(tmp_path / "clip.mp4", noise(30, 48, 80)))
    with pytest.warns(UserWarning, match="breaks off"):
        assert tool("--data", clip, "--modes", "ann") == 0
    assert 0 < results(tmp_path / "runs/exp")["total"]["frames"] < 30
