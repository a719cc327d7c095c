"""JSON of the wrong type, and files without nan."""

import json
from pathlib import Path
from typing import Any

import pytest

from spiking_yolo.io.json import entry, read_json, write_csv, write_json


def test_it_is_a_value_error() -> None:
    for text, kind in (
        ("{", Any),
        ("[" * 100_000, Any),
        ("9" * 10_000, int),
        ("[1, -Infinity]", list[float]),
        ('["a", 1]', list[str]),
        (b"\xff\xfe\xfd", Any),
        ("", Any),
    ):
        with pytest.raises(ValueError):
            read_json(text, kind)


def test_entries_of_metadata_are_named() -> None:
    assert entry({"n": "[3, 4]"}, "n", list[int]) == [3, 4]
    with pytest.raises(ValueError, match=r"^n is missing$"):
        entry({}, "n")
    with pytest.raises(ValueError, match=r"^n: Expected `int`, got `str`"):
        entry({"n": '"x"'}, "n", int)


def test_json_has_no_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "x", {"a": [1.5, float("nan")], "b": (float("-inf"),)})
    read = json.loads((tmp_path / "x").read_text(), parse_constant=pytest.fail)
    assert read == {"a": [1.5, None], "b": [None]}


def test_what_is_not_measured_is_an_empty_cell(tmp_path: Path) -> None:
    rows = [{"a": 1, "b": float("nan"), "c": "x"}, {"a": None, "b": 0.5, "d": 9}]
    write_csv(tmp_path / "t.csv", rows)
    assert (tmp_path / "t.csv").read_text().splitlines() == ["a,b,c", "1,,x", ",0.5,"]
