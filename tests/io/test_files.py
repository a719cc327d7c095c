"""What is a file is read, writes leave the old file or the whole new one, and every run has a folder
of its own.
"""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spiking_yolo.errors import Notice, UserError
from spiking_yolo.io.files import (
    atomic_write,
    derived_file,
    read_text,
    remove_empty_folders,
    run_directory,
    sha256,
)

PROCESSES = multiprocessing.get_context("spawn")


def test_success_replaces_and_failure_keeps(tmp_path):
    path = tmp_path / "new" / "x.png"
    with atomic_write(path) as temporary:
        assert temporary.name == path.name and temporary.parent.parent == path.parent
        temporary.write_text("first")
        assert not path.exists()
    with pytest.raises(KeyError), atomic_write(path) as temporary:
        temporary.write_text("second")
        raise KeyError
    assert path.read_text() == "first" and list(path.parent.iterdir()) == [path]


def test_only_files_are_replaced(tmp_path):
    """Whoever may write into /dev would lose /dev/null otherwise."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(os.devnull)
    for path in ("", ".", "/", tmp_path / "pipe", tmp_path / "link"):
        with (
            pytest.raises(UserError, match="a folder, a pipe or a device; give a file"),
            atomic_write(path),
        ):
            pass
    assert (tmp_path / "link").is_symlink() and not (tmp_path / "pipe").is_file()


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "x", tmp_path):
        with pytest.raises(UserError, match="cannot write"), atomic_write(path) as temporary:
            temporary.write_text("x")


def test_what_is_no_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    for path in (tmp_path, tmp_path / "pipe", "/dev/zero"):
        for read in (sha256, read_text):
            with pytest.raises(UserError, match="a folder, a pipe or a device; give a file"):
                read(path)


def test_text_is_utf8_with_or_without_mark(tmp_path):
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbf\xc3\xa4")
    assert read_text(tmp_path / "x") == "ä"
    (tmp_path / "x").write_bytes(b"caf\xe9")
    with pytest.raises(UserError, match="x is not a text file in UTF-8"):
        read_text(tmp_path / "x")
    with pytest.raises(UserError, match="No such file"):
        read_text(tmp_path / "y")


def test_beside_or_in_the_cache(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("SPIKING_YOLO_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    weights, other = (tmp_path / name / "net.pt" for name in ("a", "b"))
    for path in (weights, other):
        path.parent.mkdir()
    assert derived_file(weights, "net.x") == tmp_path / "a" / "net.x"
    assert derived_file(tmp_path / "missing" / "net.pt", "net.x") == tmp_path / "missing" / "net.x"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    kept = derived_file(weights, "net.x")
    assert kept.name == "net.x" and kept.parents[2] == tmp_path / "cache" / "spiking_yolo"
    assert kept != derived_file(other, "net.x")
    assert kept == derived_file(tmp_path / "b" / ".." / "a" / "net.pt", "net.x")
    monkeypatch.setenv("SPIKING_YOLO_CACHE", str(tmp_path / "mine"))
    assert derived_file(weights, "net.x").parents[2] == tmp_path / "mine"
    (tmp_path / "a" / "net.x").write_text("shipped")
    assert derived_file(weights, "net.x") == tmp_path / "a" / "net.x"


@pytest.fixture(autouse=True)
def tidy() -> Iterator[None]:
    yield
    remove_empty_folders()


def test_each_call_gets_a_folder_of_its_own_and_empty_ones_go(tmp_path: Path) -> None:
    project = tmp_path / "runs" / "detect"
    assert [run_directory(project, "exp").name for _ in range(3)] == ["exp", "exp2", "exp3"]
    assert run_directory(project, "exp", exist_ok=True).name == "exp"
    (project / "exp2" / "result").write_text("x")
    remove_empty_folders()
    assert [p.name for p in project.iterdir()] == ["exp2"]
    (project / "exp2" / "result").unlink()
    remove_empty_folders()  # what was full once stays
    assert (project / "exp2").is_dir()


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in ("file", "file/below", "/dev/null/runs", "/proc/runs"):
        with pytest.raises(UserError, match="cannot write"):
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
    args = tmp_path / "runs", ready, found
    workers = [PROCESSES.Process(target=names, args=args) for _ in range(3)]
    for worker in workers:
        worker.start()
    assert sorted(found.get(timeout=60) for _ in workers) == ["exp", "exp2", "exp3"]
    for worker in workers:
        worker.join()
    assert [len(list(path.glob("[0-9]*"))) for path in (tmp_path / "runs").iterdir()] == [1, 1, 1]


def test_what_a_killed_process_left_is_removed_and_said(tmp_path: Path) -> None:
    """Not what another process is still writing."""
    script = (
        "import os, sys\n"
        "from spiking_yolo.io.files import atomic_write\n"
        "with atomic_write(sys.argv[1] + '/exp/a.txt') as file:\n"
        "    file.write_text('half')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, tmp_path]).returncode == -9
    with atomic_write(tmp_path / "exp2" / "b.txt") as writing:
        writing.write_text("whole")
        with pytest.warns(Notice, match="1 unfinished file"):
            assert run_directory(tmp_path, "exp") == tmp_path / "exp3"
    left = [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))]
    assert left == ["exp", "exp2", "exp2/b.txt", "exp3"]
