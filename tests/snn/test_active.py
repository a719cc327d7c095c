"""Event-driven computation against the plain one: the same numbers, to the bit where sums are exact."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.networks import Pooled, Residual, TinyLeaky, images, make, spiking
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.registry import get_recipe
from spiking_yolo.graph import Graph
from spiking_yolo.snn.backend.active import Active, ActiveConvolution
from spiking_yolo.snn.backend.pooling import PooledSum
from spiking_yolo.snn.options import SimulationOptions
from spiking_yolo.snn.stream import Stream


def some(shape: tuple[int, ...], seed: int, share: float = 0.1) -> Tensor:
    """Whole numbers at a few positions of a map, zero elsewhere, and something in every corner."""
    generator = torch.Generator().manual_seed(seed)
    where = torch.rand(shape[0], 1, *shape[2:], generator=generator) < share
    where[:, :, (0, 0, -1, -1), (0, -1, 0, -1)] = True
    return (torch.randint(-3, 4, shape, generator=generator) * where).double()


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(st.integers(1, 4), st.integers(1, 3)),
    st.sampled_from([(1, 1), (2, 2), (2, 1)]),
    st.tuples(st.integers(0, 2), st.integers(0, 1)),
    st.integers(1, 2),
    st.integers(1, 5),
    st.integers(0, 99),
)
def test_a_convolution_of_a_few_rows(
    kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int], n: int, channels: int, seed: int
):
    """Both ways, twice each, since what is put away between two calls must be empty again."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randint(-3, 4, (6, channels, *kernel), generator=generator).double()
    attrs = {"stride": stride, "padding": padding, "groups": 1, "dilation": (1, 1)}
    for prefer in ("GATHERED", "COPIED") if stride == (1, 1) else ("COPIED",):
        tested = ActiveConvolution(weight, attrs)
        for price in ("GATHERED", "COPIED", "ADDED"):  # what costs nothing is done, what costs too much is not
            setattr(tested, price, 0.0)
        setattr(tested, prefer, 1e-3)
        for k in range(2):
            x = some((n, channels, 9, 7), seed + k)
            out = tested(Active.of(x))
            assert out is not None and torch.equal(out.dense(), F.conv2d(x, weight, stride=stride, padding=padding))
            assert len(out.where.unique()) == len(out.where) <= out.shape[0] * out.shape[2:].numel()


def test_where_much_arrives_the_plain_convolution_serves():
    attrs = {"stride": (1, 1), "padding": (1, 1), "groups": 1, "dilation": (1, 1)}
    tested = ActiveConvolution(torch.ones(4, 4, 3, 3, dtype=torch.float64), attrs)
    assert tested(Active.of(torch.ones(1, 4, 40, 40, dtype=torch.float64))) is None
    assert tested(Active.of(some((1, 4, 40, 40), 0, 0.001))) is not None
    assert not ActiveConvolution.serves({**attrs, "groups": 2}) and not ActiveConvolution.serves(
        {**attrs, "dilation": (2, 2)}
    )


def test_pooling_of_a_few_rows():
    attrs = {"kernel": [2, 2], "stride": [2, 2], "padding": [0, 0, 0, 0], "ceil": False}
    plain, tested = PooledSum(attrs), PooledSum(attrs)
    whole = before = None
    for k in range(5):
        x = some((2, 3, 6, 8), k, 1.0 if k == 0 else 0.2)
        expected = plain(x).clone()
        if k == 0:
            whole = tested(x)
        else:
            changed = tested.at(Active.of(x))
            assert changed is not None and whole is not None and before is not None
            assert torch.equal(whole, expected)
            rows = before.movedim(1, -1).reshape(-1, 3)
            assert torch.equal(rows[changed[0].where], changed[1])
        before = expected


def exact(converted: Converted) -> Converted:
    """The same with numbers of few binary places, so that sums do not depend on their order."""

    def coarse(x: Tensor, places: int = 6) -> Tensor:
        return (x * 2**places).round() / 2**places

    tensors = {name: coarse(x) for name, x in converted.graph.tensors.items()}
    graph = replace(converted.graph, tensors=tensors)
    assert isinstance(graph, Graph)
    neurons = {
        name: {key: 2 ** value.log2().round() if key == "theta" else coarse(value) for key, value in site.items()}
        for name, site in converted.neurons.items()
    }
    return replace(converted, graph=graph, neurons=neurons)


def moving(n: int = 1) -> list[Tensor]:
    """A small bright square that moves over a still image, then nothing, then a bit everywhere."""
    base = (images(n) * 64).round() / 64
    frames = [base.clone() for _ in range(7)]
    for k, frame in enumerate(frames[1:5]):
        frame[:, :, k : k + 2, 5:7] += 0.5
    frames[6] += (torch.rand(base.shape, generator=torch.Generator().manual_seed(1)) * 8).round() / 64
    return frames


@pytest.mark.parametrize("cls", [TinyLeaky, Residual, Pooled])
@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("signed-digits", {"neuron.hysteresis": 0.25, "encoding.tau": 0.02, "calibration.steps": 2}),
        ("signed-digits", {"neuron.pool_first": False, "calibration.steps": 2}),
        ("few-spikes", {}),
        ("dcgs", {}),
        ("msat-plus", {"neuron.hysteresis": 0.5}),
        ("differential", {"neuron.gamma": 2}),
    ],
)
def test_networks_give_the_same_spikes_to_the_bit(cls: Any, method: str, changes: dict[str, Any]):
    recipe = get_recipe(method).with_settings(changes)
    converted = exact(spiking(make(cls), images(2), recipe))
    plain, tested = (
        Stream(converted.network(simulation=SimulationOptions(event_driven=driven)), T=2) for driven in (False, True)
    )
    few = 0
    for x in moving():
        a, b = (stream(x).run.snapshots[2] for stream in (plain, tested))
        assert all(map(torch.equal, a.outputs, b.outputs))
        for name in a.spikes:
            assert torch.equal(a.spikes[name], b.spikes[name])
        assert all(map(torch.equal, a.operations, b.operations)) and all(map(torch.equal, a.sent, b.sent))
        assert (a.updates >= b.updates).all()  # the plain form also updates what receives nothing but zeros
    for name, layer in tested.network.layers():
        assert torch.equal(layer.count, plain.network.layer(name).count)
        few += int(layer.count.any())
    assert few


def test_a_run_does_not_depend_on_those_before(monkeypatch: pytest.MonkeyPatch):
    """How often it is looked for few rows is forgotten with the rest: the same convolutions are computed so."""
    asked: list[tuple[int, bool]] = []
    plain = ActiveConvolution.__call__

    def recorded(self: ActiveConvolution, x: Active) -> Active | None:
        found = plain(self, x)
        asked.append((len(x.where), found is None))
        return found

    monkeypatch.setattr(ActiveConvolution, "__call__", recorded)
    network = spiking(make(TinyLeaky), images(2), get_recipe("differential")).network()
    seen = []
    for seed in (3, 4, 3):
        network.run(images(1, seed=seed), 6)
        seen.append(asked.copy())
        asked.clear()
    assert any(none for _, none in seen[1]) and seen[0] == seen[2]
