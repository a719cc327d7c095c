"""Which library in C is used: that of the processor, made of this state of its source. Positions
that windows reach, and what they see, against loops over all windows.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.networks import TinyLeaky, images, make, spiking
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.integer import kernels
from spiking_yolo.integer.kernels import library
from spiking_yolo.snn.counting import Counts, count_digits
from spiking_yolo.snn.layout import channels_last, rows


def test_levels_are_those_of_pytorch(monkeypatch: pytest.MonkeyPatch):
    for capability, levels in (
        ("AVX512", kernels.LEVELS),
        ("AVX2", ("default", "avx2")),
        *((name, ("default",)) for name in ("NO AVX", "DEFAULT", "SVE256")),
    ):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda c=capability: c)
        assert kernels.usable_levels() == levels
        chosen = library.__wrapped__()
        assert chosen is None or levels[-1] in chosen._name


@pytest.mark.skipif(library() is None, reason="not built")
def test_a_library_of_another_state_of_its_source_is_not_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kernels, "checksum", lambda source: -1)
    assert library.__wrapped__() is None


def test_without_the_library_the_results_are_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    given, x = spiking(make(TinyLeaky), images(2), get_recipe("signed-digits")), images(1)
    expected = given.network()(x).outputs
    monkeypatch.setattr(kernels, "__file__", str(tmp_path / "kernels.py"))
    (tmp_path / f"kernels_{kernels.usable_levels()[-1]}.so").write_text("not a library")
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


PAIRS = st.tuples(*[st.integers(1, 3)] * 2)


def some(n: int, channels: int, size: Any, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randint(0, 4, (n, channels, *size), generator=generator)
    return channels_last(numbers.byte())


@settings(max_examples=100, deadline=None)
@given(
    given=st.tuples(*[st.integers(3, 9)] * 2),
    kernel=PAIRS,
    stride=PAIRS,
    padding=st.tuples(*[st.integers(0, 2)] * 2),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_windows_reach_and_see_what_a_convolution_does(
    given: Any, kernel: Any, stride: Any, padding: Any, share: float, seed: int
):
    if library() is None:
        return
    x = some(2, 3, given, seed)
    taps = F.unfold(x.float() - 1, kernel, padding=padding, stride=stride) + 1
    size = [(given[k] + 2 * padding[k] - kernel[k]) // stride[k] + 1 for k in (0, 1)]
    tested = kernels.Windows(given, size, kernel, stride, padding)
    places = torch.rand(2 * given[0] * given[1], generator=torch.Generator().manual_seed(seed))
    mark = (places < share).float().reshape(2, 1, *given)
    seen = F.unfold(mark, kernel, padding=padding, stride=stride).any(1).flatten()
    reached = tested.reached(mark.flatten().nonzero().flatten(), 2)
    assert torch.equal(reached, seen.nonzero().flatten())
    expected = taps.unflatten(1, (3, -1)).permute(0, 3, 2, 1).flatten(0, 1).flatten(1)
    found = tested.gather(x, reached, 1)
    assert torch.equal(found[: len(reached)].float(), expected[reached])
    assert len(found) >= 16 and (found[len(reached) :] == 1).all()


def test_what_differs_is_found_with_and_without_the_kernel(monkeypatch: Any):
    for shape in ((2, 3, 40, 31), (1, 64, 9, 9), (1, 2000, 3, 2)):
        old = some(shape[0], shape[1], shape[2:], 0)
        new = old.clone(memory_format=torch.channels_last)
        assert not len(kernels.positions_of(kernels.changed_values(new, old)))
        rows(new)[3, :2], rows(new)[-1, -1] = 9, 9
        last = shape[0] * shape[2] * shape[3] - 1
        for functions in (library(), None):
            monkeypatch.setattr(kernels, "library", lambda functions=functions: functions)
            counts = kernels.changed_values(new, old)
            assert kernels.positions_of(counts).tolist() == [3, last]
            assert counts.shape == (shape[0], 1, *shape[2:])
            assert counts.flatten()[[3, last]].tolist() == [2, 1] and counts.sum() == 3


def test_positions_before_pooling_and_after_upsampling():
    """Two maps of 4 x 6."""
    mark = torch.zeros(2, 1, 4, 6)
    mark[0, 0, 1, 5] = mark[1, 0, 3, 0] = 1
    where = mark.flatten().nonzero().flatten()
    found = kernels.upsampled(where, 6, [2, 3])
    larger = F.interpolate(mark, scale_factor=(2, 3))
    assert torch.equal(found, larger.flatten().nonzero().flatten())
    four = kernels.in_pairs(torch.tensor([1, 5]), 6)
    assert four.tolist() == [2, 3, 8, 9, 16, 17, 22, 23]
