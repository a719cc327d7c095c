"""What a process does that a call from Python does not: SIGTERM, and text that its terminal cannot show."""

import os
import signal
import subprocess
import sys
from pathlib import Path

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
    with subprocess.Popen(command, text=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "\\u732b\n"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (143, "", "terminated\n")
    assert not list(tmp_path.iterdir())
