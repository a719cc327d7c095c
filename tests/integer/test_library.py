"""Which library in C is used: that of the processor, made of this state of its sources."""

from pathlib import Path

import pytest
import torch
from helpers.networks import TinyLeaky, images, make, spiking

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.errors import Notice
from spiking_yolo.integer import library as module
from spiking_yolo.integer.library import LEVELS, library, usable_levels
from spiking_yolo.integer.network import Reference
from spiking_yolo.integer.state import State


@pytest.mark.parametrize("vnni", [True, False])
def test_levels_are_those_of_pytorch(vnni: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SPIKING_YOLO_KERNELS", raising=False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_vnni": vnni})
    for capability, levels in (
        ("AVX512", LEVELS if vnni else LEVELS[:3]),
        ("AVX2", ("default", "avx2")),
        *((name, ("default",)) for name in ("NO AVX", "DEFAULT", "SVE256")),
    ):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda c=capability: c)
        assert usable_levels() == levels
        chosen = library.__wrapped__()
        assert chosen is None or f"_{levels[-1]}." in chosen._name
    # Of what there is; a name of none is not looked at.
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    for name, levels in (("default", LEVELS[:1]), ("avx512", LEVELS[:2]), ("sse9", LEVELS[:2])):
        monkeypatch.setenv("SPIKING_YOLO_KERNELS", name)
        assert usable_levels() == levels


def test_libraries_that_lie_beside_their_sources_are_of_the_same_state():
    built = list(Path(module.__file__).parent.glob("kernels_*.so"))
    assert library() is not None or not built, "run python setup.py build_ext --inplace"


@pytest.mark.skipif(library() is None, reason="not built")
def test_a_library_of_another_state_of_its_sources_is_not_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "checksum", lambda folder: -1)
    with pytest.warns(Notice, match="build_ext --inplace"):
        assert library.__wrapped__() is None


def test_without_the_library_the_results_are_the_same(monkeypatch, tmp_path):
    given, x = spiking(make(TinyLeaky), images(2), get_recipe("signed-digits")), images(1)
    built, network = library() is not None, given.network()
    expected = network.run(x).snapshots[1].outputs
    assert isinstance(network.start(), State if built else Reference)
    monkeypatch.setattr(module, "__file__", str(tmp_path / "library.py"))
    (tmp_path / f"kernels_{usable_levels()[-1]}.so").write_text("not a library")
    library.cache_clear()
    # Once, however many networks are made.
    with pytest.warns(Notice) as notices:
        given.network()
        network = given.network()
        assert isinstance(network.start(), Reference)
    (said,) = [str(one.message) for one in notices if one.category is Notice]
    assert "kernels are missing" in said and "build_ext --inplace" in said
    assert all(map(torch.equal, network.run(x).snapshots[1].outputs, expected))
    library.cache_clear()
