"""What is a file is read, and nothing else."""

import os

import pytest

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import read_text, sha256


def test_sha256_of_a_known_text(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert (
        sha256(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    with pytest.raises(UserError, match="cannot read"):
        sha256(tmp_path / "missing")


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
    with pytest.raises(UserError, match="y is missing"):
        read_text(tmp_path / "y")
