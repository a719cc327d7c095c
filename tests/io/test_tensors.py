"""JSON, names, and safetensors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from spiking_yolo.errors import UserError
from spiking_yolo.io.tensors import read_safetensors, write_safetensors
from spiking_yolo.io.text import (
    entry,
    file_name,
    input_size,
    label,
    plain_name,
    read_json,
    size_name,
    write_csv,
    write_json,
)


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


TENSORS = {
    "b": torch.arange(6.0).reshape(2, 3),
    "a": torch.tensor(True),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "none": torch.zeros(0, 4),
    "turned": torch.arange(6).reshape(2, 3).T,
}
METADATA = {"z": 'ä\x01"\\', "format": "x", "y": "猫"}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "x", TENSORS, METADATA)
    metadata, tensors = read_safetensors(tmp_path / "x")
    assert metadata == METADATA and tensors.keys() == TENSORS.keys()
    for key, value in load_file(tmp_path / "x").items():  # also by others
        assert torch.equal(value, TENSORS[key]) and torch.equal(tensors[key], TENSORS[key])


def test_others_may_read_what_they_may_read_of_any_file(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "x", TENSORS, METADATA)
    (tmp_path / "y").write_text("")
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "y").stat().st_mode


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "x", TENSORS, METADATA)
    content = (tmp_path / "x").read_bytes()
    for bit in np.random.default_rng(0).choice(8 * len(content), 300, replace=False).tolist():
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        (tmp_path / "y").write_bytes(damaged)
        try:
            metadata, tensors = read_safetensors(tmp_path / "y")
        except UserError:
            continue
        # Only what hides the checksum itself, or is no part of the contents, can pass.
        assert all(torch.equal(tensors[key], value) for key, value in TENSORS.items())
        assert METADATA.items() <= metadata.items()


def test_files_of_others_have_no_checksum(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "x")
    assert read_safetensors(tmp_path / "x")[0] == {}
    save_file({"a": torch.ones(2)}, tmp_path / "x", {"checksum": "0" * 64})
    with pytest.raises(UserError, match="is damaged, it is not as it was written"):
        read_safetensors(tmp_path / "x")
