"""Statistics files: packed without loss, old ones read as before, damaged and hostile ones refused
in one line.
"""

import bz2
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.networks import TinyLeaky, images, make, statistics
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spiking_yolo.convert import statistics as packed
from spiking_yolo.convert.statistics import BITS, OLD_FORMAT, STEPS, Statistics, joined, split
from spiking_yolo.errors import UserError
from spiking_yolo.graph.trace import trace
from spiking_yolo.io.tensors import read_safetensors, write_safetensors

ROOT = Path(__file__).parents[2]
Change = Callable[[dict[str, str], dict[str, Tensor]], object]


@pytest.fixture(scope="module")
def known() -> Statistics:
    return statistics(trace(make(TinyLeaky), images(1)), images(2))


def save_old(s: Statistics, path: Path) -> None:
    """As 0.1.0 wrote it."""
    tensors: dict[str, Tensor] = {}
    for name, h in s.histograms.items():
        tensors |= {f"{name}.counts": h.counts.int(), f"{name}.exponent": h.exponent.int()}
        tensors |= {f"{name}.minimum": h.minimum.float(), f"{name}.maximum": h.maximum.float()}
    metadata = {
        "format": OLD_FORMAT,
        "weights_sha256": s.weights_sha256,
        "imgsz": json.dumps(s.imgsz),
        "images": json.dumps(s.images),
        "totals": json.dumps({name: h.total for name, h in s.histograms.items()}),
        "quantisers": json.dumps(s.quantisers),
    }
    write_safetensors(path, tensors, metadata)


def assert_same(a: Statistics, b: Statistics) -> None:
    assert list(a.histograms) == list(b.histograms)
    for own, other in zip(a.histograms.values(), b.histograms.values(), strict=True):
        for name in ("counts", "exponent", "minimum", "maximum"):
            x, y = getattr(own, name), getattr(other, name)
            assert torch.equal(x, y) and x.dtype == y.dtype, name
        assert own.total == other.total
    rest = [(s.weights_sha256, s.imgsz, s.images, s.quantisers) for s in (a, b)]
    assert rest[0] == rest[1]


def test_old_and_new_files_give_the_same(tmp_path: Path, known: Statistics):
    save_old(known, tmp_path / "old.safetensors")
    old = Statistics.load(tmp_path / "old.safetensors")
    old.save(tmp_path / "new.safetensors")
    assert_same(old, Statistics.load(tmp_path / "new.safetensors"))


@pytest.mark.parametrize("name", ["yolov3-tiny.416", "resnet20-cifar10.32"])
def test_a_shipped_file_shrinks_to_a_fifth(tmp_path: Path, name: str):
    path, new = ROOT / "weights" / f"{name}.statistics.safetensors", tmp_path / "new.safetensors"
    old = Statistics.load(path)
    old.save(new)
    assert_same(old, Statistics.load(new))
    assert new.stat().st_size < path.stat().st_size / 4


def test_steps_rise_and_hold_what_lies_below_the_next():
    assert STEPS[:14].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20]
    assert np.array_equal(STEPS[:-1] + (1 << BITS[:-1].astype(np.int64)), STEPS[1:])


@given(st.lists(st.one_of(st.integers(0, 40), st.integers(0, 2**63 - 1)), max_size=30))
def test_every_count_comes_back(counts: list[int]):
    there = np.array(counts, np.int64)
    assert np.array_equal(joined(*split(there)), there)


def _bytes(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


HOSTILE: dict[str, Change] = {
    "bomb": lambda m, t: t.update(steps=_bytes(bz2.compress(bytes(10**8)))),
    "too few counts": lambda m, t: t.update(steps=_bytes(bz2.compress(bytes(10)))),
    "no counts": lambda m, t: t.pop("steps"),
    "not compressed": lambda m, t: t.update(steps=torch.ones(50, dtype=torch.uint8)),
    "floats": lambda m, t: t.update(steps=torch.ones(50)),
    "unknown steps": lambda m, t: t.update(
        steps=_bytes(bz2.compress(b"\xff" * (2 * len(t["exponent"]) * packed.BINS)))
    ),
    "missing bits": lambda m, t: t.update(excess=t["excess"][1:].clone()),
    "channels below zero": lambda m, t: m.update(
        channels=json.dumps(dict.fromkeys(json.loads(m["channels"]), -1))
    ),
    "no channels": lambda m, t: m.update(channels="{}"),
    "channels as words": lambda m, t: m.update(
        channels=json.dumps(dict.fromkeys(json.loads(m["channels"]), "x"))
    ),
    "a total as a word": lambda m, t: m.update(
        totals=json.dumps(dict.fromkeys(json.loads(m["totals"]), "x"))
    ),
    "totals as a list": lambda m, t: m.update(totals="[1]"),
    "no JSON": lambda m, t: m.update(images="["),
    "no size": lambda m, t: m.pop("imgsz"),
    "one side": lambda m, t: m.update(imgsz="[8]"),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_damaged_and_hostile_files_are_refused(tmp_path: Path, known: Statistics, change: Change):
    path = tmp_path / "s.safetensors"
    known.save(path)
    metadata, tensors = read_safetensors(path)
    change(metadata, tensors)
    write_safetensors(path, tensors, metadata)
    with pytest.raises(
        UserError, match=r"s\.safetensors is damaged or of another version .*calibrate"
    ) as error:
        Statistics.load(path)
    assert "\n" not in str(error.value)


def test_too_many_channels_are_refused(
    tmp_path: Path, known: Statistics, monkeypatch: pytest.MonkeyPatch
):
    known.save(tmp_path / "s.safetensors")
    monkeypatch.setattr(packed, "CHANNELS", 3)
    with pytest.raises(UserError, match="channels, where 3 are the most"):
        Statistics.load(tmp_path / "s.safetensors")
