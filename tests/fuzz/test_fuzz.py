"""The fuzzer sees what it looks for: a verdict of each kind, and cases that follow from
their seed.
"""

import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz import children, judge
from tests.fuzz.mutate import mutate
from tests.fuzz.nonsense import nonsense


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.json", '{"score": NaN}', "NaN is not JSON"),
        ("a.json", "[1e999]", "1e999 is too large"),
        ("labels/a.txt", "0 0.9 0.5 0.5 0.5\n", "outside of the picture"),
        ("labels/a.txt", "0 nan 0.5 0.5 0.5\n", "outside of the picture"),
        ("labels/a.txt", "0 0.75 0.5 0.5 0.5 0.9\n", ""),
        ("a.json", '{"score": null}', ""),
    ],
)
def test_results_that_can_be_none(name: str, text: str, found: str, tmp_path: Path):
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    said = nonsense(tmp_path)
    assert found in said and bool(found) == bool(said)


@pytest.mark.parametrize(
    ("status", "said", "end"),
    [
        (0, "fine", "result"),
        (2, "error: no", "refused"),
        (70, "Traceback (most recent call last)", "traceback"),
        (2, "DefaultCPUAllocator: can't allocate memory", "memory"),
        (0, "a.py:1: RuntimeWarning: overflow", "warning"),
        (2, "reaches for example.org", "download"),
        (2, "changes /dev/null", "escape"),
        (2, "File too large", "disk"),
        (2, "", "silent"),
    ],
)
def test_verdicts(status: int, said: str, end: str):
    assert judge.verdict(status, said) == end


def test_a_child_tells_what_it_did_before_it_was_killed(tmp_path: Path):
    def work(tell):
        tell(1)
        os.kill(os.getpid(), signal.SIGKILL)

    assert children.in_child(work, tmp_path) == ([1], -signal.SIGKILL)


def test_a_child_reaches_no_other_computer_and_gets_no_more_memory(
    monkeypatch: pytest.MonkeyPatch, capfd, tmp_path
):
    monkeypatch.setattr(children, "MEMORY", 100 << 20)

    def work(tell):
        sys.stderr = sys.__stderr__
        for call in (
            lambda: socket.create_connection(("example.org", 80)),
            lambda: bytearray(1 << 30),
        ):
            try:
                call()
            except (OSError, MemoryError) as error:
                tell(type(error).__name__)

    assert children.in_child(work, tmp_path)[0] == ["ConnectionRefusedError", "MemoryError"]
    assert "reaches for example.org" in capfd.readouterr().err


def test_a_child_changes_no_file_of_others(capfd, tmp_path: Path):
    """Not even one that it may change, such as a device for a root."""
    place, other = tmp_path / "place", tmp_path / "other"
    place.mkdir()
    other.write_text("mine")
    (place / "new").write_text("new")

    def work(tell):
        sys.stderr, tempfile.tempdir = sys.__stderr__, str(place)  # of the child alone
        calls = (
            lambda: os.replace(place / "new", other),
            lambda: other.open("a"),
            other.unlink,
            lambda: os.symlink(place, tmp_path / "link"),
            lambda: os.replace(place / "new", place / "renamed"),
            lambda: other.open().close(),
            lambda: open(os.devnull, "w").close(),
        )
        for call in calls:
            try:
                call()
                tell("done")
            except PermissionError:
                tell("kept")

    assert children.in_child(work, place)[0] == ["kept"] * 4 + ["done"] * 3
    assert capfd.readouterr().err.count(f"changes {other}") == 3 and other.read_text() == "mine"


@pytest.mark.parametrize("name", ["a.json", "a.xml", "a.cfg", "a.bin"])
def test_damage_follows_from_the_seed(name: str, tmp_path: Path):
    contents = set()
    for seed in (1, 1, 2):
        (tmp_path / name).write_text('{"a": [1, 2, {"b": "c"}]}\n')
        mutate(tmp_path / name, np.random.default_rng(seed))
        contents.add((tmp_path / name).read_bytes())
    assert len(contents) == 2
