"""Names that come from files, made safe to show and to write to; input sizes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.errors import UserError
from spiking_yolo.io.names import file_name, input_size, label, plain_name, size_name


def test_labels() -> None:
    for text, expected in (
        ("traffic light", "traffic light"),
        ("a\x1b[31mb", "a?[31mb"),
        ("two\n lines\t", "two lines"),
        ("a\u202eb", "a?b"),  # writes backwards
        ("\udcff", "?"),  # a byte that is no UTF-8
        ("Ärger $a_$ 猫", "Ärger $a_$ 猫"),
        ("x" * 100, "x" * 80),
    ):
        assert label(text) == expected


def test_file_names() -> None:
    for text, expected in (
        ("dog 2", "dog 2"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("..", "_"),
        ("", "_"),
        (".hidden", "hidden"),
        ("a\\b\0c", "a_b?c"),
        ("é" * 100, "é" * 60),
    ):
        assert file_name(text) == expected


@given(st.text())
def test_a_file_name_is_one_name_in_its_folder(text: str) -> None:
    name = file_name(text)
    assert 0 < len(name.encode()) <= 120
    assert "/" not in name and not name.startswith(".") and name.isprintable()


def test_names_of_layers_and_methods_are_plain() -> None:
    wrong: tuple[Any, ...] = "", "..", "../a", "a/b", "a b", "a\n", "$a_$", ".a", "a" * 101, None
    for name in wrong:
        with pytest.raises(UserError, match=r"a method .* must be named by letters"):
            plain_name(name, "a method")
    assert plain_name("conv_1.mean-2+x", "a layer") == "conv_1.mean-2+x"


side = st.integers(1, 100).map(lambda k: 32 * k)


@given(side, side)
def test_every_spelling_is_height_before_width(height: int, width: int):
    size = height, width
    for spelling in (size, [height, width], f"{height}x{width}", size_name(size)):
        assert input_size(spelling) == size
    for square in (height, str(height), f"{height}x{height}"):
        assert input_size(square) == (height, height)
    assert size_name((height, height)) == str(height)


def test_bad_sizes_are_refused():
    words: list[Any] = ["100", "288x100", "0x32", "-32", "x416", "288x416x32", "32.0", "", "9" * 30]
    for size in [
        *words,
        100,
        0,
        64.0,
        True,
        None,
        (),
        (288, 100),
        (32, 32, 32),
        ("32", "32"),
        4128,
    ]:
        with pytest.raises(UserError, match="multiple of 32") as error:
            input_size(size)
        assert repr(size) in str(error.value) and "\n" not in str(error.value)
