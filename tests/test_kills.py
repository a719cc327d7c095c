"""A few of the kills of `python -m tests.kills`, of the tools that take least; it takes minutes
over all.
"""

import subprocess
import sys

from helpers.tiny import ROOT


def test_killed_anywhere_nothing_is_torn_or_lost() -> None:
    command = [
        sys.executable,
        "-m",
        "tests.kills",
        "--count",
        "6",
        "--only",
        "export",
        "--only",
        "score",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
