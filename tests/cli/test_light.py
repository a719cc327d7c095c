"""--help and mistakes answer at once: they import neither torch nor cv2."""

import subprocess
import sys

import pytest
from helpers.tiny import ROOT

from spiking_yolo.cli import COMMANDS

pytestmark = pytest.mark.slow
HEAVY = {"torch", "torchvision", "cv2", "numpy", "matplotlib", "PIL", "pandas", "ultralytics"}
TOOLS = sorted(f"tools/{path.name}" for path in (ROOT / "tools").glob("[!_]*.py"))


def run(*words: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """A file of tools/ or a command, and the lines on stderr; nothing heavy may be imported."""
    start = words if words and words[0] in TOOLS else ("-m", "spiking_yolo.cli", *words)
    command = [sys.executable, "-X", "importtime", *start]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    said: list[str] = []
    imported: set[str] = set()
    for line in done.stderr.splitlines():
        if line.startswith("import time:"):
            imported.add(line.split("|")[-1].strip().split(".")[0])
        else:
            said.append(line)
    # So the list is read as it is meant.
    assert {"cyclopts", "spiking_yolo"} <= imported
    assert not imported & HEAVY
    return done, said


@pytest.mark.parametrize("name", [*TOOLS, *COMMANDS])
def test_help(name: str):
    done, said = run(name, "--help")
    assert done.returncode == 0 and said == [] and "Usage: spiking-yolo" in done.stdout


def test_overview():
    done, said = run("--help")
    assert done.returncode == 0 and said == []
    assert all(f" {name} " in done.stdout for name in COMMANDS)


def test_what_does_not_exist_is_said_before_anything_heavy_is_imported():
    for line, word in (
        ("detect gone.jpg", "gone.jpg"),
        ("detect gone.mp4", "gone.mp4"),
        ("detect data/samples --method chanel-norm", "channel-norm"),
        ("detect data/samples --set neuron.gama=3", "neuron.gamma"),
        ("detect data/samples --weights yolo-fastst", "yolo-fastest"),
        ("analyze --weights gone.pt", "gone.pt"),
        ("eval --data gone", "--data"),
        ("tools/eval_coco.py --data gone", "--data"),
        ("eval --nonsense", "--nonsense"),
        ("detec a.jpg", "detect"),
    ):
        done, (error,) = run(*line.split())
        assert done.returncode == 2 and error.startswith("error: ") and word in error
