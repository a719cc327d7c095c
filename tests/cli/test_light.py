"""--help and the listings answer at once: they import neither torch nor cv2."""

from __future__ import annotations

import subprocess
import sys

import pytest
from helpers.tiny import ROOT

from spiking_yolo.convert.registry import DEFAULT, list_methods
from spiking_yolo.recipe import settings_table

TOOLS = ("detect", "convert", "calibrate", "eval_classify", "benchmark", "export")
HEAVY = {"torch", "torchvision", "cv2", "numpy", "matplotlib", "PIL"}


def run(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "importtime", *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("tool", "option"),
    [(tool, option) for tool in TOOLS for option in ("--help", "--nonsense")]
    + [(tool, option) for tool in ("detect", "convert", "export") for option in ("--list-methods", "--list-settings")],
)
def test_light(tool, option):
    done = run(f"tools/{tool}.py", option)
    lines = done.stderr.splitlines()
    imported = {line.split("|")[-1].strip().split(".")[0] for line in lines if line.startswith("import time:")}
    assert {"argparse", "spiking_yolo"} <= imported  # so the list is read as it is meant
    assert not imported & HEAVY
    said = [line for line in lines if not line.startswith("import time:")]
    if option == "--nonsense":
        assert done.returncode == 2 and len(said) == 1
    else:
        assert done.returncode == 0 and not said and done.stdout


def test_listings_are_complete():
    methods, settings = (run("tools/detect.py", f"--list-{what}").stdout for what in ("methods", "settings"))
    assert f"{DEFAULT} (default)" in methods
    assert {line.split()[0] for line in methods.splitlines()[1:]} == set(list_methods())
    assert [line.split()[0] for line in settings.splitlines()] == [key for key, _, _ in settings_table()]


def test_the_package_is_light():
    code = "import sys, spiking_yolo; print(spiking_yolo.list_methods and sorted(set(sys.modules)))"
    assert (
        "'torch'" not in subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout
    )
