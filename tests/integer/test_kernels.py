"""Which library in C is used: that of the processor, made of this state of its source."""

from pathlib import Path

import pytest
import torch
from helpers.networks import TinyLeaky, images, make, spiking

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.integer import kernels
from spiking_yolo.integer.kernels import LEVELS, checksum, library, usable_levels


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
