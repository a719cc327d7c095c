"""Folders of runs, of which each belongs to one process at a time."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spiking_yolo.errors import UserError
from spiking_yolo.io.run_folder import hold, leave_folders, run_directory

ROOT = Path(__file__).parents[2]
PROCESSES = multiprocessing.get_context("spawn")


@pytest.fixture(autouse=True)
def tidy() -> Iterator[None]:
    yield
    leave_folders()


def test_each_call_gets_a_folder_of_its_own_and_empty_ones_go(tmp_path: Path) -> None:
    project = tmp_path / "runs" / "detect"
    assert [run_directory(project, "exp").name for _ in range(3)] == ["exp", "exp2", "exp3"]
    assert run_directory(project, "exp", exist_ok=True).name == "exp"
    (project / "exp2" / "result").write_text("x")
    leave_folders()
    assert [p.name for p in project.iterdir()] == ["exp2"]
    (project / "exp2" / "result").unlink()
    leave_folders()  # what was full once stays
    assert (project / "exp2").is_dir()


@pytest.mark.parametrize("place", ["file", "file/below", "/dev/null/runs", "/proc/runs"])
def test_where_nothing_can_be_written(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write in"):
        run_directory(tmp_path / place, "exp")


def names(project: Path, ready: Any, found: Any) -> None:
    ready.wait()
    path = run_directory(project, "exp")
    (path / str(os.getpid())).write_text("")
    found.put(path.name)
    # All have theirs at the same time.
    ready.wait()


def test_processes_that_start_together_share_no_folder(tmp_path: Path) -> None:
    ready, found = PROCESSES.Barrier(3), PROCESSES.Queue()
    workers = [
        PROCESSES.Process(target=names, args=(tmp_path / "runs", ready, found)) for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    assert sorted(found.get(timeout=60) for _ in workers) == ["exp", "exp2", "exp3"]
    for worker in workers:
        worker.join()
    assert [len(list(path.glob("[0-9]*"))) for path in (tmp_path / "runs").iterdir()] == [1, 1, 1]


def holding(folder: Path, pipe: Any) -> None:
    hold(folder)
    pipe.send(None)
    pipe.recv()


def test_a_folder_in_use_is_refused_until_its_process_is_killed(tmp_path: Path) -> None:
    here, there = PROCESSES.Pipe()
    other = PROCESSES.Process(target=holding, args=(tmp_path, there))
    other.start()
    here.recv()
    with pytest.raises(UserError, match="another process works in"):
        hold(tmp_path)
    other.kill()
    other.join()
    hold(tmp_path)
    hold(tmp_path)  # which is its own


def test_a_folder_that_is_left_is_free_for_others(tmp_path: Path) -> None:
    hold(tmp_path)
    leave_folders()
    here, there = PROCESSES.Pipe()
    other = PROCESSES.Process(target=holding, args=(tmp_path, there))
    other.start()
    assert here.poll(60) and here.recv() is None
    here.send(None)
    other.join()
    assert other.exitcode == 0


FORKING = """
import os, sys, time
from pathlib import Path
from spiking_yolo.io.run_folder import hold
hold(Path(sys.argv[1]))
if not os.fork():  # the child says so, once it has let go of what it does not own
    print("held", flush=True)
time.sleep(60)
"""


def test_a_forked_child_does_not_keep_the_folder(tmp_path: Path) -> None:
    """As the worker of a training does, which notices only after seconds that its parent was
    killed.
    """
    command = [sys.executable, "-c", FORKING, str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, cwd=ROOT, start_new_session=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match="another process works in"):
            hold(tmp_path)
        process.kill()
        process.wait()
        hold(tmp_path)
        os.killpg(process.pid, signal.SIGKILL)
