"""The command that comes next is one that can be typed, and of the same network."""

import shlex
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from helpers.evaluating import make_scene
from helpers.tiny import write_tiny

import spiking_yolo.apps.console as console
from spiking_yolo.apps.analyze import AnalyzeOptions
from spiking_yolo.apps.console import Bars, next_command
from spiking_yolo.apps.demo import DemoOptions
from spiking_yolo.apps.detect import DetectOptions
from spiking_yolo.apps.evaluate import EvalOptions
from spiking_yolo.apps.report import ReportOptions
from spiking_yolo.cli.main import call, parse
from spiking_yolo.io.assets import command


def test_it_has_the_same_network():
    network = [
        "--weights",
        "my net.pt",
        "--imgsz",
        "288x416",
        "--method",
        "msat",
        "--set",
        "msat.gain=2",
    ]
    network += ["--trust-weights", "--weight-bits", "8", "--statistics", "s.safetensors"]
    options = parse(["detect", "a.jpg", *network, "--set", "neuron.slack=0.1"])
    words = shlex.split(next_command("report", ReportOptions, options, Path("a photo.jpg")))
    read = parse(["report", *words[words.index("a photo.jpg") :]])
    for name in (
        "weights",
        "imgsz",
        "trust_weights",
        "weight_bits",
        "statistics",
        "method",
        "settings",
    ):
        assert getattr(read, name) == getattr(options, name)


def test_it_has_the_same_choices_where_it_takes_them():
    line = "detect a.jpg --T 4 --steps 1,4 --classes dog,car --conf 0.4 --agnostic-nms --recursive"
    options = parse([*line.split(), "--save-json", "--project", "elsewhere", "--limit", "3"])
    words = shlex.split(next_command("report", ReportOptions, options, "-a.jpg"))
    read = parse(["report", *words[words.index("./-a.jpg") :]])
    for name in ("T", "steps", "classes", "conf", "agnostic_nms", "recursive", "limit", "iou"):
        assert getattr(read, name) == getattr(options, name), name
    assert not {"--save-json", "--project", "--iou"} & set(words)
    # The default of the one verb is not typed for the other.
    assert "--limit" not in next_command("eval", EvalOptions, AnalyzeOptions())
    data = (Path("a b"), Path("c"))
    line = next_command("analyze", AnalyzeOptions, EvalOptions(), data=data, T=3, split=None)
    assert line.endswith(" --data 'a b' c --T 3")


def test_other_values_and_none():
    options = DetectOptions(sources=("a.jpg",), settings={"neuron.gamma": 3})
    changes = {"methods": ("recipe.json",), "settings": {}}
    assert next_command("eval", EvalOptions, options, **changes).endswith(" --method recipe.json")
    line = next_command("report", ReportOptions, options, "a.jpg")
    assert line.endswith(" a.jpg --set neuron.gamma=3")
    line = next_command("demo", DemoOptions, options, output=Path("x"), serve=True)
    assert line.endswith(" --set neuron.gamma=3 --output x --serve")


def test_what_ends_with_a_next_command_says_one_that_runs(tmp_path, monkeypatch, capsys):
    """Run as printed: of several photographs, of a folder with a bad one, of an evaluation."""
    monkeypatch.chdir(tmp_path)
    weights = str(write_tiny(tmp_path))
    assert call(["export", weights, "-o", "net.safetensors"]) == 0
    shutil.copy("photos/a.png", "a b.png")
    (tmp_path / "bad").mkdir()
    shutil.copy("photos/a.png", "bad/a.png")
    Path("bad/b.png").write_text("no picture")
    capsys.readouterr()
    network = ["--weights", "net.safetensors"]
    scene = str(make_scene(tmp_path / "scene", 2)[0])
    data = str(tmp_path / "scene")
    for line, status in (
        (["detect", "photos", "a b.png", "--T", "2", "--conf", "0.3", *network], 0),
        (["detect", "bad", "--recursive", *network], 1),
        (["eval", "--data", data, "--T", "1", "--limit", "1", "--weights", scene], 0),
    ):
        assert call(line) == status
        (following,) = [
            line for line in capsys.readouterr().out.splitlines() if line.startswith("next: ")
        ]
        words = shlex.split(following)
        verb = next(i for i, word in enumerate(words) if word in ("report", "analyze"))
        assert call(words[verb:]) == 0, following
        assert capsys.readouterr().out


def test_lines_for_a_file_say_how_long_it_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """No terminal: a line after 10 seconds, none before, and none unless asked for."""
    now = 0.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now)
    for bars in (Bars(), Bars(lines=10)):
        now = 0.0
        for done in range(8):
            now = 4.0 * done
            bars("training", done, 16)
    assert capsys.readouterr().err.splitlines() == [
        "training: 3 of 16, 00:52 left",
        "training: 6 of 16, 00:40 left",
    ]


CHECKOUT = Path(__file__).parents[2]
MODULE = CHECKOUT / "spiking_yolo" / "cli" / "__main__.py"


@pytest.mark.parametrize(
    ("program", "verb", "expected"),
    [
        ("/opt/venv/bin/spiking-yolo", "eval", "spiking-yolo eval"),
        ("C:/venv/Scripts/spiking-yolo.exe", "detect", "spiking-yolo detect"),
        ("tools/detect.py", "report", "python tools/report.py"),
        ("tools/eval_voc.py", "eval-video", "python tools/eval_video.py"),
        ("../{checkout}/tools/detect.py", "eval", "python ../{checkout}/tools/eval_coco.py"),
        # There is no such tool.
        ("tools/detect.py", "zoo", "python -m spiking_yolo.cli zoo"),
        (str(MODULE), "train", "python -m spiking_yolo.cli train"),
        ("mine.py", "train", "python -m spiking_yolo.cli train"),
        ("elsewhere/tools/detect.py", "train", "python -m spiking_yolo.cli train"),
        ("", "train", "python -m spiking_yolo.cli train"),
    ],
)
def test_commands_are_typed_as_this_one_was(
    monkeypatch: pytest.MonkeyPatch, program: str, verb: str, expected: str
):
    monkeypatch.chdir(CHECKOUT)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "argv", [program.format(checkout=CHECKOUT.name)])
    assert command(verb) == expected.format(checkout=CHECKOUT.name)


@pytest.mark.parametrize("argv", [["mine.py"], ["-c"], [""], []])
def test_a_script_gets_the_installed_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, argv: list[str]
):
    program = tmp_path / "spiking-yolo"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", argv)
    assert command("calibrate") == "spiking-yolo calibrate"


def test_every_way_to_start_it_is_the_one_it_prints(tmp_path: Path):
    """In the usage, in a mistake's message, and in the command that comes next."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "spiking-yolo"
    script.write_text("from spiking_yolo.cli.main import main\nmain()\n")
    image = CHECKOUT / "data" / "samples" / "eagle.jpg"
    ways = {
        "spiking-yolo {}": [str(script), "detect"],
        "python tools/{}.py": ["tools/detect.py"],
        "python -m spiking_yolo.cli {}": ["-m", "spiking_yolo.cli", "detect"],
    }
    for way, words in ways.items():
        run = partial(subprocess.run, cwd=CHECKOUT, capture_output=True, text=True)
        start = [sys.executable, *words]
        options = ["--T", "1", "--imgsz", "320", "--project", str(tmp_path / "runs")]
        detect, report = way.format("detect"), way.format("report")
        assert f"Usage: {detect} SOURCE" in run([*start, "--help"]).stdout
        assert f"see {detect} --help" in run([*start, str(image), "--nonsense"]).stderr
        assert f"next: {report} {image}" in run([*start, str(image), *options]).stdout
