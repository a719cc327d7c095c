"""`detect`: which sources are seen and for how long, interruptions, mistakes and exit statuses; its
files, their names, and that they say what the network found.
"""

import json
import os
import re
import signal
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from helpers.drawing import saved_figures
from helpers.tiny import NAMES, files, photo, run_tool
from helpers.video import break_tail, noise, read_frames, walk, write_frames
from PIL import Image

from spiking_yolo import Result, SpikingYOLO
from spiking_yolo.apps.detect import DetectOptions
from spiking_yolo.apps.detect.run import DetectRun, Sink, Source
from spiking_yolo.data.mot import MotBoxes, read_mot
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.integer.video import Stream


def test_an_image_gives_one_line_and_one_picture(detect, image, tmp_path, capsys):
    assert detect(image, "--T", 4) == 0
    out, err = capsys.readouterr()
    line, verdict, last = out.splitlines()
    assert err == "" and re.match(rf"{image}: 80x48, (\d+ x )?\w+ [01]\.\d\d", line)
    assert " T=4, " in line and "operations per MAC; " in line
    assert last == f"results saved to {tmp_path / 'runs/exp'}"
    assert re.match(
        r"  Energy: \S+ to \S+ times the ANN's, .*--ann compares boxes and time", verdict
    )
    assert files(tmp_path / "runs") == {"exp/a.jpg"}
    # More pixels on a side than a JPEG holds.
    Image.new("RGB", (65501, 2)).save(tmp_path / "wide.png")
    assert detect(tmp_path / "wide.png", "--save-json") == 0
    assert files(tmp_path / "runs") >= {"exp2/wide.png", "exp2/detections.json"}


def test_a_video_is_streamed_by_default(detect, weights, clip, entries):
    assert detect(clip, "--save-json") == 0
    found = list(SpikingYOLO(weights).stream(clip, conf=0.3))
    said = entries()
    assert [one["frame"] for one in said] == [0, 1, 2, 3, 4]
    assert [one["fresh"] for one in said] == [True, False, False, False, False]
    assert [one["time"] for one in said] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    for one, result in zip(said, found, strict=True):
        assert one["operations"] == result.operations and one["updates"] == result.last.updates
        assert [box["box_xyxy"] for box in one["detections"]] == result.boxes.xyxy.tolist()
    assert said[-1]["operations"]["digits"] < said[0]["operations"]["digits"] / 2


def test_a_lossless_video_has_the_boxes_of_photographs(detect, weights, clip, entries, capsys):
    assert detect(clip, "--lossless", "--save-json") == 0
    said, detector = entries(), SpikingYOLO(weights)
    frames = [result.image for result in detector.stream(clip)]
    for one, result in zip(said, detector.predict(frames, T=1, conf=0.3), strict=True):
        assert [box["box_xyxy"] for box in one["detections"]] == result.boxes.xyxy.tolist()
    assert 0 < said[-1]["operations"]["digits"] < said[0]["operations"]["digits"]
    assert detect(clip, "--lossless", "--method", "p-norm") == 2
    line = "error: p-norm computes every frame of a video anew: leave lossless out"
    assert capsys.readouterr().err.strip() == line
    with pytest.raises(UserError, match="leave lossless out"):
        SpikingYOLO(weights, "p-norm").stream(clip, lossless=True)


def test_a_video_of_one_frame(detect, tmp_path, capsys):
    assert detect(write_frames(tmp_path / "one.mp4", walk(1))) == 0
    line, verdict, _ = capsys.readouterr().out.splitlines()
    assert ": 1 frame in " in line and verdict.startswith("  Energy: ")


