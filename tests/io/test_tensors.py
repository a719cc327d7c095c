"""Safetensors files that notice damage."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from spiking_yolo.errors import UserError
from spiking_yolo.io.tensors import read_safetensors, write_safetensors

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
