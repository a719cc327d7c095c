"""The files of `detect`: their names, and that they say what the network found."""

from pathlib import Path

import numpy as np
import pytest
from helpers.tiny import NAMES, files, photo
from helpers.video import read_frames, walk, write_frames

from spiking_yolo import SpikingYOLO
from spiking_yolo.data.mot import MotBoxes, read_mot


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
    assert files(tmp_path / "runs/exp") == {"clip.mp4"} | labels
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
