"""Command lines made from options: what is taken, what is refused, and in which words."""

import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from helpers.tiny import ROOT, run_tool

from spiking_yolo.apps import detect as detect_verb
from spiking_yolo.apps.analyze import AnalyzeOptions
from spiking_yolo.apps.calibrate import CalibrateOptions
from spiking_yolo.apps.detect import DetectOptions
from spiking_yolo.apps.export import ExportOptions
from spiking_yolo.cli.main import VERBS, call, parse, verb_module
from spiking_yolo.cli.process import status
from spiking_yolo.cli.program import read
from spiking_yolo.convert.methods import list_methods
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.io.assets import PROGRAM, command
from spiking_yolo.recipe import settings_table
from spiking_yolo.settings import settings_of
from spiking_yolo.train.options import TrainOptions


def detect(line: str) -> DetectOptions:
    return read(DetectOptions, "doc", line.split(), "prog")


def test_sources_and_options_in_any_order():
    options = detect(
        "a.jpg --T 8 b.jpg --steps 4,2,4 --set neuron.gamma=2 --set msat.det=false c.jpg --compile --conf .5"
    )
    assert options == DetectOptions(
        ("a.jpg", "b.jpg", "c.jpg"),
        T=8,
        steps=(2, 4),
        settings={"neuron.gamma": "2", "msat.det": "false"},
        compile=True,
        conf=0.5,
    )
    assert detect("-- --odd.jpg -x").sources == ("--odd.jpg", "-x")
    assert detect("a.jpg --imgsz 288x416 --weights=w --classes dog,2").imgsz == (288, 416)


def test_a_flag_does_not_eat_the_image():
    options = detect("--overlay image.jpg")
    assert options.overlay and options.sources == ("image.jpg",) and options.layers == ("auto",)
    assert detect("image.jpg --overlay --layers a,b").layers == ("a", "b")


@pytest.mark.parametrize(
    "line",
    ["dog.jpg --t 4", "dog.jpg --tru", "dog.jpg --over", "dog.jpg --Conf 1", "dog.jpg --SET a=1"],
)
def test_abbreviations_are_refused(line):
    with pytest.raises(UserError, match="Unknown option"):
        detect(line)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "SOURCE is missing; see prog --help"),
        ("a --T", "--T requires an argument"),
        ("a --T 4 --T 5", "--T specified multiple times"),
        ("a --method msat --method tsc", "--method specified multiple times"),
        ("a --T 4.5", "--T must be a whole number, not '4.5'"),
        ("a --T 0", "--T must be at least 1, not 0"),
        ("a --conf -1", "--conf must be in 0..1, not -1.0"),
        ("a --conf inf", "--conf must be in 0..1, not inf"),
        ("a --precision f16", "--precision must be one of float32, bf16, not 'f16'"),
        ("a --steps 4,,8", "--steps must be a whole number, not ''"),
        ("a --steps 4,65 --T 64", "--steps must lie in 1..64"),
        ("a --set gamma", "--set takes KEY=VALUE"),
        ("a --weights=", "--weights must be a path, not ''"),
        ("a --weights=b\0c", "--weights must be a path, not "),
        ("a --no-overlay", "Unknown option: --no-overlay"),
        ("a -x", "Unknown option: -x"),
        ("--SOURCE a", "Unknown option: --SOURCE"),
    ],
)
def test_mistakes_in_one_line(line, message):
    with pytest.raises(UserError) as error:
        detect(line)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_one_positional_argument_files_of_their_own_and_flags_to_switch_off():
    convert = read(ExportOptions, "", ["best.pt", "-o", "n.safetensors"], "prog")
    assert convert.weights == Path("best.pt") and convert.output == Path("n.safetensors")
    with pytest.raises(UserError, match="b is not expected"):
        read(ExportOptions, "", ["a", "b", "-o", "n.safetensors"], "prog")
    with pytest.raises(UserError, match="once"):
        read(
            ExportOptions,
            "",
            ["a", "--weights", "b", "-o", "n.safetensors"],
            "prog",
        )
    calibrate = read(
        CalibrateOptions, "", ["--images", "a,b", "--methods", "msat,tsc", "--limit", "3"], "prog"
    )
    assert calibrate.images == Path("a,b") and calibrate.methods == ("msat", "tsc")
    assert read(AnalyzeOptions, "", ["--data", "a", "b,c"], "prog").data == (Path("a"), Path("b,c"))
    needed = ["--task", "detect", "--model", "yolov1", "--data", "d"]
    assert read(TrainOptions, "", needed, "prog").cache
    assert not read(TrainOptions, "", [*needed, "--no-cache"], "prog").cache
    assert read(TrainOptions, "", [*needed, "--resume", "latest"], "prog").folder == Path(
        "runs/train/exp"
    )
    assert read(TrainOptions, "", [*needed, "--resume", "a/b"], "prog").folder == Path("a/b")


