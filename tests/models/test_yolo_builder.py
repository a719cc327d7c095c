"""Checkpoints read as data: what is read, and what hostile ones do, which is nothing."""

import os
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.pickles import Calls, archive, mapping, network, pickled, plain, record, tensor
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.errors import UserError
from spiking_yolo.models.yolo_checkpoint import (
    LAYERS,
    Record,
    read_checkpoint,
    read_objects,
    tensor_of,
)

Content = Callable[[str], bytes]
DETECT = record("models.yolo Detect", f=b"]K\x00a", nc=plain(1))


def called(function: Any, argument: Callable[[str], str] = str) -> Content:
    return lambda trap: pickled({"model": Calls(function, argument(trap))})


def weight(values: bytes) -> bytes:
    """A network whose first convolution has this weight."""
    conv = record("torch.nn.modules.conv Conv2d", _parameters=mapping(weight=values), f=plain(-1))
    return network(conv, DETECT)


# Each creates the trap, a folder, when Python's own unpickler reads it.
TRAPS: dict[str, Content] = {
    "mkdir": called(os.mkdir),
    "system": called(os.system, lambda trap: f"mkdir {trap}"),
    "exec": called(exec, lambda trap: f"import os; os.mkdir({trap!r})"),
    "in an OrderedDict": lambda trap: pickled({"model": OrderedDict(a=Calls(os.mkdir, trap))}),
    "protocol 0": lambda trap: pickled({"model": Calls(os.mkdir, trap)}, 0),
    "inst": lambda trap: f"(S'{trap}'\nios\nmkdir\n.".encode(),
    "obj": lambda trap: b"(cos\nmkdir\n" + pickled(trap)[2:-1] + b"o.",
}
OTHERS: dict[str, bytes] = {
    "call of a result": b"\x80\x02cbuiltins\ngetattr\ncos\npath\nX\x04\x00\x00\x00join\x86R)R.",
    "build on a class": b"\x80\x02cbuiltins\ndict\n}X\x01\x00\x00\x00aK\x01sb.",
    "deep": b"\x80\x02" + b"(" * 200_000 + b"t" * 200_000 + b".",
    "itself": b"\x80\x02}q\x00X\x05\x00\x00\x00modelh\x00s.",
    "no layers": network(),
    "huge tensor": weight(tensor(1 << 40, (1 << 20, 1 << 20, 1, 1), (1 << 20, 1, 1, 1))),
    "tensor beyond its end": weight(tensor(1, (2, 2, 1, 1), (2, 1, 1, 1), 2)),
    "tensor of another file": weight(tensor(1, (1, 1, 1, 1), (1, 1, 1, 1), key="../../data.pkl")),
}


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_checkpoint(path)
    said = str(caught.value)
    assert said.startswith(f"cannot open {path}: ") and said.isprintable() and len(said) < 500
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    return said


@pytest.mark.parametrize("name", TRAPS)
def test_traps_are_refused_and_create_nothing(tmp_path: Path, name: str):
    path, trap = tmp_path / "hostile.pt", tmp_path / "trap"
    archive(path, TRAPS[name](str(trap)))
    refusal(path)
    with suppress(Exception):  # what the code returns need not be a checkpoint
        torch.load(path, weights_only=False)
    assert trap.exists()


def test_other_hostile_pickles(tmp_path: Path):
    for name in OTHERS:
        archive(tmp_path / "hostile.pt", OTHERS[name], **{"0": bytes(4)})
        refusal(tmp_path / "hostile.pt")


def test_archives_unlike_those_of_torch(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as file:
        file.writestr("a/data.pkl", b"\x80\x02}.")
        file.writestr("a/data/0", bytes(1 << 24), zipfile.ZIP_DEFLATED)
    assert "larger than the file" in refusal(tmp_path / "a.pt")
    torch.save({"a": 1}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    assert "no whole file of torch.save" in refusal(tmp_path / "a.pt")


@given(st.binary(max_size=80))
def test_any_bytes_are_data_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes):
    path = tmp_path_factory.getbasetemp() / "any.pt"
    archive(path, b"\x80\x02" + content + b".")
    with suppress(UserError):
        read_objects(path)


def test_an_object_is_its_name_and_its_attributes(tmp_path: Path):
    archive(tmp_path / "x.pt", pickled(UserError("said")))
    # Which makes torch's own reader call it.
    with torch.serialization.safe_globals([UserError]):
        before = torch.serialization.get_safe_globals()
        assert isinstance(torch.load(tmp_path / "x.pt", weights_only=True), UserError)
        found = read_objects(tmp_path / "x.pt")
        assert set(torch.serialization.get_safe_globals()) == set(before)
    assert isinstance(found, Record) and found.name == "spiking_yolo.errors.UserError"
    assert found.args == ("said",)


def test_tensors_are_those_that_were_saved(tmp_path: Path):
    for dtype in [torch.float16, torch.bfloat16, torch.float32, torch.int64]:
        whole = torch.arange(24).reshape(2, 3, 4).to(dtype)
        parameter = torch.nn.Parameter(whole.float())
        saved = {"a": whole, "b": whole[1].T, "c": parameter, "d": whole[:, 1:2, ::2]}
        torch.save(saved, tmp_path / "a.pt")
        content = read_objects(tmp_path / "a.pt")
        assert content.keys() == saved.keys()
        for name, values in saved.items():
            assert content[name].dtype == values.dtype
            read = tensor_of(content[name], name)
            assert read.dtype == torch.float32 and torch.equal(read, values.detach().float())


def test_an_infinite_variance_is_refused():
    """Folded into a convolution it would be finite, and every picture would look the same."""
    numbers = {name: torch.ones(2) for name in ("weight", "bias", "running_mean", "running_var")}
    norm = LAYERS["BatchNorm2d"]
    assert norm({"eps": 1e-3}, numbers, {}).running_var.tolist() == [1, 1]
    numbers["running_var"] = torch.tensor([1, torch.inf])
    with pytest.raises(ValueError, match="running_var of a batch norm holds NaN or infinity"):
        norm({"eps": 1e-3}, numbers, {})
