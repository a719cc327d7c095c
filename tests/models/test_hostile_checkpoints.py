"""Checkpoints that would do harm: each is refused in one line, creates nothing, and takes neither
time nor memory.
"""

import resource
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.hostile import HOSTILE
from helpers.hostile_blocks import SOUND
from helpers.pickles import archive, pickled
from helpers.tiny import ROOT, run_tool
from hypothesis import given, settings
from hypothesis import strategies as st

from spiking_yolo.errors import UserError
from spiking_yolo.models.checkpoint_file import Record, read_objects, tensor_of
from spiking_yolo.models.load import load_ann
from spiking_yolo.models.yolo_checkpoint import read_checkpoint

RUNS = [
    "mkdir",
    "system",
    "exec",
    "eval",
    "bare",
    "in ema",
    "in a list",
    "in an OrderedDict",
    "protocol 0",
    "protocol 4",
]
RUNS += ["inst", "obj", "legacy"]


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused_in_one_line_and_creates_nothing(name: str, tmp_path: Path):
    path, trap = tmp_path / "hostile.pt", tmp_path / "executed"
    HOSTILE[name](path, trap)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    with pytest.raises(UserError) as caught:
        read_checkpoint(path)
    assert time.perf_counter() - start < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB
    said = str(caught.value)
    assert (
        said.startswith(f"cannot open {path}: ")
        and "\n" not in said
        and len(said) < 500
        and said.isprintable()
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["hostile.pt"]


@pytest.mark.parametrize("name", SOUND)
def test_the_same_blocks_without_the_damage_are_opened(name: str, tmp_path: Path):
    SOUND[name](tmp_path / "sound.pt", tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph, spec = read_checkpoint(tmp_path / "sound.pt")
    assert (spec.names, spec.height, spec.width) == (("cat",), 32, 32)
    assert spec.nms == (name != "two heads") and graph.outputs


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no heads", r"node 'model\.1' \(Attention\) is damaged or unusual"),
        ("rows that do not fit", r"node 'model\.1' \(Attention\) is damaged or unusual"),
        ("queries with an activation", r"node 'model\.1' \(Attention\) is damaged or unusual"),
        ("attention of other children", r"\(Attention\) does not have the children qkv, proj, pe"),
        ("attention of a fork", r"node 'model\.1' \(Attention\) is not known here"),
        ("normalised identity", r"'model\.1' \(RepConv\) does not have the children conv1, conv2"),
        ("two unknown heads", "neither the branches cv2 and cv3 nor one2one_cv2 and one2one_cv3"),
        (
            "head of a fork",
            r"node 'model\.1\.one2one_cv2' \(Head\) is no layer of YOLOv5 but of a fork",
        ),
        ("head in the middle", r"node 'model\.1' \(Detect\) is not known here"),
        ("turned boxes", r"node 'model\.0' \(OBB\) is no head"),
    ],
)
def test_a_block_of_another_form_is_named(name: str, said: str, tmp_path: Path):
    HOSTILE[name](tmp_path / "x.pt", tmp_path / "executed")
    with pytest.raises(UserError, match=said):
        read_checkpoint(tmp_path / "x.pt")


def test_attention_of_more_pairs_than_memory_holds_is_refused(tmp_path: Path):
    SOUND["attention"](tmp_path / "x.pt", tmp_path)
    with pytest.raises(UserError, match=r"'model_1_attention_scores' .* makes a map"):
        load_ann(tmp_path / "x.pt", imgsz=1024)


@pytest.mark.parametrize("name", RUNS)
def test_the_traps_are_no_duds(name: str, tmp_path: Path):
    """Python's own unpickler runs them."""
    path, trap = tmp_path / "hostile.pt", tmp_path / "executed"
    HOSTILE[name](path, trap)
    with suppress(Exception):  # what the code returns need not be a checkpoint
        torch.load(path, weights_only=False)
    assert trap.exists()


def test_there_are_many_kinds_of_them_and_a_folder_of_them_creates_nothing(
    tmp_path: Path, capsys: Any
):
    assert len(HOSTILE) >= 95
    folder, trap = tmp_path / "zoo", tmp_path / "executed"
    folder.mkdir()
    for i, write in enumerate(HOSTILE.values()):
        write(folder / f"{i}.pt", trap)
    names = sorted(path.name for path in folder.iterdir())
    image = ROOT / "data" / "samples" / "dog.jpg"
    for name in names:  # the command line ends alike
        assert (
            run_tool("detect", image, "--weights", folder / name, "--project", tmp_path / "runs")
            == 2
        )
        said = capsys.readouterr().err
        assert len(said.splitlines()) == 1 and "cannot open" in said, name
    assert sorted(path.name for path in folder.iterdir()) == names and list(tmp_path.iterdir()) == [
        folder
    ]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_are_data_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes):
    path = tmp_path_factory.getbasetemp() / "any.pt"
    archive(path, b"\x80\x02" + content + b".")
    try:
        read_objects(path)
    except UserError as error:
        assert "\n" not in str(error)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_changed_checkpoint_is_read_or_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.mktemp("fuzzed")
    content = bytearray(pickled({"model": [Path("a"), {"b": (1.5, "c", None)}], "ema": {3, 4}}))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    archive(folder / "a.pt", bytes(content))
    with pytest.raises(UserError):  # what is read is no network
        read_checkpoint(folder / "a.pt")
    assert [path.name for path in folder.iterdir()] == ["a.pt"]


