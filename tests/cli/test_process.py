"""What a process does that a call from Python does not: signals, pipes, and text that its terminal
cannot show.
"""

import os
import signal
import subprocess
import sys

import pytest
from helpers.tiny import ROOT

SCRIPT = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
from spiking_yolo.cli import prepare_process, status
from spiking_yolo.io.files import atomic_write
prepare_process()
def run():
    with atomic_write(sys.argv[1]) as temporary:
        temporary.write_text("half")
        print("\\u732b", flush=True)
        time.sleep(60)
sys.exit(status(run))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_removes_what_is_half_written(tmp_path, number):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "x")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(
        command, text=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}, **pipes
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "\\u732b\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "interrupted\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_nobody_reads_on() -> None:
    """As in `| head`: Python itself would say something about it when it flushes at its end."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    for words in ("--help", "list methods", "detect --help"):
        command = f"{sys.executable} -m spiking_yolo {words} | true; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, env=env
        )
        assert done.stderr == "" and done.stdout in ("0\n", "1\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "count"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "0")],
    ids=str,
)
def test_threads_that_wait_spin_for_a_short_while(tmp_path, weights, variables, count: str):
    """OpenMP itself says how often they look, unless the user has said it, when torch is there."""
    ours = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
    env = {name: value for name, value in os.environ.items() if name not in ours}
    env |= {"OMP_DISPLAY_ENV": "verbose", **variables}
    command = [sys.executable, "-m", "spiking_yolo", "detect", str(weights.parent / "photos/a.png")]
    command += ["--weights", str(weights), "--project", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, timeout=120)
    assert done.returncode == 0, done.stderr
    if "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("PyTorch has another OpenMP here")
    assert f"GOMP_SPINCOUNT = '{count}'" in done.stderr
