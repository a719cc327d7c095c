"""Fingerprints and atomic writes."""

import pytest

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import atomic_write, sha256


def test_sha256_of_a_known_text(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(UserError, match="cannot read"):
        sha256(tmp_path / "missing")


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


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "x", tmp_path):
        with pytest.raises(UserError, match="cannot write"), atomic_write(path) as temporary:
            temporary.write_text("x")
