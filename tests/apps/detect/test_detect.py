"""`detect` on photographs: what it prints and saves, its exit status, and the same from Python."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny import NAMES, ROOT, files, photo, run_tool
from helpers.video import walk, write_frames
from PIL import Image
from torchvision.ops import box_iou

from spiking_yolo import SpikingYOLO, UserError
from spiking_yolo.apps.detect import DetectOptions, detect
from spiking_yolo.apps.detect.run import DetectRun


def entries(tmp_path: Path, run: str = "exp") -> list[dict[str, Any]]:
    return json.loads((tmp_path / "runs" / run / "detections.json").read_text())


def test_an_image_gives_one_line_and_one_picture(detect, image, tmp_path, capsys):
    assert detect(image, "--T", 4) == 0
    out, err = capsys.readouterr()
    line, last = out.splitlines()
    assert err == "" and line.startswith(f"{image}: 80x48, ") and " T=4 " in line
    for word in ("digits", "operations per MAC", "ms", "cat"):
        assert word in line
    assert re.search(r"80x48, (\d+ x )?\w+ [01]\.\d\d", line), "with confidences"
    assert last == f"results saved to {tmp_path / 'runs' / 'exp'}"
    assert files(tmp_path / "runs") == {"exp/a.jpg"}
    assert Image.open(tmp_path / "runs/exp/a.jpg").size == (80, 48)


def test_json_and_labels_are_the_detectors(detect, weights, image, tmp_path):
    other = image.with_name("b.png")
    assert detect(image, other, "--T", 4, "--steps", "3,1", "--save-json", "--save-txt") == 0
    first, second = entries(tmp_path)
    assert (first["image"], second["image"]) == (str(image), str(other))
    result = SpikingYOLO(weights).detect(image, T=4, steps=[1, 3], conf=0.3)
    for said, found in ((first, result.detections), (first["steps"][1], result.steps[3])):
        boxes = zip(
            found.class_id.tolist(), found.confidence.tolist(), found.xyxy.tolist(), strict=True
        )
        assert said["detections"] == [
            {"class_id": c, "class": NAMES[c], "confidence": p, "box_xyxy": box}
            for c, p, box in boxes
        ]
    assert [step["T"] for step in first["steps"]] == [1, 3, 4]
    assert (first["width"], first["height"], first["T"]) == (80, 48, 4)
    assert first["method"] == result.method and first["operations"] == result.operations
    rows = np.loadtxt(tmp_path / "runs/exp/labels/a.txt")
    assert rows[:, 0].tolist() == result.boxes.cls.tolist()
    np.testing.assert_allclose(rows[:, 1:], result.boxes.xywhn, atol=1e-6)


def test_every_picture(detect, image, tmp_path, capsys):
    pictures = ("--overlay", "--ann", "--save-crop", "--figures", "pdf")
    assert detect(image, "--T", 4, "--steps", "1,2", *pictures) == 0
    folder = tmp_path / "runs/exp"
    crops = {f"crops/{path.parent.name}/{path.name}" for path in folder.glob("crops/*/a-*.jpg")}
    plots = {"a-rates.png", "a-rates.pdf"}
    assert crops
    assert files(folder) == {"a.jpg", "a-steps/T1.jpg", "a-steps/T2.jpg", *plots, *crops}
    assert Image.open(folder / "a.jpg").width > 160  # two pictures side by side
    out = capsys.readouterr().out
    assert "\n  T=1: " in out and "\n  T=2: " in out and "\n  ANN: " in out


def test_classes_by_name_and_number(detect, image, tmp_path):
    def found(run: str, *options: object) -> list[dict[str, Any]]:
        assert detect(image, "--T", 4, "--save-json", *options) == 0
        return entries(tmp_path, run)[0]["detections"]

    everything = found("exp")
    assert {box["class_id"] for box in everything} == {0, 2}
    assert found("exp2", "--classes", "bird") == [b for b in everything if b["class_id"] == 2]
    assert found("exp3", "--classes", "bird,0") == everything


def test_finding_nothing_says_what_a_slow_method_needs(detect, image, capsys):
    assert detect(image, "--T", 2, "--method", "channel-norm", "--conf", 1) == 0
    assert "channel-norm usually needs T >= 128" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "T"),
    [((), 1), (("--method", "dcgs"), 2), (("--steps", "3,2"), 3), (("--T", 2), 2)],
)
def test_as_many_timesteps_as_the_method_needs(detect, image, tmp_path, options, T):
    assert detect(image, "--save-json", *options) == 0
    assert entries(tmp_path)[0]["T"] == T


def test_names_of_folders_and_files(detect, image, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.jpg", "a.png", "a-2.png"):
        photo(folder / name)
    for _ in range(2):
        assert detect(folder, image, "--T", 1, "--save-txt") == 0
    # Label files match their pictures, whatever comes first.
    names = {"a-2", "a", "a-png", "a-3"}
    written = {f"{name}.jpg" for name in names} | {f"labels/{name}.txt" for name in names}
    assert files(tmp_path / "runs/exp") == written == files(tmp_path / "runs/exp2")
    assert detect(image, "--T", 1, "--name", "exp", "--exist-ok") == 0
    assert not (tmp_path / "runs/exp3").exists()


def test_a_broken_file_among_others_is_reported_and_skipped(detect, image, tmp_path, capsys):
    (tmp_path / "broken.png").write_bytes(image.read_bytes()[:200])
    assert detect(image, tmp_path / "broken.png", image.with_name("b.png"), "--save-json") == 1
    assert files(tmp_path / "runs") == {"exp/a.jpg", "exp/b.jpg", "exp/detections.json"}
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1 and "broken.png" in err
    assert len(entries(tmp_path)) == 2


def test_all_broken_is_status_2_and_no_directory(detect, tmp_path, capsys):
    for name in ("x.png", "y.png"):
        (tmp_path / name).write_text("no image")
    assert detect(tmp_path / "x.png", tmp_path / "y.png") == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 2
    assert not (tmp_path / "runs").exists()


def test_interrupted_keeps_what_was_done(detect, image, tmp_path, monkeypatch, capsys):
    original, calls = DetectRun.image, []

    def once(self, *args, **kwargs):
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    monkeypatch.setattr(DetectRun, "image", once)
    assert detect(image, image, "--T", 1, "--save-json") == 130
    assert files(tmp_path / "runs") == {"exp/a.jpg", "exp/detections.json"}
    out, err = capsys.readouterr()
    assert "results saved" in out and err == "interrupted\n"


def test_the_shipped_network_finds_what_the_ann_finds(tmp_path):
    image = ROOT / "data" / "samples" / "dog.jpg"
    assert run_tool("detect", image, "--save-json", "--project", tmp_path / "runs") == 0
    (entry,) = entries(tmp_path)
    assert entry["T"] == 1
    ann = SpikingYOLO(ROOT / "weights" / "yolov3-tiny.weights").detect_ann(image)
    found: set[str] = set()
    for box in entry["detections"]:
        same = ann.boxes.xyxy[ann.boxes.cls == box["class_id"]]
        if len(same) and box_iou(torch.tensor([box["box_xyxy"]]), same).max() >= 0.8:
            found.add(box["class"])
    assert {"dog", "bicycle"} <= found and found & {"car", "truck"}


def test_python_writes_the_files_of_the_command_line(weights, image, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    clip = write_frames(tmp_path / "clip.mp4", walk(4))
    sources = tuple(map(str, (image, clip, tmp_path / "broken.png")))
    flags = ["save_txt", "save_conf", "save_json", "overlay", "ann", "save_mot", "timeline"]
    words = [f"--{flag.replace('_', '-')}" for flag in flags]
    line = (*sources, *words, "--T", 3, "--steps", "1,2", "--conf", 0.3, "--weights", weights)
    assert run_tool("detect", *line, "--project", tmp_path / "runs") == 1
    options = DetectOptions(
        sources=sources,
        T=3,
        steps=(1, 2),
        conf=0.3,
        weights=weights,
        project=tmp_path / "python",
        **dict.fromkeys(flags, True),
    )
    steps: list[tuple[int, int | None]] = []
    summary = detect(options, lambda what, done, total, remark: steps.append((done, total)))
    assert summary.folder == tmp_path / "python/exp" and len(summary.results) == 5 and steps
    assert list(summary.failures) == [sources[-1]]
    names = files(tmp_path / "runs/exp")
    assert names == files(summary.folder)
    for name in names:
        expected = (tmp_path / "runs/exp" / name).read_bytes()
        assert (summary.folder / name).read_bytes() == expected, name


@pytest.mark.parametrize(
    "options", [{"save_mot": True}, {"overlay": True, "layers": ("x",)}, {"classes": ("x",)}]
)
def test_a_mistake_raises_and_leaves_nothing(weights, image, tmp_path, options):
    with pytest.raises(UserError):
        detect(
            DetectOptions(
                sources=(str(image),), weights=weights, project=tmp_path / "runs", **options
            )
        )
    assert not (tmp_path / "runs").exists()