def test_the_verdict_says_which_boxes_spikes_miss_and_add(
    detect, image, capsys, monkeypatch, tmp_path
):
    """Spikes that have no time find nothing, so that all boxes of the ANN are lost; where no two
    are alike, spikes have added all of theirs. Files and --verbose have what it follows from.
    """
    assert detect(image, "--method", "p-norm", "--T", 1, "--ann", "--verbose") == 0
    _, ann, verdict, *said, _ = capsys.readouterr().out.splitlines()
    named = re.findall(r"(?:(\d+) x )?(\w+) [01]\.\d\d", ann)
    expected = {name: int(n or 1) for n, name in named}
    boxes = sum(expected.values())
    all_lost = f"Boxes: 0 of the ANN's {boxes} kept, {boxes} lost, 0 added"
    assert boxes > 0 and verdict.startswith(f"  Not worth it. {all_lost}")
    (found,) = json.loads((tmp_path / "runs/exp/results.json").read_text())
    assert found["lost"] == {name: [n, n] for name, n in expected.items()}
    assert found["boxes"] == {"ann": boxes, "lost": boxes, "added": 0}
    assert yaml.safe_load("\n".join(said[2:])).keys() == found.keys() - {"source"}
    unlike = "spiking_yolo.apps.detect.verdict.same_objects"
    monkeypatch.setattr(unlike, lambda a, b: a.confidence[:, None] < 0 * b.confidence)
    assert detect(image, "--ann") == 0
    assert re.search(rf"{boxes} lost, [1-9]\d* added", capsys.readouterr().out)


def test_the_8_bit_ann_of_photographs_and_later_frames_is_timed(detect, image, clip, tmp_path):
    pytest.importorskip("onnxruntime")
    assert detect(image, clip, "--ann") == 0
    video, photographs = json.loads((tmp_path / "runs/exp/results.json").read_text())
    assert (video["source"], photographs["source"]) == (str(clip), "photographs")
    assert video["ms"]["ann_8_bit"] > 0 and photographs["ms"]["ann_8_bit"] > 0
    assert "1 in 2" in video["instead"] and list(photographs["instead"]) == ["every frame"]
    assert (video["pictures"], photographs["pictures"]) == (5, 1)