def test_help_shows_the_text_and_every_flag_with_its_meaning_range_and_default(capsys):
    with pytest.raises(SystemExit) as exit:
        read(DetectOptions, detect_verb.__doc__, ["--help"], "spiking-yolo detect")
    out = capsys.readouterr().out
    assert exit.value.code == 0
    assert out.startswith("Usage: spiking-yolo detect SOURCE ... [OPTIONS]\n")
    assert (detect_verb.__doc__ or "").strip() in out
    # Without the frames around the groups, and what wraps the lines.
    words = " ".join(out.replace("│", " ").split())
    for text in (
        "SOURCE image, folder, glob",
        "webcam number [required]",
        "--T INT timesteps (default: the last of --steps, or what the method needs",
        "--compile fuse",
        "--conf FLOAT smallest confidence [in 0..1] [default: 0.25]",
        "--seed INT draws the images of --limit [at least 0] [default: 0]",
        "[choices: float32, bf16] [default: float32]",
        "--list-settings",
    ):
        assert text in words, text
    for name in settings_of(DetectOptions):
        if name not in ("sources", "settings"):
            assert f"--{name.replace('_', '-')} " in words
    assert "--methods" not in words and "default: None" not in words and "False" not in words
    with pytest.raises(SystemExit):
        read(TrainOptions, "", ["--help"], "spiking-yolo train")
    out = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--no-cache photographs are decoded once" in out and "[default: 320]" in out


def test_the_settings_of_a_method_and_what_differs(capsys):
    assert run_tool("methods") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:-1]] == list(
        list_methods()
    )
    assert run_tool("detect", "--list-settings", "--method", "msat", "--set", "neuron.gamma=3") == 0
    out = capsys.readouterr().out
    assert (
        run_tool("methods", "msat", "--set", "neuron.gamma=3") == 0
        and capsys.readouterr().out == out
    )
    rows = {
        line[2:].split()[0]: (line[0], *line[2:].split()[1:2]) for line in out.splitlines()[1:-1]
    }
    assert list(rows) == [key for key, _, _ in settings_table()]
    assert rows["threshold.rule"] == ("*", "max") and rows["neuron.gamma"] == ("*", "3")
    assert rows["msat.enabled"] == ("*", "True") and rows["threshold.percentile"] == (" ", "99.9")
    assert run_tool("methods", "magic") == 2
    capsys.readouterr()
    assert run_tool("weights", "magic") == 2
    said = capsys.readouterr().err
    assert said == f"error: magic is not expected; see {command('weights')} --help\n"
    assert run_tool("eval", "--list-settings", "--method", "p-norm,msat") == 2


def test_exit_statuses(capsys):
    def raises(error: BaseException):
        raise error

    assert status(lambda: None) == 0 and status(lambda: 1) == 1
    assert status(lambda: raises(UserError("two\nlines"))) == 2
    assert status(lambda: raises(KeyboardInterrupt())) == 130
    assert status(lambda: raises(OSError(28, "No space left on device"))) == 2
    assert status(lambda: Path("a\n" + "b" * 300).stat() and 0) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[:2] == ["error: two lines", "interrupted"]
    assert said[2] == "error: No space left on device; check the path and the free space"
    assert (
        len(said) == 4
        and said[3].startswith("error: cannot use a bbb")
        and "File name too long" in said[3]
    )


@pytest.mark.parametrize(
    "verb",
    ["detect {}", "detect a.jpg --weights {}", "score --data {} --predictions a", "report {}.mp4"],
)
def test_a_name_that_no_file_can_have_is_one_that_is_not_there(verb: str, capsys):
    assert call(verb.format("x" * 300).split()) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and ("does not exist" in said or "No such file" in said)


def test_a_notice_is_one_line():
    code = "import warnings; from spiking_yolo.cli import process; from spiking_yolo.errors import Notice; "
    code += "print(process.status(lambda: warnings.warn('mind', Notice)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("0\n", "note: mind\n")


