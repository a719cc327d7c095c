"""JSON of the wrong type, or of no type at all."""

from typing import Any

import pytest

from spiking_yolo.io.json import entry, read_json


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("{", Any),
        ("[" * 100_000, Any),
        ("9" * 10_000, int),
        ("NaN", float),
        ("[1, -Infinity]", list[float]),
        ("true", int),
        ("1.0", int),
        ("null", str),
        ('["a", 1]', list[str]),
        ('{"a": 1.5}', dict[str, int]),
        ('{"a": []}', dict[str, int | None]),
        ("[]", dict[str, Any]),
        (b"\xff\xfe\xfd", Any),
        ("", Any),
    ],
)
def test_it_is_a_value_error(text: str | bytes, kind: Any) -> None:
    with pytest.raises(ValueError):
        read_json(text, kind)


def test_values_of_their_types() -> None:
    assert read_json('{"a": [1, 2.5]}', dict[str, list[float]]) == {"a": [1, 2.5]}
    assert read_json('{"a": null, "b": 3}', dict[str, int | None]) == {"a": None, "b": 3}


def test_entries_of_metadata_are_named() -> None:
    assert entry({"n": "[3, 4]"}, "n", list[int]) == [3, 4]
    with pytest.raises(ValueError, match=r"^n is missing$"):
        entry({}, "n")
    with pytest.raises(ValueError, match=r"^n: 'x' is no int$"):
        entry({"n": '"x"'}, "n", int)
