"""tools/detect.py on videos: the state stays, the files of a video, interruptions, mistakes."""

import json
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.tiny import ANYTHING, photo, run_tool
from helpers.video import read_frames, walk, write_frames

import spiking_yolo.convert.load as convert_load
from spiking_yolo import SpikingYOLO, models
from spiking_yolo.apps.detect import run
from spiking_yolo.data import sources
from spiking_yolo.data.mot import read_mot
from spiking_yolo.errors import Notice
from spiking_yolo.snn.stream import Stream

CONF = ANYTHING[:2]
RATES = ("--method", "p-norm")


@pytest.fixture
def detect(weights, tmp_path):
    def call(*args: object) -> int:
        return run_tool(
            "detect", *args, "--weights", weights, "--project", tmp_path / "runs", *CONF
        )

    return call


@pytest.fixture
def clip(tmp_path) -> Path:
    return write_frames(tmp_path / "clip.mp4", walk(5))


def entries(tmp_path: Path, run: str = "exp") -> list[dict]:
    return json.loads((tmp_path / "runs" / run / "detections.json").read_text())


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_video_is_streamed_by_default(detect, weights, clip, tmp_path):
    assert detect(clip, "--save-json") == 0
    found = list(SpikingYOLO(weights).stream(clip, conf=0.3))
    said = entries(tmp_path)
    assert [one["frame"] for one in said] == [0, 1, 2, 3, 4] and {one["T"] for one in said} == {1}
    assert [one["fresh"] for one in said] == [True, False, False, False, False]
    assert [one["time"] for one in said] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    for one, result in zip(said, found, strict=True):
        assert one["operations"] == result.operations and one["updates"] == result.updates
        assert one["analogue_macs"] == result.analogue_macs and len(one["detections"]) == len(
            result
        )
    assert said[-1]["operations"]["digits"] < said[0]["operations"]["digits"] / 2


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
        ((), 1),
        (("--steps", "1,3"), 3),
        (("--T", 5, "--steps", "2"), 5),
        (("--frames", "reset"), 1),
        (("--frames", "reset", "--method", "dcgs"), 4),
        (("--method", "dcgs"), 1),
    ],
)
def test_timesteps_per_frame(detect, clip, tmp_path, options, T):
    assert detect(clip, "--save-json", "--max-frames", 1, *options) == 0
    assert entries(tmp_path)[0]["T"] == T


def test_refresh_and_every(detect, clip, tmp_path):
    assert detect(clip, "--save-json", "--refresh", 2, "--every", 2) == 0
    assert [(one["frame"], one["fresh"]) for one in entries(tmp_path)] == [
        (0, True),
        (2, False),
        (4, True),
    ]


def test_one_line_for_a_video(detect, clip, tmp_path, capsys):
    assert detect(clip, "--save-json", "--ann") == 0
    out, err = capsys.readouterr()
    line, last, following = out.splitlines()
    assert (
        err == ""
        and following.startswith("next: ")
        and last == f"results saved to {tmp_path / 'runs/exp'}"
    )
    said = entries(tmp_path)
    per_mac = [one["operations"]["digits"] / one["macs"] for one in said]
    assert line.startswith(f"{clip}: 5 frames, ")
    assert (
        f" fps; {np.mean(per_mac[1:]):.2g} operations per MAC of the ANN, first frame {per_mac[0]:.2g}; "
        in line
    )
    birds = sum(box["class"] == "bird" for one in said for box in one["detections"])
    assert f"{birds} x bird" in line and "; ANN: " in line


def test_two_videos_do_not_mix(detect, clip, tmp_path):
    other = write_frames(tmp_path / "other.mp4", walk(5))
    assert detect(clip, other, photo(tmp_path / "a.png"), "--save-json") == 0
    said = entries(tmp_path)
    assert [one.get("fresh") for one in said] == [True, *[False] * 4] * 2 + [None]
    assert [one["operations"] for one in said[:5]] == [one["operations"] for one in said[5:10]]
    assert said[-1]["T"] == 1


