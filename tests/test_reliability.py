"""Each command is killed once, by `tests.kills`; `tests.fuzz` has a line of its own in `.ci/run`."""

import subprocess
import sys

import pytest
from helpers.tiny import ROOT


@pytest.mark.slow
def test_a_killed_command_ends_well_when_it_is_run_again():
    command = [sys.executable, "-m", "tests.kills", "--count", "8"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
