"""tools/detect.py: what it prints and saves, and its exit status."""

import json
import re

import numpy as np
import pytest
from helpers.tiny import ANYTHING, NAMES, ROOT, files, photo, run_tool
from PIL import Image

from spiking_yolo import SpikingYOLO
from spiking_yolo.apps.detect.run import DetectRun, spread_steps
from spiking_yolo.data.detection import draw


def test_an_image_gives_one_line_and_one_picture(detect, image, tmp_path, capsys):
    assert detect(image, *ANYTHING) == 0
    out, err = capsys.readouterr()
    assert err == ""
    line, last, following = out.splitlines()
    assert line.startswith(f"{image}: 80x48, ") and " T=4 " in line
    for word in ("digits", "operations per MAC", "ms", "cat"):
        assert word in line
    assert re.search(r"80x48, (\d+ x )?\w+ [01]\.\d\d", line), "with confidences"
    assert last == f"results saved to {tmp_path / 'runs' / 'exp'}"
    assert following.startswith("next: ") and f"report {image} " in following.replace(".py", "")
    assert " --weights " in following and following.endswith(" --T 4")
    assert files(tmp_path / "runs") == {"exp/a.jpg"}
    assert Image.open(tmp_path / "runs/exp/a.jpg").size == (80, 48)


def test_json_has_the_published_schema(detect, weights, image, tmp_path):
    assert (
        detect(image, image.with_name("b.png"), *ANYTHING, "--steps", "3,1", "--gif", "--save-json")
        == 0
    )
    entries = json.loads((tmp_path / "runs/exp/detections.json").read_text())
    assert [e["image"] for e in entries] == [str(image), str(image.with_name("b.png"))]
    result = SpikingYOLO(weights).detect(image, T=4, steps=[1, 3], conf=0.3)
    for t, found in (("T", result.detections), (3, result.steps[3])):
        boxes = entries[0]["detections"] if t == "T" else entries[0]["steps"][1]["detections"]
        assert boxes == [
            {"class_id": c, "class": NAMES[c], "confidence": p, "box_xyxy": box}
            for c, p, box in zip(
                found.class_id.tolist(),
                found.confidence.tolist(),
                found.xyxy.tolist(),
                strict=True,
            )
        ]
    assert [s["T"] for s in entries[0]["steps"]] == [1, 3, 4]
    assert all(set(s) == {"T", "detections"} for s in entries[0]["steps"])
    keys = {
        "image",
        "width",
        "height",
        "T",
        "method",
        "detections",
        "spikes",
        "mean_rate",
        "steps",
    } | {
        "sent",
        "pooled",
        "operations",
        "macs",
    }
    assert set(entries[0]) == keys
    assert (entries[0]["width"], entries[0]["height"], entries[0]["T"]) == (80, 48, 4)
    assert entries[0]["method"] == result.method
    assert entries[0]["spikes"] == pytest.approx(result.spikes)
    assert entries[0]["mean_rate"] == pytest.approx(result.mean_rate)


@pytest.mark.parametrize("with_confidence", [False, True])
def test_labels_are_fractions_of_the_image(detect, weights, image, tmp_path, with_confidence):
    assert (
        detect(image, *ANYTHING, "--save-txt", *(["--save-conf"] if with_confidence else [])) == 0
    )
    rows = [line.split() for line in (tmp_path / "runs/exp/labels/a.txt").read_text().splitlines()]
    result = SpikingYOLO(weights).detect(image, T=4, conf=0.3)
    assert [int(row[0]) for row in rows] == result.boxes.cls.tolist()
    expected = [
        [*box, p]
        for box, p in zip(result.boxes.xywhn.tolist(), result.boxes.conf.tolist(), strict=True)
    ]
    np.testing.assert_allclose(
        np.array(rows, float)[:, 1:],
        np.array(expected)[:, : 5 if with_confidence else 4],
        atol=1e-6,
    )


def test_every_picture(detect, image, tmp_path, capsys):
    assert detect(image, *ANYTHING, "--steps", "1,2", "--overlay", "--gif", "--ann") == 0
    layers = {f"exp/a-rates/{name}.png" for name in ("layers_0_act", "layers_2_act", "summary")}
    assert files(tmp_path / "runs") == {
        "exp/a.jpg",
        "exp/a-steps/T1.jpg",
        "exp/a-steps/T2.jpg",
        "exp/a.gif",
        *layers,
    }
    assert Image.open(tmp_path / "runs/exp/a.jpg").width > 160  # two pictures side by side
    assert getattr(Image.open(tmp_path / "runs/exp/a.gif"), "n_frames", 0) == 4
    out = capsys.readouterr().out
    assert "\n  T=1: " in out and "\n  T=2: " in out and "\n  ANN: " in out


def test_overlay_of_chosen_layers(detect, image, tmp_path):
    assert detect(image, "--T", 2, "--overlay", "--layers", "layers_2_act") == 0
    assert files(tmp_path / "runs/exp/a-rates") == {"layers_2_act.png", "summary.png"}


