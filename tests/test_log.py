"""The record log: what a kill, a full disk and another call leave behind."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.errors import UserError
from spiking_yolo.log import open_log, read_log

CALL = {"T": 8, "steps": (4, 8), "recipe": {"name": "m", "neuron": {"gamma": 4}}}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "records-0.jsonl"


def fill(path, *batches, call=CALL):
    with open_log(path, call) as append:
        for line in batches:
            append(line)


def indices(path) -> list[int]:
    return [line["index"] for line in read_log(path, CALL)[0][1:]]


def test_records_come_back_in_order(path):
    fill(path, {"index": 1}, {"index": 0}, {"index": 2})
    fill(path, {"index": 3})
    assert indices(path) == [1, 0, 2, 3]
    assert read_log(path, CALL)[0][0] == {"call": json.loads(json.dumps(CALL))}


@pytest.mark.parametrize("cut", [1, 5, 12])
def test_torn_last_line_is_dropped_and_written_over(path, cut):
    fill(path, {"index": 0}, {"index": 1})
    path.write_bytes(path.read_bytes()[:-cut])
    assert indices(path) == [0]
    fill(path, {"index": 7})
    assert indices(path) == [0, 7]
    assert all(map(json.loads, path.read_text().splitlines()))


def test_torn_first_line_is_a_new_start(path):
    fill(path)
    path.write_bytes(path.read_bytes()[:-3])
    assert read_log(path, CALL) == ([], 0)
    fill(path, {"index": 0})
    assert indices(path) == [0]


def test_another_call_is_refused_naming_the_setting(path):
    for change, said in (
        ({"T": 16}, "T=8, not 16"),
        ({"steps": (4, 6)}, r"steps=\[4, 8\], not \[4, 6\]"),
        ({"recipe": {"name": "m", "neuron": {"gamma": 2}}}, "recipe.neuron.gamma=4, not 2"),
        ({"conf": 0.1}, "conf=None, not 0.1"),
    ):
        fill(path, {"index": 0})
        before = path.read_bytes()
        with pytest.raises(UserError, match=said) as error:
            fill(path, call=CALL | change)
        assert "\n" not in str(error.value) and path.read_bytes() == before


@pytest.mark.parametrize("damage", [b"{broken\n{}\n", b'{"index": 0}\n', b"3\n"])
def test_damage_is_refused(path, damage):
    path.parent.mkdir()
    path.write_bytes(damage)
    with pytest.raises(UserError, match="is damaged: start the run anew"):
        fill(path)


def test_nan_is_refused(path):
    with pytest.raises(UserError, match="not finite"):
        fill(path, {"x": float("nan")})


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_floats_are_exact(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("log") / "records-0.jsonl"
    fill(path, {"v": values})
    (_, line), _ = read_log(path, CALL)
    assert list(map(float.hex, line["v"])) == list(map(float.hex, values))
