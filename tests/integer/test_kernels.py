"""Which library in C is used: that of the processor, made of this state of its source."""

from pathlib import Path

import pytest
import torch
from helpers.networks import TinyLeaky, images, make, spiking

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.integer import kernels
from spiking_yolo.integer.kernels import LEVELS, checksum, library, usable_levels
from spiking_yolo.snn.counting import Counts, count_digits


def test_levels_are_those_of_pytorch(monkeypatch: pytest.MonkeyPatch):
    for capability, levels in (
        ("AVX512", LEVELS),
        ("AVX2", ("default", "avx2")),
        *((name, ("default",)) for name in ("NO AVX", "DEFAULT", "SVE256")),
    ):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda c=capability: c)
        assert usable_levels() == levels
        chosen = library.__wrapped__()
        assert chosen is None or levels[-1] in chosen._name


@pytest.mark.skipif(library() is None, reason="not built")
def test_a_library_of_another_state_of_its_source_is_not_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kernels, "checksum", lambda source: checksum(source) + 1)
    assert library.__wrapped__() is None


def test_without_the_library_the_results_are_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    given, x = spiking(make(TinyLeaky), images(2), get_recipe("signed-digits")), images(1)
    expected = given.network()(x).outputs
    monkeypatch.setattr(kernels, "__file__", str(tmp_path / "kernels.py"))
    (tmp_path / f"kernels_{usable_levels()[-1]}.so").write_text("not a library")
    library.cache_clear()
    assert library() is None
    assert all(map(torch.equal, given.network()(x).outputs, expected))
    library.cache_clear()


@pytest.mark.skipif(library() is None, reason="not built")
@pytest.mark.parametrize("ends", [[64], [16, 48], [2, 6], [8, 11], [4104]])
def test_events_of_bytes_are_counted(ends: list[int]):
    """By eights, one by one, and of more channels than are counted together."""
    generator = torch.Generator().manual_seed(0)
    new, old = torch.randint(1, 256, (2, 2, ends[-1], 5, 3), generator=generator).byte()
    for before, size in ((old, new.int() - old.int()), (None, new.int() - 128)):
        size = size.abs().float()
        counts = Counts(size, count_digits(size), size.clamp(max=1)).stacked()
        parts = [part.sum(1) for part in counts.tensor_split(ends[:-1], 1)]
        assert torch.equal(kernels.events(new, before, ends), torch.stack(parts, 1))
