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
    start = words if words and words[0] in TOOLS else ("-m", "spiking_yolo", *words)
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


def test_a_line_that_is_no_call():
    for line, word in (("eval --nonsense", "--nonsense"), ("detec a.jpg", "detect")):
        done, (error,) = run(*line.split())
        assert done.returncode == 2 and error.startswith("error: ") and word in error