def test_all_files_of_a_video(detect, clip, tmp_path):
    with pytest.warns(Notice, match="--gif is for images"):
        assert detect(clip, "--overlay", "--timeline", "--save-mot", "--gif") == 0
    folder = tmp_path / "runs/exp"
    names = {"clip.mp4", "clip.jpg", "clip-events.mp4", "clip-mot.txt", "clip-timeline.png"}
    assert files(folder) == names
    assert len(read_frames(folder / "clip.mp4")) == 5
    boxes, heat = (read_frames(folder / name) for name in ("clip.mp4", "clip-events.mp4"))
    assert len(heat) == 5 and heat[0].shape[0] > boxes[0].shape[0]  # under a title


def test_heat_is_where_something_changed(weights):
    from spiking_yolo.apps.detect.sinks import spikes_over_image

    results = list(SpikingYOLO(weights).stream(walk(3), maps=True))
    heat = [spikes_over_image(result) for result in results]
    assert heat[0].shape == (48, 80) and (heat[0] > 0).float().mean() > 0.9
    assert heat[2][16:32, :24].mean() > 5 * heat[2][:, 48:].mean()  # the square is on the left


def test_mot_file(detect, weights, clip, tmp_path):
    assert detect(clip, "--save-mot", "--save-json", "--every", 2) == 0
    found = read_mot(tmp_path / "runs/exp/clip-mot.txt")
    said = {one["frame"] + 1: one["detections"] for one in entries(tmp_path)}
    # A network without people: all boxes.
    assert list(found) == [1, 3, 5]
    for number, boxes in found.items():
        np.testing.assert_allclose(boxes.xyxy, [box["box_xyxy"] for box in said[number]], atol=2e-3)
        np.testing.assert_allclose(
            boxes.confidence, [box["confidence"] for box in said[number]], rtol=1e-5
        )
    (tmp_path / "people.names").write_text("person\ndog\nbird")
    people = sum(box["class_id"] == 0 for box in said[1])
    assert 0 < people < len(said[1])
    for options, expected in (((), people), (("--classes", "person,bird"), len(said[1]))):
        assert (
            detect(
                clip,
                "--save-mot",
                "--max-frames",
                1,
                "--names",
                tmp_path / "people.names",
                *options,
            )
            == 0
        )
        newest = max(tmp_path.glob("runs/*/clip-mot.txt"), key=lambda path: path.stat().st_mtime_ns)
        assert len(read_mot(newest)[1]) == expected


def test_tracks(detect, weights, clip, tmp_path, capsys):
    pytest.importorskip("trackers", reason="needs the extra track")
    assert detect(clip, "--track", "--save-json", "--ann") == 0
    out = capsys.readouterr().out
    streamed = list(SpikingYOLO(weights).stream(clip, conf=0.3, track=True))
    said = entries(tmp_path)
    ids = []
    for one, result in zip(said, streamed, strict=True):
        ids.append([box["track_id"] for box in one["detections"]])
        assert ids[-1] == [box["track_id"] for box in result.entries()]
    # The first frame has no track yet; then whoever is seen again has one.
    assert not any(ids[0]) and set(filter(None, ids[-1])) & set(filter(None, ids[1]))
    tracked = {
        one["frame"] + 1: [box for box in one["detections"] if box["track_id"]] for one in said
    }
    written = read_mot(tmp_path / "runs/exp/clip-mot.txt")
    assert {n: boxes.ids.tolist() for n, boxes in written.items()} == {
        n: [box["track_id"] for box in boxes] for n, boxes in tracked.items() if boxes
    }
    names = {box["track_id"]: box["class"] for boxes in tracked.values() for box in boxes}
    for name in set(names.values()):
        count = list(names.values()).count(name)
        assert f"{count} x {name}" * (count > 1) in out.partition("; tracks: ")[2]
    # None of them starts with less.
    for track in names:
        own = [
            box["confidence"]
            for boxes in tracked.values()
            for box in boxes
            if box["track_id"] == track
        ]
        assert max(own) >= 0.4 or track in ids[1]


