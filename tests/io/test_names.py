"""Names that come from files, made safe to show and to write to; input sizes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.errors import UserError
from spiking_yolo.io.names import file_name, input_size, label, plain_name, size_name, whole


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("traffic light", "traffic light"),
        ("a\x1b[31mb", "a?[31mb"),
        ("two\n lines\t", "two lines"),
        ("a\u202eb", "a?b"),  # writes backwards
        ("\udcff", "?"),  # a byte that is no UTF-8
        ("Ärger $a_$ 猫", "Ärger $a_$ 猫"),
        ("x" * 100, "x" * 80),
    ],
)
def test_labels(text: str, expected: str) -> None:
    assert label(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dog 2", "dog 2"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("..", "_"),
        ("", "_"),
        (".hidden", "hidden"),
        ("a\\b\0c", "a_b?c"),
        ("é" * 100, "é" * 60),
    ],
)
def test_file_names(text: str, expected: str) -> None:
    assert file_name(text) == expected


@given(st.text())
def test_a_file_name_is_one_name_in_its_folder(text: str) -> None:
    name = file_name(text)
    assert (
        0 < len(name.encode()) <= 120
        and "/" not in name
        and not name.startswith(".")
        and name.isprintable()
    )


@pytest.mark.parametrize(
    "name", ["", "..", "../a", "a/b", "a b", "a\n", "$a_$", ".a", "a" * 101, None]
)
def test_names_of_layers_and_methods_are_plain(name: str) -> None:
    with pytest.raises(UserError, match=r"a method .* must be named by letters"):
        plain_name(name, "a method")
    assert plain_name("conv_1.mean-2+x", "a layer") == "conv_1.mean-2+x"


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("007", 7), ("9" * 9, 999_999_999)])
def test_digits_are_a_number(text: str, number: int):
    assert whole(text) == number


@pytest.mark.parametrize("text", ["", "-1", "1.5", "²", "a", "9" * 10, "9" * 5000])
def test_other_text_is_none(text: str):
    assert whole(text) is None


side = st.integers(1, 100).map(lambda k: 32 * k)


@given(side, side)
def test_every_spelling_is_height_before_width(height: int, width: int):
    for given_size in (
        (height, width),
        [height, width],
        f"{height}x{width}",
        size_name((height, width)),
    ):
        assert input_size(given_size) == (height, width)
    assert (
        input_size(height)
        == input_size(str(height))
        == input_size(f"{height}x{height}")
        == (height, height)
    )
    assert size_name((height, height)) == str(height)


WORDS = [
    "100",
    "288x100",
    "100x288",
    "0",
    "0x32",
    "-32",
    "x416",
    "288x",
    "288x416x32",
    "32.0",
    "4128",
]
NUMBERS = (100, 0, -32, 64.0, True, None, (), (288, 100), (64, 64.0), (32, 32, 32), ("32", "32"))


@pytest.mark.parametrize("size", [*WORDS, "", "32 64", "9" * 30, *NUMBERS, (288,), 4128])
def test_bad_sizes_are_refused(size: Any):
    with pytest.raises(UserError, match="multiple of 32") as error:
        input_size(size)
    assert repr(size) in str(error.value) and "\n" not in str(error.value)
