"""The record log: what a kill, a full disk and another call leave behind."""

import json
import resource
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.errors import UserError
from spiking_yolo.log import RecordLog, read_log

CALL = {"T": 8, "steps": (4, 8), "recipe": {"name": "m", "neuron": {"gamma": 4}}}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "records-0.jsonl"


def fill(path, *batches, call=CALL):
    log = RecordLog(path, call)
    for line in batches:
        log.append(line)
    log.close()


def test_records_come_back_in_order(path):
    fill(path, {"index": 1}, {"index": 0}, {"index": 2})
    fill(path, {"index": 3})
    call, records, _ = read_log(path)
    assert [r["index"] for r in records] == [1, 0, 2, 3]
    assert call == json.loads(json.dumps(CALL))


@pytest.mark.parametrize("cut", [1, 5, 12])
def test_torn_last_line_is_dropped_and_written_over(path, cut):
    fill(path, {"index": 0}, {"index": 1})
    path.write_bytes(path.read_bytes()[:-cut])
    assert [r["index"] for r in read_log(path)[1]] == [0]
    fill(path, {"index": 7})
    assert [r["index"] for r in read_log(path)[1]] == [0, 7]
    assert all(map(json.loads, path.read_text().splitlines()))


def test_torn_first_line_is_a_new_start(path):
    fill(path)
    path.write_bytes(path.read_bytes()[:-3])
    assert read_log(path) == ({}, [], 0)
    fill(path, {"index": 0})
    assert read_log(path)[1] == [{"index": 0}]


def test_another_call_is_refused_naming_the_setting(path):
    for change, said in (
        ({"T": 16}, "T=8, not 16"),
        ({"steps": (4, 6)}, "steps=4,8, not 4,6"),
        ({"recipe": {"name": "m", "neuron": {"gamma": 2}}}, "recipe.neuron.gamma=4, not 2"),
        ({"conf": 0.1}, "conf=None, not 0.1"),
    ):
        fill(path, {"index": 0})
        before = path.read_bytes()
        with pytest.raises(UserError, match=said) as error:
            RecordLog(path, CALL | change)
        assert "\n" not in str(error.value) and path.read_bytes() == before


def test_damaged_line_and_missing_call_are_refused(path):
    fill(path, {"index": 0})
    with open(path, "ab") as file:
        file.write(b"{broken\n{}\n")
    with pytest.raises(UserError, match="line 3 is damaged"):
        RecordLog(path, CALL)
    path.write_text('{"index": 0}\n')
    with pytest.raises(UserError, match="does not begin with the call"):
        read_log(path)


def test_full_disk_keeps_what_was_there(path):
    """A file that may not grow any more behaves as a full disk: a part of the batch is written,
    then an error.
    """
    log = RecordLog(path, CALL)
    log.append({"index": 0})
    size = path.stat().st_size
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, old[1]))
    try:
        with pytest.raises(UserError, match=r"--resume .*run") as error:
            log.append({"index": 1, "x": "y" * 100})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert "\n" not in str(error.value) and path.stat().st_size == size
    log.append({"index": 2})
    log.close()
    assert [r["index"] for r in read_log(path)[1]] == [0, 2]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_floats_are_exact(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("log") / "records-0.jsonl"
    fill(path, {"v": values})
    assert list(map(float.hex, read_log(path)[1][0]["v"])) == list(map(float.hex, values))
