"""--help, the listings and mistakes answer at once: they import neither torch nor cv2."""

import subprocess
import sys

import pytest
from helpers.tiny import ROOT

from spiking_yolo.cli.main import VERBS
from spiking_yolo.convert.methods import DEFAULT, list_methods
from spiking_yolo.recipe import settings_table

HEAVY = {"torch", "torchvision", "cv2", "numpy", "matplotlib", "PIL", "pandas", "ultralytics"}
TOOLS = sorted(path.stem for path in (ROOT / "tools").glob("[!_]*.py"))
CASES = [(name, option) for name in (*TOOLS, *VERBS) for option in ("--help", "--nonsense")]
LISTING = ("detect", "export")


def run(name: str, *args: str, watched: bool = False) -> subprocess.CompletedProcess[str]:
    """tools/NAME.py, or the verb NAME without one."""
    code = f"import sys; sys.argv[1:] = {[name, *args]!r}; from spiking_yolo.cli.main import main; main()"
    what = [f"tools/{name}.py", *args] if name in TOOLS else ["-c", code]
    command = [sys.executable, *(["-X", "importtime"] if watched else []), *what]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        *CASES,
        *((name, option) for name in LISTING for option in ("--list-methods", "--list-settings")),
    ],
)
def test_light(name, option):
    done = run(name, option, watched=True)
    lines = done.stderr.splitlines()
    imported = {
        line.split("|")[-1].strip().split(".")[0]
        for line in lines
        if line.startswith("import time:")
    }
    # So the list is read as it is meant.
    assert {"cyclopts", "spiking_yolo"} <= imported
    assert not imported & HEAVY
    said = [line for line in lines if not line.startswith("import time:")]
    if option == "--nonsense":
        assert done.returncode == 2 and len(said) == 1 and "--nonsense" in said[0]
    else:
        assert done.returncode == 0 and not said and done.stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("detect", "gone.jpg"), "gone.jpg does not exist; check the path"),
        (("detect", "gone.mp4"), "cannot open the video gone.mp4: it does not exist"),
        (
            ("report", "data/samples", "--method", "chanel-norm"),
            "'chanel-norm'; did you mean 'channel-norm'?",
        ),
        (
            ("detect", "data/samples", "--set", "neuron.gama=3"),
            "'neuron.gama'; did you mean 'neuron.gamma'?",
        ),
        (
            ("detect", "data/samples", "--weights", "yolo-fastst"),
            "yolo-fastst; did you mean 'yolo-fastest'?",
        ),
        (("analyze", "--weights", "gone.pt"), "cannot read the weights gone.pt"),
        (("eval", "--data", "gone"), "gone does not exist; check --data"),
        (("eval", "--method", "msat,msta"), "unknown method 'msta'; did you mean 'msat'?"),
        (("eval", "--metric", "accuracy", "--data", "data"), "--weights resnet20"),
        (("detec", "a.jpg"), "did you mean 'detect'?"),
    ],
)
def test_what_does_not_exist_is_said_before_anything_heavy_is_imported(args, said):
    code = (
        f"import sys; sys.argv[1:] = {list(args)!r}; from spiking_yolo.cli.main import main; main()"
    )
    command = [sys.executable, "-X", "importtime", "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    lines = done.stderr.splitlines()
    imported = {
        line.split("|")[-1].strip().split(".")[0]
        for line in lines
        if line.startswith("import time:")
    }
    assert "spiking_yolo" in imported and not imported & HEAVY
    (error,) = (line for line in lines if not line.startswith("import time:"))
    assert done.returncode == 2 and error.startswith("error: ") and said in error


def test_listings_are_complete():
    methods, settings = (run("detect", f"--list-{what}").stdout for what in ("methods", "settings"))
    assert f"{DEFAULT} (default)" in methods
    assert {line.split()[0] for line in methods.splitlines()[1:-1]} == set(list_methods())
    assert [line.split()[0] for line in settings.splitlines()] == [
        key for key, _, _ in settings_table()
    ]


def test_the_package_is_light():
    code = "import sys, spiking_yolo; print(spiking_yolo.list_methods and sorted(set(sys.modules)))"
    assert (
        "'torch'"
        not in subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
        ).stdout
    )


def test_only_the_command_line_parses():
    for path in (ROOT / "spiking_yolo").rglob("*.py"):
        text = path.read_text()
        assert "argparse" not in text, path
        assert "cyclopts" not in text or path.parent.name == "cli", path


def test_weights_lists_every_network_and_nothing_else():
    lines = [line for line in run("weights").stdout.splitlines() if not line.startswith(" ")]
    listed = {line.split()[1].rpartition("/")[2] for line in lines}
    networks = {path.name for path in (ROOT / "weights").glob("*.weights")}
    assert listed == networks | {
        path.with_suffix(".safetensors").name for path in (ROOT / "weights").glob("*.md")
    } - {"README.safetensors"}