def test_a_missing_tracker_is_one_line(detect, clip, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackers", None)
    assert detect(clip, "--track") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "this needs trackers" in line and "[track]'" in line
    assert not (tmp_path / "runs").exists()


def test_videos_of_unlike_sizes_side_by_side(detect, clip, tmp_path, capsys):
    other = write_frames(tmp_path / "other.mp4", walk(3, height=64, width=64, seed=1))
    assert detect(clip, other, "--save-json", "--save-mot", "--timeline") == 0
    assert detect(clip, other, "--save-json", "--save-mot", "--timeline", "--streams", 2) == 0
    alone, together = entries(tmp_path), entries(tmp_path, "exp2")
    # A frame of each in turn, until the shorter one has ended.
    order = [one["image"] for one in together]
    assert order == [f"{path}#{k}" for k in range(3) for path in (clip, other)] + [
        f"{clip}#3",
        f"{clip}#4",
    ]
    assert sorted(alone, key=lambda one: order.index(one["image"])) == together
    runs = tmp_path / "runs"
    assert files(runs / "exp2") == files(runs / "exp")
    for name in ("clip", "other"):
        first, second = (runs / run / f"{name}-mot.txt" for run in ("exp", "exp2"))
        assert first.read_text() == second.read_text()
        first, second = (read_frames(runs / run / f"{name}.mp4") for run in ("exp", "exp2"))
        assert len(first) == len(second) > 0 and np.array_equal(first, second)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines if " fps; " in line][2:] == [
        str(other),
        str(clip),
    ]


def test_a_camera_that_goes_away_leaves_the_others_alone(detect, clip, tmp_path, monkeypatch):
    gone = write_frames(tmp_path / "gone.mp4", walk(2))
    bad = tmp_path / "bad.mp4"
    bad.write_text("hello")
    for module in (run, sources):
        monkeypatch.setattr(module, "is_live", lambda source: source in (str(gone), str(clip)))
    with pytest.warns(
        Notice, match=r"gone\.mp4 sends no more frames after 2: those that came count"
    ):
        # Cameras come last.
        assert detect(gone, clip, bad, "--save-json", "--max-frames", 4) == 1
    said = [one["image"].rpartition("/")[2] for one in entries(tmp_path)]
    assert said == [
        "gone.mp4#0",
        "clip.mp4#0",
        "gone.mp4#1",
        "clip.mp4#1",
        "clip.mp4#2",
        "clip.mp4#3",
    ]
    assert len(read_frames(tmp_path / "runs/exp/gone.mp4")) == 2
    assert len(read_frames(tmp_path / "runs/exp/clip.mp4")) == 4


@pytest.mark.parametrize("tool", ["detect", "report"])
def test_the_network_is_loaded_once(weights, clip, tmp_path, monkeypatch, tool):
    loads = []

    def counted(*args, **kwargs):
        loads.append(args)
        return models.load.load_ann(*args, **kwargs)

    monkeypatch.setattr(convert_load, "load_ann", counted)
    options = ("--timeline", "--ann", "--overlay", "--streams", 2) if tool == "detect" else ()
    sources = (clip, clip) if tool == "detect" else (clip,)
    places = ("--weights", weights, "--project", tmp_path / "runs", "--max-frames", 2)
    assert run_tool(tool, *sources, *places, *options, *CONF) == 0
    assert len(loads) == 1


def test_which_sources_are_read_together():
    cameras = ["0", "rtsp://camera/1", "http://camera/stream"]
    several = [
        cameras[0],
        "a.jpg",
        "a.mp4",
        "b.mp4",
        "c.mp4",
        cameras[1],
        "http://h/d.mp4?x=1",
        cameras[2],
    ]
    grouped = [["a.jpg"], ["a.mp4", "b.mp4"], ["c.mp4", "http://h/d.mp4?x=1"], cameras]
    assert run.side_by_side_sources(several, 2) == grouped
    assert run.side_by_side_sources(["a.mp4", "b.jpg", "c.mp4"], 4) == [
        ["a.mp4"],
        ["b.jpg"],
        ["c.mp4"],
    ]


