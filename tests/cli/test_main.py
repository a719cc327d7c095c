"""How a typed line becomes options: words, configuration, and mistakes."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from cyclopts import CycloptsError
from helpers.tiny import parse

from spiking_yolo.cli import COMMANDS, call, program
from spiking_yolo.convert import methods
from spiking_yolo.errors import UserError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jpg").touch()
    return tmp_path


def options(line: str) -> Any:
    return parse(line.split())


def test_sources_stand_before_between_and_behind_options():
    read = options("detect a.jpg --T 4 b.jpg --ann c.jpg --steps 1,4 -- -d.jpg")
    assert read.sources == ("a.jpg", "b.jpg", "c.jpg", "-d.jpg")
    assert (read.T, read.steps, read.ann) == (4, (1, 4), True)


def test_several_settings_and_methods():
    read = options("eval --method msat,p-norm --set neuron.gamma=4 --set msat.tau_rd=0")
    assert read.methods == ("msat", "p-norm")
    assert read.settings == {"neuron.gamma": "4", "msat.tau_rd": "0"}


def test_every_option_has_help():
    app = program()
    for name in COMMANDS:
        for argument in app[name].assemble_argument_collection(parse_docstring=True):
            if argument.parse and argument.keys:
                assert argument.parameter.help, (name, argument.name)


def test_values_of_a_file_and_of_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "pyproject.toml").write_text(
        "[tool.spiking-yolo.detect]\nT = 3\nconf = 0.2\nsteps = [1, 2]\nann = true\n"
    )
    monkeypatch.setenv("SPIKING_YOLO_DETECT_CONF", "0.3")
    monkeypatch.setenv("SPIKING_YOLO_DETECT_IOU", "0.4")
    read = options("detect a.jpg --iou 0.5")
    assert (read.T, read.steps, read.ann) == (3, (1, 2), True)
    assert (read.conf, read.iou) == (0.3, 0.5)
    assert options("eval").T is None


def test_a_file_that_may_not_or_cannot(folder: Path):
    for content, word in (("nonsense = 1", "nonsense"), ("conf = 3", "<= 1"), ("conf = [", "TOML")):
        (folder / "pyproject.toml").write_text(f"[tool.spiking-yolo.detect]\n{content}\n")
        with pytest.raises((UserError, CycloptsError), match=word):
            options("detect a.jpg")


def test_a_mistake_is_one_line(capfd: pytest.CaptureFixture[str]):
    for line, word in (
        ("detect", "--sources"),
        ("detect a.jpg --T 0", "--T"),
        ("detect a.jpg --T 8 --steps 4,9", "1..8"),
        ("detect a.jpg --steps few", "steps"),
        ("detect a.jpg --set neuron.gamma", "KEY=VALUE"),
        ("detect a.jpg --imgsz 100", "multiple of 32"),
        ("detect a.jpg --name ../elsewhere", "--project"),
        ("detect a.jpg --an", "--ann"),
        ("eval --limit 1 --limit 2", "--limit"),
        ("detec a.jpg", "detect"),
        ("eval a.jpg", "a.jpg"),
        ("calibrate", "--images"),
    ):
        assert call(line.split()) == 2, line
        out, err = capfd.readouterr()
        assert out == "" and err.startswith("error: "), line
        assert len(err.splitlines()) == 1 and word in err


def test_words_of_other_programs_are_answered_with_ours(capfd: pytest.CaptureFixture[str]):
    for line, said in (
        ("detect a.jpg --t 4", "--t is no option: did you mean --T?"),
        ("detect a.jpg --t=4", "--t is no option: did you mean --T?"),
        ("detect a.jpg --model x.pt", "--model is no option: did you mean --weights?"),
        ("detect a.mp4 --vid-stride 3", "--vid-stride is no option: did you mean --every?"),
        ("detect --source a.jpg", "a source has no name, as in spiking-yolo detect a.jpg"),
        ("list --model x", "Unknown option: --model"),
        ("predict a.jpg", "predict is no command: did you mean spiking-yolo detect a.jpg?"),
        ("track a.mp4 --T 2", "did you mean spiking-yolo detect --track a.mp4 --T 2?"),
        ("val", "did you mean spiking-yolo eval?"),
        ("detect model=x.pt source=a.jpg", "detect a.jpg --conf 0.5, not model=x.pt"),
        ("detect predict source=a.jpg --conf 0.5", "and sources without a name, as in"),
        ("eval data=c.yaml", "written --KEY VALUE, and sources without a name, as in spiking-yolo"),
    ):
        assert call(line.split()) == 2, line
        out, err = capfd.readouterr()
        assert (out, len(err.splitlines())) == ("", 1) and said in err, err


def test_a_file_and_a_setting_may_have_an_equals_sign(folder: Path, capsys):
    (folder / "model=a.jpg").write_text("")
    assert call(["detect", "model=a.jpg", "--set", "model=3"]) == 2
    assert "model" in capsys.readouterr().err.partition("written")[0]


def test_overlay_has_a_value_or_none():
    for line, layers in (
        ("detect a.jpg", None),
        ("detect a.jpg --T 4 --overlay", ()),
        ("detect --overlay a.jpg", ()),
        ("detect --overlay missing.jpg --T 4", ()),
        ("detect --overlay --T 4 a.jpg", ()),
        ("detect a.jpg --overlay layer8,layer14", ("layer8", "layer14")),
        ("detect --overlay=layer8 a.jpg", ("layer8",)),
    ):
        read = options(line)
        assert (read.sources[0][-4:], read.overlay) == (".jpg", layers), line


def test_help_of_all_and_of_a_command(capsys: pytest.CaptureFixture[str]):
    for line in ("", "--help", "-h"):
        assert call(line.split()) == 0
        out = capsys.readouterr().out
        assert all(f"│ {name} " in out for name in COMMANDS), line
    for line in ("detect --help", "detect -h", "detect --help-all"):
        assert call(line.split()) == 0
        out = capsys.readouterr().out
        assert "spiking-yolo detect image.jpg" in out and "--track" in out, line
        whole = line.endswith("all")
        assert ("--quiet" in out) == ("--max-det" in out) == ("Boxes" in out) == whole
        assert whole or len(out.splitlines()) <= 30


PLUGIN = """
from spiking_yolo import Recipe
from spiking_yolo.convert.methods import register

@register(2026, "none")
def of_a_plugin():
    return Recipe("of-a-plugin")

print("ran")
"""


def test_a_plugin_is_run_first(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch):
    monkeypatch.setattr(methods, "METHODS", dict(methods.METHODS))
    (folder / "mine.py").write_text(PLUGIN)
    (folder / "bad.py").write_text("1 / 0")
    (folder / "statistics.py").write_text("")
    assert call(["list", "of-a-plugin", "--plugin", "mine.py"]) == 0
    assert capsys.readouterr().out.startswith("ran\n")
    for name, said in (
        ("bad.py", "ZeroDivisionError"),
        ("none.py", "no Python file"),
        ("statistics.py", "registers no method, neuron, rule of thresholds or head"),
    ):
        assert call(["list", "--plugin", name]) == 2
        assert said in capsys.readouterr().err
    # A name of another module takes nothing from that.
    assert import_module("statistics").median([3]) == 3