def test_overlays_and_timelines(detect, image, clip, weights, tmp_path, monkeypatch):
    """What is drawn is what an Observation of the same picture has."""
    figures = saved_figures(monkeypatch)
    call = ("--method", "p-norm", "--T", 3, "--overlay", "--timeline", "--figures", "svg")
    assert detect(image, *call) == 0
    drawn = {"exp/a.jpg", "exp/a-overlay.svg", "exp/a-timeline.svg"}
    assert files(tmp_path / "runs") == drawn
    observer = SpikingYOLO(weights, "p-norm").observer()
    (seen,) = observer.observe([image], 3, [1, 2], want=["boxes", "maps"])
    layers = list(seen.last.maps)
    overlay, timeline = figures
    shown = [layers[0], layers[len(layers) // 2], layers[-1]]
    for axes, layer in zip(overlay.axes[::2], dict.fromkeys(shown), strict=True):
        assert axes.get_title().startswith(layer)
        rate = seen.last.maps[layer] / seen.last.active_steps
        assert np.array_equal(axes.images[1].get_array(), rate)
    assert overlay.texts[0].get_text() == "a.png: p-norm, T = 3"
    sums = [[0.0] * len(layers), *([seen.steps[t].spikes[n] for n in layers] for t in (1, 2, 3))]
    cells = timeline.axes[0].collections[0].get_array().filled(0)
    assert np.array_equal(cells, np.diff(np.array(sums), axis=0).T)
    assert detect(clip, "--overlay", layers[1], "--timeline", "--every", 2) == 0
    assert files(tmp_path / "runs/exp2") == {"clip.mp4", "clip-overlay.mp4", "clip-timeline.png"}
    assert len(read_frames(tmp_path / "runs/exp2/clip-overlay.mp4")) == 3
    cells = figures[-1].axes[0].collections[0].get_array().filled(0)
    streamed = [result.spikes_by_layer for result in SpikingYOLO(weights).stream(clip, every=2)]
    assert np.array_equal(cells, np.array([list(one.values()) for one in streamed]).T)
    assert figures[-1].axes[0].get_xlim() == (0, 6)


def test_a_limit_of_pictures_and_frames(detect, image, clip, entries, tmp_path):
    assert detect(image.parent, "--limit", 1) == 0
    assert files(tmp_path / "runs/exp") == {"a.jpg"}
    assert detect(clip, "--limit", 2, "--every", 2, "--save-json") == 0
    assert [one["frame"] for one in entries("exp2")] == [0, 2]


def test_what_is_missing_is_refused_before_the_network_is_loaded(detect, image, tmp_path, capsys):
    nowhere = ("--weights", tmp_path / "no.weights")
    (tmp_path / "a.html").write_text("mine")
    for options, said in (
        (["nowhere.mp4", *nowhere], "nowhere.mp4 does not exist"),
        (["nowhere.jpg", "nor.mp4", *nowhere], "nowhere.jpg does not exist"),
        ([image, "--page", tmp_path / "a.html", *nowhere], "a.html exists: remove it"),
        ([image, "--overlay", "layer99"], "no layer layer99 has a map of spikes"),
    ):
        assert run_tool("detect", *options, "--project", tmp_path / "runs") == 2
        assert said in capsys.readouterr().err
    assert (tmp_path / "a.html").read_text() == "mine" and not (tmp_path / "runs").exists()


def test_tracks(detect, weights, clip, entries, capsys):
    pytest.importorskip("trackers", reason="needs the extra track")
    assert detect(clip, "--track", "--save-json", "--ann") == 0
    streamed = list(SpikingYOLO(weights).stream(clip, conf=0.3, track=True))
    ids = [[box["track_id"] for box in one["detections"]] for one in entries()]
    assert ids == [[box["track_id"] for box in result.entries()] for result in streamed]
    # The first frame has no track yet; then whoever is seen again has one.
    assert not any(ids[0]) and set(filter(None, ids[-1])) & set(filter(None, ids[1]))
    assert "; tracks: " in capsys.readouterr().out


def test_photographs_have_no_tracks(detect, image):
    with pytest.warns(Notice, match="photographs have no tracks, nor"):
        assert detect(image, "--track") == 0


def test_a_broken_file_among_others_is_reported_and_skipped(detect, image, tmp_path, capsys):
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "a.png").write_bytes(image.read_bytes())
    (folder / "broken.png").write_bytes(image.read_bytes()[:200])
    (folder / "clip.mp4").write_text("hello")
    assert detect(folder, "--T", 1) == 1
    assert files(tmp_path / "runs") == {"exp/a.jpg"}
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 2 and "broken.png" in err and "clip.mp4" in err
    assert detect(folder / "broken.png", folder / "clip.mp4", "--T", 1, "--name", "b") == 2
    assert not (tmp_path / "runs/b").exists()


def test_a_video_that_breaks_off_counts_as_far_as_it_goes(detect, tmp_path):
    clip = break_tail(write_frames(tmp_path / "clip.mp4", noise(40, 48, 80)))
    with pytest.warns(Notice, match="breaks off") as notes:
        assert detect(clip, "--every", 4) == 0
    found = re.search(r"(\d+) of 40 frames", str(notes[0].message))
    assert found and len(read_frames(tmp_path / "runs/exp/clip.mp4")) == -(-int(found[1]) // 4)


@pytest.mark.parametrize("frames", [0, 3])
def test_an_interrupted_video_keeps_its_frames(detect, clip, tmp_path, monkeypatch, capsys, frames):
    original, calls = Stream.__call__, []

    def some(self, *args, **kwargs):
        calls.append(1)
        if len(calls) > frames:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Stream, "__call__", some)
    assert detect(clip, "--save-json", "--page", tmp_path / "clip.html") == 130
    assert capsys.readouterr().err == "interrupted\n"
    if frames:
        assert files(tmp_path / "runs/exp") == {"clip.mp4", "detections.json"}
        assert len(read_frames(tmp_path / "runs/exp/clip.mp4")) == frames
        assert (tmp_path / "clip.html").read_text().rstrip().endswith("</html>")
    else:
        assert not (tmp_path / "runs").exists() and not (tmp_path / "clip.html").exists()


def test_mistakes(detect, clip, image, tmp_path, capsys):
    for options, word in [
        (["C", "--refresh", -1], "refresh"),
        (["P", "--page", "a.txt"], "end in .html"),
        (["P", "C", "--page", "a.html"], "one video"),
        (["P", "--steps", 9, "--T", 4], "1..4"),
        (["V"], "has no frames"),
        (["B"], "cannot open the video"),
    ]:
        (tmp_path / "text.mp4").write_text("hello")
        void = tmp_path / "void.avi"
        cv2.VideoWriter(str(void), cv2.VideoWriter.fourcc(*"MJPG"), 10, (80, 48)).release()
        named = {"C": clip, "P": image, "V": void, "B": tmp_path / "text.mp4"}
        assert detect(*(named.get(str(option), option) for option in options)) == 2
        out, err = capsys.readouterr()
        assert out == "" and len(err.splitlines()) == 1 and word in err
        assert not (tmp_path / "runs").exists()


def test_ctrl_c_waits_until_every_file_has_the_frame(clip, weights):
    class Interrupted(Sink):
        frames = 0

        def frame(self, source: Source, result: Result) -> None:
            self.frames += 1
            if self is sinks[0]:
                # The main thread waits by now.
                time.sleep(0.2)
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.2)

    sinks = [Interrupted(), Interrupted()]
    run = DetectRun(DetectOptions(sources=(str(clip),), weights=weights))
    # A process in the background ignores Ctrl-C.
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt):
        run.results(sinks)
    signal.signal(signal.SIGINT, usual)
    assert [sink.frames for sink in sinks] == [1, 1]


