"""Some of the damaged files of `python -m tests.fuzz`, and some of the kills of `tests.kills`."""

import subprocess
import sys

import pytest
from helpers.tiny import ROOT


@pytest.mark.slow
@pytest.mark.parametrize(("program", "count"), [("fuzz", "40"), ("kills", "8")])
def test_each_call_ends_well(program: str, count: str):
    command = [sys.executable, "-m", f"tests.{program}", "--count", count]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
