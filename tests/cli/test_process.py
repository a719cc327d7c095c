"""What a process does that a call from Python does not: signals, pipes, and text that its terminal
cannot show.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.tiny import ROOT

# In the background it is ignored.
ASKED = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
EARLY = f"""
{ASKED}
from spiking_yolo.cli import start
start.end_at_once()
print("ready", flush=True)
start.main()
"""
BAR = """
import sys, time, warnings
from spiking_yolo.cli.program import status
from spiking_yolo.errors import Notice, UserError
from tqdm import tqdm
def run():
    with tqdm(total=3, leave=False) as bar:
        bar.update()
        warnings.warn(Notice("mind"))
        warnings.warn("several\\n lines")
        bar.refresh()
        raise UserError("wrong")
status(run)
"""
SCRIPT = """
import sys, time
from spiking_yolo.cli.program import become_process, status
from spiking_yolo.io.files import atomic_write
become_process()
def run():
    with atomic_write(sys.argv[1]) as temporary:
        temporary.write_text("half")
        print("\\u732b", flush=True)
        time.sleep(60)
sys.exit(status(run))
"""


def test_sigterm_cleans_up_and_is_status_143(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "x")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(
        command, text=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}, **pipes
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "\\u732b\n"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (143, "", "terminated\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seconds", [0, 0.02, 0.05, 0.1, 0.2, 0.4])
@pytest.mark.parametrize(
    ("number", "status", "said"), [(2, 130, "interrupted\n"), (15, 143, "terminated\n")]
)
def test_a_signal_at_the_very_start(
    tmp_path: Path, seconds: float, number: int, status: int, said: str
) -> None:
    """While everything is imported: no traceback."""
    command = [
        sys.executable,
        "-c",
        EARLY,
        "detect",
        "data/samples/eagle.jpg",
        "--project",
        str(tmp_path),
    ]
    with subprocess.Popen(
        command, text=True, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(seconds)
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (status, said)


@pytest.mark.parametrize(
    ("number", "status", "said"), [(2, 130, "interrupted\n"), (15, 143, "terminated\n")]
)
def test_a_signal_in_an_import_that_catches_everything(
    tmp_path: Path, number: int, status: int, said: str
) -> None:
    """As libraries do, which see whether another one is there."""
    (tmp_path / "greedy.py").write_text(
        f"import signal\ntry:\n    signal.raise_signal({number})\nexcept:\n    pass\n"
    )
    script = f"{ASKED}from spiking_yolo.cli.program import become_process; become_process(); import greedy; print('lost')"
    command = [sys.executable, "-c", script]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(tmp_path)))}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", said)


def test_what_is_said_has_a_line_without_a_bar() -> None:
    done = subprocess.run([sys.executable, "-c", BAR], capture_output=True, cwd=ROOT, timeout=60)
    # As a terminal shows them.
    lines = [line.rsplit("\r", 1)[-1] for line in done.stderr.decode().split("\n")]
    assert lines[:3] == ["note: mind", "warning: several lines", "error: wrong"]


def test_nobody_reads_on() -> None:
    """As in `| head`: Python itself would say something about it when it flushes at its end."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    for words in ("--help", "methods", "detect --help"):
        command = f"{sys.executable} -m spiking_yolo.cli {words} | true; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, env=env
        )
        assert done.stderr == "" and done.stdout in ("0\n", "1\n")