def test_json_has_the_published_schema(detect, weights, image, entries):
    assert detect(image, image.with_name("b.png"), "--T", 4, "--steps", "3,1", "--save-json") == 0
    first, second = entries()
    assert (first["image"], second["image"]) == (str(image), str(image.with_name("b.png")))
    result = SpikingYOLO(weights).detect(image, T=4, steps=[1, 3], conf=0.3)
    for found, boxes in (
        (result.detections, first["detections"]),
        (result.steps[3], first["steps"][1]["detections"]),
    ):
        rows = zip(found.class_id.tolist(), found.confidence, found.xyxy, boxes, strict=True)
        for c, p, corners, box in rows:
            named = {"class_id": c, "class": NAMES[c]}
            assert box == {**named, "confidence": p.item(), "box_xyxy": corners.tolist()}
    assert [step["T"] for step in first["steps"]] == [1, 3, 4]
    assert (first["width"], first["height"], first["T"]) == (80, 48, 4)
    assert first["method"] == result.method and first["spikes"] == pytest.approx(result.spikes)
    assert first["operations"] == result.operations and first["sent"] == result.last.sent


def test_all_files_of_a_video(detect, clip, tmp_path):
    call = ("--save-txt", "--every", 2, "--ann")
    assert detect(clip, *call) == 0
    labels = {f"labels/clip/00000{frame}.txt" for frame in (0, 2, 4)}
    assert files(tmp_path / "runs/exp") == {"clip.mp4", "results.json"} | labels
    boxes = read_frames(tmp_path / "runs/exp/clip.mp4")
    # Two pictures side by side with a gap, each below a line of text of 11 pixels in 22.
    assert len(boxes) == 3 and boxes[0].shape == (48 + 22, 80 + 8 + 80, 3)


def test_mot_file(detect, clip, entries, tmp_path):
    """Tracks of people, or of all classes where they are named."""
    pytest.importorskip("trackers", reason="needs the extra track")
    names = tmp_path / "people.names"
    names.write_text("person\ndog\nbird")
    for run, classes in (("p", ()), ("q", ("--classes", "person,bird"))):
        assert (
            detect(clip, "--track", "--save-json", "--names", names, "--name", run, *classes) == 0
        )
        tracks = read_mot(tmp_path / "runs" / run / "clip-mot.txt")
        for one in entries(run):
            boxes = [box for box in one["detections"] if box["track_id"] is not None]
            if not classes:
                boxes = [box for box in boxes if box["class"] == "person"]
            written = tracks.get(one["frame"] + 1, MotBoxes.of([]))
            assert written.ids.tolist() == [box["track_id"] for box in boxes]
            corners = np.array([box["box_xyxy"] for box in boxes]).reshape(-1, 4)
            np.testing.assert_allclose(written.xyxy, corners, atol=2e-3)


def test_equal_names_do_not_overwrite_each_other(detect, image, tmp_path):
    """Label files match their pictures; those of a video have a folder of their own."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.jpg", "a.png", "v-000000.png"):
        photo(folder / name)
    write_frames(folder / "v.mp4", walk(1))
    assert detect(folder, image, "--T", 1, "--save-txt") == 0
    pictures = {Path(name).stem for name in files(tmp_path / "runs/exp") if name.endswith(".jpg")}
    assert pictures == {"a", "a-2", "a-3", "v-000000"}
    labels = files(tmp_path / "runs/exp/labels")
    assert labels == {f"{name}.txt" for name in (*pictures, "v/000000")}