plain = (
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False)
    | st.text(max_size=9)
)
values = st.recursive(
    plain | st.binary(min_size=1, max_size=9),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=5), inner)
    ),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None)
@given(values)
def test_plain_values_are_read_as_python_reads_them(
    tmp_path_factory: pytest.TempPathFactory, value: Any
):
    path = tmp_path_factory.getbasetemp() / "plain.pt"
    torch.save({"value": value}, path)
    assert read_objects(path)["value"] == value


def test_an_object_is_its_name_and_its_attributes(tmp_path: Path):
    archive(tmp_path / "x.pt", pickled(UserError("said")))
    # Which makes torch's own reader call it.
    with torch.serialization.safe_globals([UserError]):
        before = torch.serialization.get_safe_globals()
        assert isinstance(torch.load(tmp_path / "x.pt", weights_only=True), UserError)
        record = read_objects(tmp_path / "x.pt")
        assert set(torch.serialization.get_safe_globals()) == set(before)
    assert isinstance(record, Record) and record.name == "spiking_yolo.errors.UserError"
    assert record.args == ("said",)


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int64, torch.bool]
)
def test_tensors_are_those_that_were_saved(dtype: torch.dtype, tmp_path: Path):
    whole = torch.arange(24).reshape(2, 3, 4).to(dtype)
    saved = {
        "a": whole,
        "b": whole[1].T,
        "c": torch.nn.Parameter(whole.float()),
        "d": whole[:, 1:2, ::2],
        "e": whole[0, 0, 0],
    }
    torch.save(saved, tmp_path / "a.pt")
    content = read_objects(tmp_path / "a.pt")
    assert content.keys() == saved.keys()
    for name, tensor in saved.items():
        assert content[name].dtype == tensor.dtype
        read = tensor_of(content[name], name)
        assert read.dtype == torch.float32 and torch.equal(read, tensor.detach().float())


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_archive_is_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
):
    path = tmp_path_factory.mktemp("damaged") / "a.pt"
    torch.save({"model": [torch.arange(9.0), "b"]}, path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(
            st.sampled_from([0, 1, 8, 255])
        )
    path.write_bytes(
        content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    )
    with pytest.raises(UserError):
        read_checkpoint(path)


def test_numbers_that_could_collide_as_keys_are_few(tmp_path: Path):
    """Large numbers are their own hashes modulo 2^61 - 1: thousands of keys could be in one place."""
    for count, said in ((1000, "it holds no network"), (1002, "again and again")):
        archive(tmp_path / "x.pt", pickled({i * (2**61 - 1): 0 for i in range(1, count)}))
        with pytest.raises(UserError, match=said):
            read_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize(
    "name",
    [
        "torch._utils _rebuild_wrapper_subclass",
        "torch._tensor _rebuild_from_type_v2",
        "torch._utils _rebuild_device_tensor_from_cpu_tensor",
        "torch FloatTensor",
        "torch.storage UntypedStorage",
        "builtins bytearray",
    ],
)
def test_what_torch_would_call_itself_is_refused_unless_detectors_need_it(
    name: str, tmp_path: Path
):
    archive(tmp_path / "x.pt", b"\x80\x02c" + name.replace(" ", "\n").encode() + b"\nK\x08\x85R.")
    with pytest.raises(UserError, match=f"uses {name.replace(' ', '.')}, which no detector needs"):
        read_checkpoint(tmp_path / "x.pt")


def test_a_hidden_archive_is_not_what_torch_reads(tmp_path: Path):
    """Bytes before the archive shift its offsets, which zipfile corrects and torch does not."""
    torch.save({"value": 1}, tmp_path / "x.pt")
    content = (tmp_path / "x.pt").read_bytes()
    (tmp_path / "x.pt").write_bytes(b"#!/bin/sh\n" + content)
    assert read_objects(tmp_path / "x.pt") == {"value": 1}


def test_a_state_dict_is_called_that(tmp_path: Path):
    torch.save(torch.nn.Conv2d(1, 1, 1).state_dict(), tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"it holds no network, only values: .* with a state dict"):
        read_checkpoint(tmp_path / "x.pt")
