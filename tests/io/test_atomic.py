"""Writes leave the old file or the whole new one."""

import os
import resource
import signal
import subprocess
import sys

import pytest
from helpers.tiny import ROOT

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import GradualFile, atomic_write, temporary_name


def test_success_replaces_and_failure_keeps(tmp_path):
    path = tmp_path / "new" / "x.png"
    with atomic_write(path) as temporary:
        assert temporary.suffix == ".png" and temporary.parent == path.parent
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


def test_a_name_as_long_as_the_system_allows(tmp_path):
    with atomic_write(tmp_path / ("n" * 251 + ".txt")) as temporary:
        temporary.write_text("x")
    assert len(next(tmp_path.iterdir()).name) == 255


KILLED = """
import os, signal, sys
from spiking_yolo.io.files import atomic_write
with atomic_write(sys.argv[1]) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path):
    """What a living one is at stays, and so does what another machine wrote, whose processes nobody
    knows here.
    """
    assert (
        subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "x.txt")], cwd=ROOT).returncode
        == -9
    )
    (left,) = tmp_path.iterdir()
    assert left.read_text() == "half" and left.suffix == ".txt"
    living = tmp_path / temporary_name().replace(f"-{os.getpid()}-", f"-{os.getppid()}-")
    elsewhere = tmp_path / ".spiking-yolo-00000000-999999-0"
    for path in (living, elsewhere):
        path.write_text("")
    with atomic_write(tmp_path / "x.txt") as temporary:
        temporary.write_text("whole")
    assert set(tmp_path.iterdir()) == {tmp_path / "x.txt", living, elsewhere}


def test_a_gradual_file_appears_when_it_is_closed(tmp_path):
    file = GradualFile(tmp_path / "x", "]")
    file.close()
    assert not list(tmp_path.iterdir())
    for text in "[a":
        file.write(text)
        assert not (tmp_path / "x").exists()
    file.close()
    file.close()
    assert (tmp_path / "x").read_text() == "[a]" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_a_gradual_file_on_a_full_disk(tmp_path, size):
    """A small text is noticed when it leaves the buffer, at the end."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    file = GradualFile(tmp_path / "x", "]")
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
        with pytest.raises(UserError, match=r"cannot write .*x: File too large"):
            file.write("a" * size)
            file.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert not file.begun and not list(tmp_path.iterdir())