def test_classes_by_name_and_number(detect, image, tmp_path):
    def found(run, *options):
        assert detect(image, *ANYTHING, "--save-json", *options) == 0
        return json.loads((tmp_path / "runs" / run / "detections.json").read_text())[0][
            "detections"
        ]

    everything = found("exp")
    assert {d["class_id"] for d in everything} == {0, 2}
    assert found("exp2", "--classes", "bird") == [d for d in everything if d["class_id"] == 2]
    assert found("exp3", "--classes", "0") == [d for d in everything if d["class_id"] == 0]
    assert (
        found("exp4", "--classes", "bird,0") == everything
        and found("exp5", "--classes", "dog") == []
    )


def test_limit_draws_images_by_the_seed_in_their_order(detect, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(5):
        photo(folder / f"{i}.png")
    drawn = [draw(range(5), 2, seed) for seed in (0, 1)]
    assert drawn[0] != drawn[1] and [0, 1] not in drawn
    for seed, chosen in enumerate(drawn):
        assert detect(folder, "--T", 1, "--limit", 2, "--seed", seed, "--name", f"seed{seed}") == 0
        assert files(tmp_path / "runs" / f"seed{seed}") == {f"{i}.jpg" for i in chosen}


def test_finding_nothing_says_what_a_slow_method_needs(detect, image, capsys):
    assert detect(image, "--T", 2, "--method", "channel-norm", "--conf", 1) == 0
    said = "channel-norm usually needs T >= 128; the default, signed-digits, needs 1"
    assert said in capsys.readouterr().out
    assert detect(image, "--T", 2, "--conf", 1) == 0
    assert "usually needs" not in capsys.readouterr().out


def test_a_broken_file_among_others_is_reported_and_skipped(detect, image, tmp_path, capsys):
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "a.png").write_bytes(image.read_bytes())
    (folder / "broken.png").write_bytes(image.read_bytes()[:200])
    photo(folder / "z.png")
    assert detect(folder, "--T", 1, "--save-json") == 1
    assert files(tmp_path / "runs") == {"exp/a.jpg", "exp/z.jpg", "exp/detections.json"}
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1 and "broken.png" in err
    assert len(json.loads((tmp_path / "runs/exp/detections.json").read_text())) == 2


def test_all_broken_is_status_2_and_no_directory(detect, tmp_path, capsys):
    for name in ("x.png", "y.png"):
        (tmp_path / name).write_text("no image")
    assert detect(tmp_path / "x.png", tmp_path / "y.png", "--T", 1, "--save-json") == 2
    assert not (tmp_path / "runs").exists()
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 2


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


@pytest.mark.parametrize("T", [1, 2, 16, 17, 64, 1000])
def test_animation_steps(T):
    steps = spread_steps(T, 16)
    assert steps[0] == 1 and steps[-1] == T and steps == sorted(set(steps)) and len(steps) <= 16
    assert len(steps) == T or T > 16


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dog", [{"dog"}, {"bicycle"}, {"car", "truck"}]),
        ("person", [{"person"}, {"dog"}, {"horse"}]),
    ],
)
def test_shipped_network_finds_what_the_ann_finds(tmp_path, name, expected):
    from torchvision.ops import box_iou

    image = ROOT / "data" / "samples" / f"{name}.jpg"
    assert run_tool("detect", image, "--save-json", "--project", tmp_path) == 0
    import torch

    entry = json.loads((tmp_path / "exp/detections.json").read_text())[0]
    assert entry["T"] == 1
    ann = SpikingYOLO(ROOT / "weights" / "yolov3-tiny.weights").detect_ann(image)
    for wanted in expected:
        assert any(
            d["class"] in wanted
            and box_iou(
                torch.tensor([d["box_xyxy"]]), ann.boxes.xyxy[ann.boxes.cls == d["class_id"]]
            ).max()
            >= 0.8
            for d in entry["detections"]
            if d["class_id"] in ann.boxes.cls
        ), wanted


@pytest.mark.parametrize(
    ("options", "T"),
    [
        ((), 1),
        (("--method", "dcgs"), 4),
        # Its figure in the table is "> 64".
        (("--method", "srp"), 64),
        (("--method", "dcgs", "--steps", "3,2"), 3),
        (("--T", 2), 2),
    ],
)
def test_as_many_timesteps_as_the_method_needs(detect, image, tmp_path, options, T):
    assert detect(image, "--conf", 0.3, "--save-json", *options) == 0
    (entry,) = json.loads((tmp_path / "runs/exp/detections.json").read_text())
    assert entry["T"] == T


def test_a_converted_file_has_the_timesteps_of_its_method(weights, image, tmp_path):
    path = tmp_path / "net.safetensors"
    SpikingYOLO(weights, "dcgs").save(path)
    assert SpikingYOLO.load(path).detect(image).T == 4
    assert run_tool("detect", image, "--weights", path, "--project", tmp_path, "--save-json") == 0
    (entry,) = json.loads((tmp_path / "exp/detections.json").read_text())
    assert entry["T"] == 4
