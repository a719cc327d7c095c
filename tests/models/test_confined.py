"""What the process that opens a trusted checkpoint cannot do."""

import os
import socket
import subprocess
import sys

import pytest

from spiking_yolo.models.ultralytics import environment

SCRIPT = """
import socket, sys
from spiking_yolo.models.ultralytics import FILE, confine
gone = confine()
import resource
assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == FILE and "torch" not in sys.modules
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=5)
    print("connected", gone)
except OSError:
    print("alone", gone)
"""


def test_it_has_no_network_where_the_system_allows_that():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, port], capture_output=True, text=True, check=True
        )
    if done.stdout == "connected False\n":
        pytest.skip("this system lets no process give up its network")
    assert done.stdout == "alone True\n"


def test_the_users_environment_does_not_switch_safe_loading_off(monkeypatch):
    monkeypatch.setenv("ULTRALYTICS_SAFE_LOAD", "0")
    monkeypatch.setenv("YOLO_OFFLINE", "0")
    given = environment("/somewhere")
    assert (
        given["ULTRALYTICS_SAFE_LOAD"] == given["YOLO_OFFLINE"] == "1"
        and given["PATH"] == os.environ["PATH"]
    )
