"""Event-driven computation against the plain one: the same numbers, to the bit where sums are
exact.

With every library of which this processor has the instructions. After a change of events.c they are
built anew by `python setup.py build_ext --inplace`.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.methods import recipe_of
from helpers.networks import Pooled, Residual, TinyLeaky, images, make, same, spiking
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.graph import Graph
from spiking_yolo.integer import kernels
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.fast import events
from spiking_yolo.snn.fast.events import (
    LEVELS,
    EventConvolution,
    Kernels,
    checksum,
    library,
    load,
    usable_levels,
)
from spiking_yolo.snn.layout import SparseRows, channels_last, rows
from spiking_yolo.snn.network import SpikingNetwork
from spiking_yolo.snn.synapses import LinearMap

SOURCE = Path(events.__file__).with_name("events.c")
UNIT = {"stride": (1, 1), "padding": (1, 1), "groups": 1, "dilation": (1, 1)}


@pytest.fixture(scope="module", params=usable_levels())
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    """One level after another, as if it were this processor's."""
    functions = load(SOURCE, request.param)
    if functions is None:
        pytest.skip(f"events_{request.param}.so was not built: nothing is event-driven here")
    with pytest.MonkeyPatch.context() as patch:
        for module in ("network", "fast.events"):
            patch.setattr(f"spiking_yolo.snn.{module}.library", lambda: functions)
        yield request.param


needs_kernels = pytest.mark.usefixtures("level")
# Whole networks, by what this processor is given.
needs_library = pytest.mark.skipif(library() is None, reason="nothing is event-driven here")


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def some(shape: tuple[int, ...], seed: int, share: float = 0.1) -> Tensor:
    """Whole numbers at a few positions of a map, zero elsewhere, and something in every corner."""
    generator = torch.Generator().manual_seed(seed)
    where = torch.rand(shape[0], 1, *shape[2:], generator=generator) < share
    where[:, :, (0, 0, -1, -1), (0, -1, 0, -1)] = True
    return channels_last((torch.randint(-3, 4, shape, generator=generator) * where).float())


def active(x: Tensor) -> SparseRows:
    where = rows(x).any(1).nonzero().view(-1)
    return SparseRows(rows(x)[where], where, x.shape)


@needs_kernels
@settings(deadline=None, max_examples=60)
@given(
    st.tuples(st.integers(1, 4), st.integers(1, 3)),
    st.tuples(st.integers(1, 3), st.integers(1, 2)),
    st.tuples(st.integers(0, 2), st.integers(0, 1)),
    st.integers(1, 2),
    st.integers(1, 5),
    st.sampled_from([1, 6, 32, 40, 130]),
    st.booleans(),
    st.integers(0, 99),
)
def test_a_convolution_of_a_few_events(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    n: int,
    channels: int,
    outputs: int,
    whole: bool,
    seed: int,
):
    """Twice, since what is put away between two calls must be empty again; as a map, and as some of
    its rows.
    """
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randint(-3, 4, (outputs, channels, *kernel), generator=generator).float()
    tested = EventConvolution(
        Kernels(), weight, {**UNIT, "stride": stride, "padding": padding}, price=0, visit=0
    )
    for k in range(2):
        x = some((n, channels, 9, 7), seed + k)
        out = tested(x if whole else active(x))
        assert out is not None
        assert torch.equal(out.dense(), F.conv2d(x, weight, stride=stride, padding=padding))
        assert len(out.where.unique()) == len(out.where) <= out.shape[0] * out.shape[2:].numel()


@needs_kernels
def test_threads_share_the_outputs(set_threads: Callable[[int], None]):
    weight = torch.randint(-3, 4, (20, 3, 3, 3)).float()
    tested = EventConvolution(Kernels(), weight, UNIT, price=0, visit=0)
    for threads, share in product((1, 3), (0.0, 0.02, 1.0)):
        set_threads(threads)
        x = some((2, 3, 30, 20), 0, share)
        out = tested(x)
        assert out is not None and torch.equal(out.dense(), F.conv2d(x, weight, padding=1))


@needs_kernels
def test_where_much_arrives_the_plain_convolution_serves():
    weight = torch.ones(4, 4, 3, 3)
    tested = EventConvolution(Kernels(), weight, UNIT)
    assert tested(torch.ones(1, 4, 40, 40)) is None
    assert tested(some((1, 4, 40, 40), 0, 0.001)) is not None
    assert not EventConvolution.serves(weight, {**UNIT, "groups": 2})
    assert not EventConvolution.serves(weight, {**UNIT, "dilation": (2, 2)})
    assert not EventConvolution.serves(weight.double(), UNIT)


