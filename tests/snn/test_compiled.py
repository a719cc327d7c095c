"""Compiled steps: what is an argument, when code is made, and that it computes what the plain step
does.
"""

import weakref

import pytest
import torch
from helpers.networks import TinyLeaky, images, make, spiking
from torch import Tensor

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.graph import Activation
from spiking_yolo.snn.fast import Backend
from spiking_yolo.snn.fast.steps import Fused
from spiking_yolo.snn.neurons import build_neurons
from spiking_yolo.snn.plan import SimulationOptions, missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"cannot compile: {missing()}")


@pytest.fixture
def made(monkeypatch) -> list[tuple]:
    """The kinds of arguments that code was made for, in order."""
    kinds: list[tuple] = []
    compile = Fused._compile
    monkeypatch.setattr(
        Fused, "_compile", lambda self, kind, *a: kinds.append(kind) or compile(self, kind, *a)
    )
    return kinds


def accumulate(total: Tensor, x: Tensor, factor: Tensor | None) -> Tensor:
    total.add_(x if factor is None else x * factor)
    return total.amax()


def test_arguments_are_updated_and_may_be_missing(made: list):
    fused, total = Fused(accumulate), torch.zeros(3)
    x, twice = torch.tensor([1.0, 2.0, -1.0]), torch.tensor(2.0)
    assert [fused(total, x, None).item() for _ in range(2)] == [2.0, 4.0]
    assert fused(total, x, twice).item() == 8.0 and fused(total, x.bfloat16(), None).item() == 10.0
    assert total.tolist() == [5.0, 10.0, -5.0]
    fused(total, x, twice)
    single = torch.float32
    assert made == [(single, single, None), (single,) * 3, (single, torch.bfloat16, None)]


def test_a_function_may_return_nothing():
    def add_one(total: Tensor) -> None:
        total.add_(1)

    total = torch.zeros(2)
    assert Fused(add_one)(total) is None and total.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "phi",
    [Activation(cap=2.0), Activation(silu=True), Activation(mish=True)],
    ids=["cap", "SiLU", "mish"],
)
def test_what_is_due_follows_the_time(phi: Activation):
    """In rate coding a cap and SiLU look at t, which compiled code is given."""
    params = {
        "theta": torch.tensor([0.5, 1.0, 0.25], dtype=torch.float64),
        "initial": torch.tensor(0.5),
    }
    plain, compiled = (
        build_neurons(params, get_recipe("signed-memory"), phi, backend=Backend(compiled))
        for compiled in (False, True)
    )
    generator = torch.Generator().manual_seed(0)
    for layer in (plain, compiled):
        layer.reset()
    for _ in range(6):
        z = torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=generator).add_(1)
        assert torch.equal(plain(z), compiled(z))
    assert torch.equal(plain.count, compiled.count) and plain.count.any()


@pytest.mark.parametrize("slope", [0.0, 0.25])
@pytest.mark.parametrize("name", ["dcgs", "few-spikes"])
def test_events_of_other_sizes(name: str, slope: float):
    params = {
        "theta": torch.tensor([0.5, 1.0, 0.25], dtype=torch.float64),
        "initial": torch.tensor(0.0),
    }
    plain, compiled = (
        build_neurons(params, get_recipe(name), Activation(slope), backend=Backend(c))
        for c in (False, True)
    )
    generator = torch.Generator().manual_seed(0)
    for layer in (plain, compiled):
        layer.reset()
    for _ in range(4):
        z = torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=generator)
        assert torch.allclose(plain(z), compiled(z), rtol=1e-12)
    for a, b in zip(plain.counts, compiled.counts, strict=True):
        assert torch.equal(a, b) and a.any()


def test_code_is_made_once_for_each_shape(made: list):
    """Shapes in turn, as when the last batch of an evaluation is smaller; results stay those of the
    plain network.
    """
    x = images(2)
    converted = spiking(make(TinyLeaky), x, get_recipe("coarse-to-fine"))
    plain, compiled = (
        converted.network(simulation=SimulationOptions(compiled=c)) for c in (False, True)
    )
    sizes = []
    for batch in (x, x[:1], x.flip(0), x[1:]):
        a, b = (network.run(batch, 12).snapshots[12].outputs for network in (plain, compiled))
        for p, q in zip(a, b, strict=True):
            assert torch.allclose(p, q, rtol=1e-9)
        sizes.append(len(made))
    assert 0 < sizes[0] < sizes[1] == sizes[2] == sizes[3]


def test_a_layer_keeps_the_state_of_one_shape_and_no_current():
    params = {"theta": torch.ones(3), "initial": torch.tensor(0.5)}
    layer = build_neurons(
        params, get_recipe("signed-memory"), Activation(), backend=Backend(compiled=True)
    )
    states = []
    for n in (2, 3, 2):
        layer.reset()
        current = torch.ones(n, 3, 4, 4)
        layer(current)
        states += [weakref.ref(current), weakref.ref(layer.potential)]
        del current
    assert [state() is None for state in states] == [True] * 5 + [False]
