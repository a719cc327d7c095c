"""Options that are not typed: environment variables, spiking-yolo.toml and pyproject.toml."""

import shlex
import warnings
from pathlib import Path

import pytest
from helpers.tiny import run_tool

from spiking_yolo.cli.main import call, parse
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.options import command_line


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def options(line: str):
    """What a line means, and what is said about defaults."""
    with warnings.catch_warnings(record=True) as notices:
        warnings.simplefilter("always")
        result = parse(line.split())
    assert all(one.category is Notice for one in notices)
    return result, [str(one.message) for one in notices]


def test_a_file_with_options_of_every_verb_and_of_one(folder):
    (folder / "spiking-yolo.toml").write_text(
        'conf = 0.4\nper-class = true\n[detect]\nsteps = [2, 4]\nsave_json = true\nclasses = "dog,car"\n'
        "[detect.set]\nneuron.gamma = 4\nmsat.det = false\n[report]\nT = 3\n"
    )
    detect, said = options("detect a.jpg --save-txt")
    assert (detect.conf, detect.steps, detect.save_json) == (0.4, (2, 4), True)
    assert detect.classes == ("dog", "car") and detect.save_txt and detect.T is None
    assert {key: value.lower() for key, value in detect.settings.items()} == {
        "neuron.gamma": "4",
        "msat.det": "false",
    }
    (line,) = said
    assert (
        line.startswith("from spiking-yolo.toml: ")
        and "--conf" in line
        and "--save-txt" not in line
    )
    report, _ = options("report a.jpg")
    assert (report.conf, report.T, report.steps) == (0.4, 3, ())
    assert options("eval")[0].per_class
    # Which has none of these.
    assert options("weights")[1] == []


def test_what_is_typed_goes_before_variables_and_they_before_files(folder, monkeypatch):
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "x"\n[tool.spiking-yolo]\nT = 2\nconf = 0.2\niou = 0.2\nmax-det = 2\n'
    )
    (folder / "spiking-yolo.toml").write_text("T = 3\nconf = 0.3\niou = 0.3\n[detect]\nT = 4\n")
    for name, value in {
        "T": 5,
        "CONF": 0.5,
        "STEPS": "1,2",
        "SET": "neuron.gamma=4",
        "IOU": 0.5,
    }.items():
        monkeypatch.setenv(f"SPIKING_YOLO_{name}", str(value))
    monkeypatch.setenv("SPIKING_YOLO_DETECT_T", "6")
    monkeypatch.setenv("SPIKING_YOLO_OVERLAY", "true")
    detect, said = options("detect a.jpg --conf 0.9")
    assert (detect.conf, detect.T, detect.iou, detect.max_det) == (0.9, 6, 0.5, 2)
    assert detect.steps == (1, 2) and detect.settings == {"neuron.gamma": "4"} and detect.overlay
    assert "from $SPIKING_YOLO_DETECT_T: --T" in said and "from pyproject.toml: --max-det" in said
    for name in ("T", "IOU", "DETECT_T"):
        monkeypatch.delenv(f"SPIKING_YOLO_{name}")
    detect, _ = options("detect a.jpg")
    assert (detect.T, detect.iou, detect.conf, detect.max_det) == (4, 0.3, 0.5, 2)


def test_the_variable_of_the_cache_is_no_option_of_training(monkeypatch):
    monkeypatch.setenv("SPIKING_YOLO_CACHE", "/tmp/a folder")
    train, said = options("train --task detect --model yolov1 --data d")
    assert train.cache and said == []
    monkeypatch.setenv("SPIKING_YOLO_TRAIN_CACHE", "false")
    assert not options("train --task detect --model yolov1 --data d")[0].cache


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cnf = 1", "spiking-yolo.toml: there is no option 'cnf'; did you mean 'conf'?"),
        ("[detect]\nper-class = true", r"spiking-yolo.toml, \[detect\]: .* 'per-class'"),
        ("[detct]\nconf = 1", "no option 'detct'"),
        ("[detect", "spiking-yolo.toml is not TOML: .*; mend it"),
        ("T = 'many'", "--T must be a whole number, not 'many', in spiking-yolo.toml"),
        ("T = [1, 2]", "spiking-yolo.toml: T must be one value"),
        ("T = true", "spiking-yolo.toml: T must be a value, not true"),
        ("conf = 2.0", r"--conf must be in 0..1, not 2.0, in spiking-yolo.toml"),
        ("save-txt = 1", "spiking-yolo.toml: save-txt must be true or false, not 1"),
        # A folder that somebody sent must not run code.
        ("trust-weights = true", "trust-weights has to be typed"),
        ("[detect]\ntrust_weights = true", "trust_weights has to be typed"),
        ("sources = 'a.jpg'", "no option 'sources'"),
    ],
)
def test_mistakes_name_the_file(folder, text, message):
    (folder / "spiking-yolo.toml").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        parse(["detect", "a.jpg"])
    assert "\n" not in str(error.value)


def test_mistakes_name_the_variable(monkeypatch):
    monkeypatch.setenv("SPIKING_YOLO_CONF", "many")
    with pytest.raises(
        UserError, match=r"--conf must be a number, not 'many', in \$SPIKING_YOLO_CONF"
    ):
        parse(["detect", "a.jpg"])
    # The others need not be right, and --help answers in any case.
    assert parse(["detect", "a.jpg", "--conf", "0.5"]).conf == 0.5
    assert call(["weights"]) == 0
    with pytest.raises(SystemExit):
        call(["detect", "--help"])


def test_the_command_of_a_result_has_them_too(folder, monkeypatch):
    """So that it can be repeated elsewhere."""
    (folder / "spiking-yolo.toml").write_text(
        "conf = 0.4\nagnostic-nms = true\nbaseline = false\nsteps = [1, 2]\n[eval.set]\na.b = 1\na.c = 2\n"
    )
    monkeypatch.setattr("sys.argv", ["/bin/spiking-yolo", "eval", "--T", "4"])
    read, _ = options("eval --T 4")
    words = shlex.split(command_line())
    assert words[:4] == ["spiking-yolo", "eval", "--T", "4"] and "--no-baseline" not in words
    assert "--baseline" not in words and "--agnostic-nms" in words
    (folder / "spiking-yolo.toml").unlink()
    assert options(" ".join(words[1:])) == (read, [])
    # What another call had is forgotten.
    assert command_line() == "spiking-yolo eval --T 4"


def test_a_note_says_where_they_come_from(folder, capsys):
    (folder / "spiking-yolo.toml").write_text("[methods.set]\nmsat.gain = 3\n")
    with pytest.warns(Notice, match="from spiking-yolo.toml: --set"):
        assert run_tool("methods", "msat") == 0
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if "msat.gain" in line]
    assert line.startswith("* msat.gain") and " 3.0 " in line