def exact(converted: Converted) -> Converted:
    """The same in float32, with numbers of few binary places, so that sums do not depend on their
    order.
    """

    def coarse(x: Tensor, places: int = 6) -> Tensor:
        return ((x * 2**places).round() / 2**places).float()

    tensors = {name: coarse(x) for name, x in converted.graph.tensors.items()}
    graph = replace(converted.graph, tensors=tensors)
    assert isinstance(graph, Graph)
    neurons = {}
    for name, site in converted.neurons.items():
        neurons[name] = {key: coarse(value) for key, value in site.items()}
        if "theta" in site:
            neurons[name]["theta"] = site["theta"].log2().round().exp2().float()
    return replace(converted, graph=graph, neurons=neurons)


def picture(n: int = 1) -> Tensor:
    """Of whole 64ths."""
    return ((images(n) * 64).round() / 64).float()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[SparseRows]:
    """What event-driven convolutions have given; they are taken to be free, and so always done."""
    results: list[SparseRows] = []
    convolve = EventConvolution.__call__

    def recorded(self: EventConvolution, x: Tensor | SparseRows) -> SparseRows | None:
        found = convolve(self, x)
        if found is not None:
            results.append(found)
        return found

    monkeypatch.setattr(EventConvolution.__init__, "__defaults__", (0.0, 0.0))
    monkeypatch.setattr(EventConvolution, "__call__", recorded)
    return results


def both(model: torch.nn.Module, recipe: Recipe) -> list[SpikingNetwork]:
    """An exact network, computed plainly and event-driven."""
    converted = exact(spiking(model, images(2), recipe))
    return [converted.simulator(event_driven=driven) for driven in (False, True)]


LEAKY = partial(TinyLeaky, 0.125)


@needs_library
@pytest.mark.parametrize(
    ("cls", "method", "changes"),
    [
        (TinyLeaky, "dcgs", {}),
        (Pooled, "sigma-delta", {"neuron.gamma": 2}),
        (TinyLeaky, "css", {"neuron.pool_first": False}),
        *((LEAKY, m, {}) for m in ("p-norm", "channel-norm", "opt", "calibration-light", "burst")),
        (LEAKY, "p-norm", {"neuron.pool_first": False, "encoding.input": "poisson"}),
        (Residual, "p-norm", {}),
    ],
)
def test_networks_send_the_same_spikes_to_the_bit(
    cls: Any, method: str, changes: dict[str, Any], served: list[SparseRows]
):
    """In rate coding biases arrive in every step. The slope and T are powers of two there, so that
    sums are exact.
    """
    plain, tested = both(make(cls), recipe_of(method).with_settings(changes))
    x = picture(2)
    a, b = (network.run(x, 8, [2, 4]).snapshots for network in (plain, tested))
    assert served and all(same(a[t], b[t]) for t in (2, 4, 8))
    for name, layer in tested.neurons.items():
        assert torch.equal(layer.count, plain.neurons[name].count)


@needs_kernels
def test_a_bias_arrives_where_no_event_does():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randint(-3, 4, (5, 3, 3, 3), generator=generator).float()
    for share, bias in product((0.0, 0.1, 1.0), (None, torch.arange(5.0))):
        x = some((2, 3, 9, 7), 0, share) if share else torch.zeros(2, 3, 9, 7)
        linear = LinearMap(weight, bias, UNIT, Kernels())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(linear._events, "_price", 0.0)
            patch.setattr(linear._events, "_visit", 0.0)
            patch.setattr(linear, "_convolution", None)
            result = linear(x, biased=True)
        assert torch.equal(result, F.conv2d(x, weight, bias, padding=1))


def test_levels_are_those_of_pytorch(monkeypatch: pytest.MonkeyPatch):
    for capability, levels in (
        ("AVX512", LEVELS),
        ("AVX2", ("default", "avx2")),
        *((name, ("default",)) for name in ("NO AVX", "DEFAULT", "SVE256")),
    ):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda c=capability: c)
        assert usable_levels() == levels
        chosen = library.__wrapped__()
        assert (chosen is None) == (load(SOURCE, levels[-1]) is None)
        assert chosen is None or levels[-1] in chosen._name


@needs_library
def test_a_library_of_another_state_of_its_source_is_not_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(events, "checksum", lambda source: checksum(source) + 1)
    assert library.__wrapped__() is None and kernels.library.__wrapped__() is None


def test_without_the_c_code_nothing_is_event_driven(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(events, "__file__", str(tmp_path / "events.py"))
    assert library.__wrapped__() is None
    (tmp_path / f"events_{usable_levels()[-1]}.so").write_text("not a library")
    assert library.__wrapped__() is None
    monkeypatch.setattr("spiking_yolo.snn.network.library", lambda: None)
    network = spiking(make(TinyLeaky), images(2), get_recipe("p-norm")).simulator()
    assert network.run(picture(), 4).snapshots[4].outputs[0].isfinite().all()
