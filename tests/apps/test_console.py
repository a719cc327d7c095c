"""Progress for a terminal and for a file, and how commands are typed."""

import sys
from pathlib import Path

import pytest

import spiking_yolo.apps.console as console
from spiking_yolo.apps.console import Bars
from spiking_yolo.io.assets import command


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