def test_interrupted_video_keeps_its_frames_and_numbers(
    detect, clip, tmp_path, monkeypatch, capsys
):
    original, calls = Stream.__call__, []

    def thrice(self, *args, **kwargs):
        calls.append(1)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Stream, "__call__", thrice)
    assert detect(clip, "--overlay", "--timeline", "--save-mot", "--save-json") == 130
    folder = tmp_path / "runs/exp"
    names = {"clip.mp4", "clip.jpg", "clip-events.mp4", "clip-mot.txt", "clip-timeline.png"}
    names.add("detections.json")
    assert files(folder) == names
    assert all(len(read_frames(folder / name)) == 3 for name in ("clip.mp4", "clip-events.mp4"))
    assert len(entries(tmp_path)) == len(read_mot(folder / "clip-mot.txt")) == 3
    out, err = capsys.readouterr()
    assert ": 3 frames, " in out and err == "interrupted\n"


def test_interrupted_before_the_first_frame(detect, clip, tmp_path, monkeypatch, capsys):
    def never(self, *args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(Stream, "__call__", never)
    assert detect(clip, "--overlay") == 130
    assert capsys.readouterr() == ("", "interrupted\n") and not (tmp_path / "runs").exists()


def test_rates_are_reset_and_that_is_said(detect, clip, tmp_path):
    with pytest.warns(Notice, match=r"method p-norm sends rates .* each frame is a new image"):
        assert detect(clip, *RATES, "--save-json", "--max-frames", 2) == 0
    assert [(one["T"], one["fresh"]) for one in entries(tmp_path)] == [(64, True)] * 2


def test_reset_of_rates_is_silent(detect, clip, recwarn):
    assert detect(clip, *RATES, "--frames", "reset", "--T", 2, "--max-frames", 1) == 0
    assert not [one for one in recwarn if issubclass(one.category, Notice)]


def test_a_cut_is_said(detect, tmp_path, capsys):
    clip = write_frames(tmp_path / "cut.mp4", [*walk(3), *(255 - frame for frame in walk(2))])
    assert detect(clip, "--save-json") == 0
    assert "; 1 scene cut; " in capsys.readouterr().out
    assert [one["cut"] for one in entries(tmp_path)] == [False, False, False, True, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["C", "--frames", "keep", *RATES], "give --frames reset, or another --method"),
        (["C", "--frames", "kept"], "--frames must be one of keep, reset"),
        (["C", "--refresh", -1], "--refresh must be at least 0"),
        (["C", "--every", 0], "--every must be at least 1"),
        (["C", "--max-frames", 0], "--max-frames must be at least 1"),
        (["P", "--save-mot"], "--save-mot: for videos and webcams only"),
        (["P", "--save-mot", "--timeline"], "--save-mot and --timeline: for videos"),
        (["P", "--track"], "--track: for videos and webcams only"),
        (["V", "--timeline"], "has no frames"),
        (["B", "--overlay"], "cannot open the video"),
    ],
)
def test_mistakes(detect, clip, tmp_path, capsys, options, message):
    (tmp_path / "text.mp4").write_text("hello")
    void = tmp_path / "void.avi"
    writer = cv2.VideoWriter(str(void), cv2.VideoWriter.fourcc(*"MJPG"), 10, (80, 48))
    writer.release()
    named = {"C": clip, "P": photo(tmp_path / "a.png"), "V": void, "B": tmp_path / "text.mp4"}
    assert detect(*(named.get(str(option), option) for option in options)) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and re.search(re.escape(message), err)
    assert not (tmp_path / "runs").exists()