def test_the_weights_that_come_along(capsys):
    assert call(["weights"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "the default" in line]
    assert str(ROOT / "weights" / "yolov3-tiny.weights") in line and "as published" in line


def spiking_yolo(*args: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from spiking_yolo.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=60
    )


def test_the_command_lists_its_verbs():
    shown = spiking_yolo("--help")
    assert (
        shown.returncode == 0
        and shown.stdout == spiking_yolo().stdout
        and all(verb in shown.stdout for verb in VERBS)
    )
    assert spiking_yolo("--version").stdout.startswith("spiking-yolo 0")
    assert spiking_yolo("-V").stdout == spiking_yolo("--version").stdout
    assert spiking_yolo("help").stdout == shown.stdout
    assert spiking_yolo("help", "score").stdout == spiking_yolo("score", "--help").stdout


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("xyz a.jpg", "there is no verb 'xyz': choose from detect, report, eval, "),
        ("det a.jpg", "there is no verb 'det'; did you mean 'detect'?"),
        ("Eval", "there is no verb 'Eval'; did you mean 'eval'?"),
        # As Ultralytics has it.
        ("predict a.jpg", "there is no verb 'predict'; did you mean 'detect'?"),
        ("val --data coco", "there is no verb 'val'; did you mean 'eval'?"),
        ("detect a.jpg --t 4", "Unknown option: --t; did you mean --T?"),
        ("detect a.jpg --save_txts", "Unknown option: --save_txts; did you mean --save-txt?"),
        ("detect a.jpg --model b.pt", "Unknown option: --model; did you mean --weights?"),
        ("detect --source a.jpg", "--source; give it without a flag, in the place of SOURCE"),
        # Nothing is near.
        ("detect a.jpg --frobnicate", "Unknown option: --frobnicate; see"),
        ("detect README.md --method MSAT", "unknown method 'MSAT'; did you mean 'msat'?"),
        (
            "detect predict source=a.jpg model=b.pt imgsz=[288,416] save_txt=True show=True --T 2",
            "detect a.jpg --weights b.pt --imgsz 288x416 --save-txt --T 2, without show=True",
        ),
        ("source=a.jpg classes=[0,2]", "detect a.jpg --classes 0,2"),
        ("eval data=coco batch=2 --baseline", "eval --data coco --batch 2 --baseline"),
        ("README.md --T 1", "a verb is missing: {detect} README.md --T 1"),
        ("detect a=b.jpg", "a=b.jpg does not exist"),
    ],
)
def test_what_was_meant(line: str, said: str, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert call(line.split()) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and said.format(detect=command("detect")) in err


@pytest.mark.parametrize("verb", VERBS)
def test_the_commands_of_the_help_parse(verb: str):
    """All lines of a verb's text that begin with the program."""
    text = verb_module(verb).__doc__ or ""
    lines = re.findall(rf"^ *{PROGRAM} ({verb} .*)$", text, re.M)
    assert lines or verb in ("methods", "weights", "zoo")
    for line in lines:
        parse(shlex.split(line, comments=True))


def test_detectors_that_can_be_trained_are_named():
    wanted = "--task detect trains yolov1, --task classify the others"
    with pytest.raises(UserError, match=wanted):
        TrainOptions(task="detect", model="yolov5", data=Path("d"))
    with pytest.raises(UserError, match="yolov1 is a detector: give --task detect"):
        TrainOptions(task="classify", model="yolov1", data=Path("d"))


def test_quiet_and_verbose(tmp_path, capsys):
    """Files are written in any case, and errors printed."""
    photo = ROOT / "data" / "samples" / "eagle.jpg"
    line = ["detect", str(photo), "--imgsz", "320", "--project", str(tmp_path)]
    with warnings.catch_warnings(record=True) as notices:
        assert call([*line, "-q"]) == 0
    assert capsys.readouterr() == ("", "") and notices == []
    assert (tmp_path / "exp" / "eagle.jpg").is_file()
    assert call(["detect", "gone.jpg", "--quiet"]) == 2
    assert capsys.readouterr().err == "error: gone.jpg does not exist; check the path\n"
    with pytest.warns(Notice):
        assert call([*line, "--verbose"]) == 0
    out, err = capsys.readouterr()
    first, summary, box, *_ = out.splitlines()
    assert first.startswith("SpikingYOLO of yolov3-tiny.weights: signed-digits, 320 x 320 px")
    assert re.fullmatch(r"  bird 0\.\d\d: \d+,\d+ to \d+,\d+", box) and "bird" in summary
    assert err.startswith("spiking_yolo 0.") and re.search(r"torch 2.*\ntook \d+\.\d s\n", err)
    # Behind -- they are names of files.
    assert call(["detect", "--", "-q"]) == 2 and "-q" in capsys.readouterr().err
    assert call(["weights", "-q", "-v"]) == 2
    assert "--quiet and --verbose are two" in capsys.readouterr().err


def test_a_file_may_be_called_like_an_assignment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("model=a.jpg").touch()
    assert parse(["detect", "model=a.jpg", "--set", "a=b"]).sources == ("model=a.jpg",)


def test_options_are_read_where_pydantic_is_loaded():
    """Then cyclopts validates with it, defaults included: albumentations loads it for a
    training.
    """
    pytest.importorskip("pydantic")
    assert parse(["detect", "a.jpg", "--T", "4", "--save-json"]).T == 4
