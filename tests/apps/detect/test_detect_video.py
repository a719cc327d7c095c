"""`detect` on videos: the state stays, the files of a video, interruptions, mistakes."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.tiny import files, photo
from helpers.video import read_frames, walk, write_frames

import spiking_yolo.convert.load as convert_load
from spiking_yolo import SpikingYOLO, models
from spiking_yolo.apps.detect import run
from spiking_yolo.apps.detect.sinks import spikes_over_image
from spiking_yolo.data import video
from spiking_yolo.data.mot import read_mot
from spiking_yolo.errors import Notice
from spiking_yolo.snn.stream import Stream

RATES = ("--method", "p-norm")
ALL = ("--overlay", "--timeline", "--save-mot", "--save-json")
NAMES = {"clip.mp4", "clip-events.mp4", "clip-mot.txt", "clip-timeline.png"}


def entries(tmp_path: Path) -> list[dict[str, Any]]:
    return json.loads((tmp_path / "runs" / "exp" / "detections.json").read_text())


def test_a_video_is_streamed_by_default(detect, weights, clip, tmp_path, capsys):
    assert detect(clip, "--save-json", "--ann") == 0
    found = list(SpikingYOLO(weights).stream(clip, conf=0.3))
    said = entries(tmp_path)
    assert [one["frame"] for one in said] == [0, 1, 2, 3, 4] and {one["T"] for one in said} == {1}
    assert [one["fresh"] for one in said] == [True, False, False, False, False]
    assert [one["time"] for one in said] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    for one, result in zip(said, found, strict=True):
        assert one["operations"] == result.operations and one["updates"] == result.updates
        assert [box["box_xyxy"] for box in one["detections"]] == result.boxes.xyxy.tolist()
    assert said[-1]["operations"]["digits"] < said[0]["operations"]["digits"] / 2
    out, err = capsys.readouterr()
    line, last = out.splitlines()
    per_mac = [one["operations"]["digits"] / one["macs"] for one in said]
    assert err == "" and last == f"results saved to {tmp_path / 'runs/exp'}"
    assert line.startswith(f"{clip}: 5 frames, ") and "; ANN: " in line
    assert f" fps; {np.mean(per_mac[1:]):.2g} operations per MAC of the ANN" in line


def test_reset_is_one_image_after_another(detect, weights, clip, tmp_path):
    assert detect(clip, "--frames", "reset", "--save-json", "--max-frames", 2) == 0
    detector = SpikingYOLO(weights)
    for one, frame in zip(entries(tmp_path), read_frames(clip), strict=False):
        result = detector.detect(frame, conf=0.3)
        assert one["T"] == result.T == 1
        assert one["fresh"] and one["operations"] == result.operations
        assert [box["box_xyxy"] for box in one["detections"]] == result.boxes.xyxy.tolist()


@pytest.mark.parametrize(
    ("options", "T"),
    [
        (("--steps", "1,3"), 3),
        (("--T", 5, "--steps", "2"), 5),
        (("--frames", "reset", "--method", "dcgs"), 2),
        (("--frames", "reset"), 1),
    ],
)
def test_timesteps_per_frame(detect, clip, tmp_path, options, T):
    assert detect(clip, "--save-json", "--max-frames", 1, *options) == 0
    assert entries(tmp_path)[0]["T"] == T


def test_refresh_and_every(detect, clip, tmp_path):
    assert detect(clip, "--save-json", "--save-txt", "--refresh", 2, "--every", 2) == 0
    said = [(one["frame"], one["fresh"]) for one in entries(tmp_path)]
    assert said == [(0, True), (2, False), (4, True)]
    labels = {f"{frame:06}.txt" for frame in (0, 2, 4)}
    assert files(tmp_path / "runs/exp/labels/clip") == labels


def test_two_videos_and_a_photograph_do_not_mix(detect, clip, tmp_path):
    other = write_frames(tmp_path / "other.mp4", walk(5))
    assert detect(clip, other, photo(tmp_path / "a.png"), "--save-json") == 0
    said = entries(tmp_path)
    assert [one.get("fresh") for one in said] == [True, *[False] * 4] * 2 + [None]
    assert [one["operations"] for one in said[:5]] == [one["operations"] for one in said[5:10]]


def test_all_files_of_a_video(detect, clip, tmp_path):
    assert detect(clip, *ALL) == 0
    folder = tmp_path / "runs/exp"
    assert files(folder) == {*NAMES, "detections.json"}
    boxes, heat = (read_frames(folder / name) for name in ("clip.mp4", "clip-events.mp4"))
    assert len(boxes) == len(heat) == 5 and heat[0].shape[0] > boxes[0].shape[0]  # under a title


def test_heat_is_where_something_changed(weights):
    results = list(SpikingYOLO(weights).stream(walk(3), maps=True))
    heat = [spikes_over_image(result) for result in results]
    assert heat[0].shape == (48, 80) and (heat[0] > 0).float().mean() > 0.9
    assert heat[2][16:32, :24].mean() > 5 * heat[2][:, 48:].mean()  # the square is on the left


@pytest.mark.parametrize("people", [True, False])
def test_mot_file(detect, clip, tmp_path, people):
    """Of people, or of all classes where the network knows no people."""
    (tmp_path / "some.names").write_text("person\ndog\nbird" if people else "cat\ndog\nbird")
    names = ("--names", tmp_path / "some.names")
    assert detect(clip, "--save-mot", "--save-json", "--every", 2, *names) == 0
    found = read_mot(tmp_path / "runs/exp/clip-mot.txt")
    for one in entries(tmp_path):
        boxes = [box for box in one["detections"] if not people or box["class"] == "person"]
        assert len(boxes) > 0 and (len(boxes) < len(one["detections"])) == people
        own = found[one["frame"] + 1]
        np.testing.assert_allclose(own.xyxy, [box["box_xyxy"] for box in boxes], atol=2e-3)


def test_tracks(detect, weights, clip, tmp_path):
    pytest.importorskip("trackers", reason="needs the extra track")
    assert detect(clip, "--track", "--save-json") == 0
    written = read_mot(tmp_path / "runs/exp/clip-mot.txt")
    streamed = SpikingYOLO(weights).stream(clip, conf=0.3, track=True)
    seen: list[set[int]] = []
    for one, result in zip(entries(tmp_path), streamed, strict=True):
        ids = [box["track_id"] for box in one["detections"]]
        assert ids == [box["track_id"] for box in result.entries()]
        seen.append({number for number in ids if number})
        if seen[-1]:
            assert set(written[one["frame"] + 1].ids.tolist()) == seen[-1]
    # The first frame has no track yet; then whoever is seen again has one.
    assert not seen[0] and seen[-1] & seen[1]


def test_a_missing_tracker_is_one_line(detect, clip, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackers", None)
    assert detect(clip, "--track") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "[track]'" in line and not (tmp_path / "runs").exists()


def test_a_camera_that_goes_away_leaves_the_others_alone(detect, clip, tmp_path, monkeypatch):
    gone = write_frames(tmp_path / "gone.mp4", walk(2))
    bad = tmp_path / "bad.mp4"
    bad.write_text("hello")
    for module in (run, video):
        monkeypatch.setattr(module, "is_live", lambda source: source in (str(gone), str(clip)))
    with pytest.warns(Notice, match=r"gone\.mp4 sends no more frames after 2"):
        assert detect(gone, clip, bad, "--save-json", "--max-frames", 4) == 1
    assert len(read_frames(tmp_path / "runs/exp/gone.mp4")) == 2
    assert len(read_frames(tmp_path / "runs/exp/clip.mp4")) == 4


def test_the_network_is_loaded_once(detect, clip, monkeypatch):
    loads = []

    def counted(*args, **kwargs):
        loads.append(args)
        return models.load.load_ann(*args, **kwargs)

    monkeypatch.setattr(convert_load, "load_ann", counted)
    assert detect(clip, clip, "--ann", "--max-frames", 1) == 0
    assert len(loads) == 1


@pytest.mark.parametrize("frames", [0, 3])
def test_interrupted_keeps_its_frames(detect, clip, tmp_path, monkeypatch, capsys, frames):
    original, calls = Stream.__call__, []

    def until(self, *args, **kwargs):
        calls.append(1)
        if len(calls) > frames:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Stream, "__call__", until)
    assert detect(clip, *ALL) == 130
    out, err = capsys.readouterr()
    assert err == "interrupted\n"
    if not frames:
        assert out == "" and not (tmp_path / "runs").exists()
        return
    folder = tmp_path / "runs/exp"
    assert ": 3 frames, " in out and files(folder) == {*NAMES, "detections.json"}
    assert all(len(read_frames(folder / name)) == 3 for name in ("clip.mp4", "clip-events.mp4"))
    assert len(entries(tmp_path)) == len(read_mot(folder / "clip-mot.txt")) == 3


def test_rates_are_reset_and_that_is_said(detect, clip, tmp_path):
    with pytest.warns(Notice, match=r"method p-norm sends rates"):
        assert detect(clip, *RATES, "--save-json", "--T", 2, "--max-frames", 2) == 0
    assert all(one["fresh"] for one in entries(tmp_path))


def test_a_cut_is_said(detect, tmp_path, capsys):
    clip = write_frames(tmp_path / "cut.mp4", [*walk(3), *(255 - frame for frame in walk(2))])
    assert detect(clip, "--save-json") == 0
    assert "; 1 scene cut; " in capsys.readouterr().out
    assert [one["cut"] for one in entries(tmp_path)] == [False, False, False, True, False]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["clip.mp4", "--frames", "keep", *RATES], "--frames reset"),
        (["a.png", "--save-mot"], "--save-mot"),
        (["a.png", "--track"], "--track"),
        (["text.mp4", "--overlay"], "cannot open the video"),
    ],
)
def test_mistakes(detect, clip, tmp_path, capsys, monkeypatch, options, word):
    monkeypatch.chdir(tmp_path)
    photo(tmp_path / "a.png")
    (tmp_path / "text.mp4").write_text("hello")
    assert detect(*options) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and re.search(re.escape(word), err)
    assert not (tmp_path / "runs").exists()
