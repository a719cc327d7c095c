"""SRP: run, silence what the residual potential shows to be wrong, run again (Hao, AAAI 2023)."""

from typing import Any

import pytest
import torch
from helpers.methods import neuron, send
from helpers.networks import Pooled, TinyLeaky, images, make, spiking
from helpers.preparation import Population, TwoLayers, prepared_run
from torch import Tensor

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.errors import UserError
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.readout import Run

SRP = get_recipe("srp")


def test_silence_by_hand():
    """theta = 1, U(0) = 1/2: 3/4 and -5/4 leave -1 and a spike too many; -1/4 and 1 leave 1/4."""
    for zs, first, again in (([0.75, -1.25], [1, 0], [0, 0]), ([-0.25, 1], [0, 1], [0, 1])):
        layer = neuron(SRP)
        assert send(layer, zs) == first
        layer.prepared()
        assert send(layer, zs) == again


def test_the_two_neurons_of_a_pair_are_judged_apart():
    layer = neuron(SRP, slope=0.5)
    assert send(layer, [0.75, -1.75]) == [1, -0.5]
    layer.prepared()
    # ON ended at -3/2, OFF at 1/2.
    assert send(layer, [3, -4]) == [0, -0.5]


def silence(population: Population) -> None:
    population.silent = 0.5 * population.theta + population.received < (
        population.fired * population.theta
    )


@torch.no_grad()
@pytest.mark.parametrize("tau", [1, 4, 7])
def test_a_network_against_the_loops_of_the_paper(tau: int):
    """Outputs of all T at once, and every spike, those of the preparation among them."""
    model, x = make(TwoLayers), images(2, seed=3)
    converted = spiking(model, images(2), SRP, {"preparation.steps": tau})
    outputs, spikes = prepared_run(model, converted.neurons, x, [tau], 6, silence)
    run = converted.network().run(x, 6, range(1, 7))
    for t in range(1, 7):
        assert torch.allclose(run.snapshots[t].outputs[0], outputs[t - 1], rtol=0, atol=1e-9)
    counted = torch.stack(list(run.snapshots[6].spikes.values())).sum(0)
    assert torch.equal(counted, spikes)


def by_step(recipe: Recipe, x: Tensor, T: int, cls: Any = TinyLeaky) -> Run:
    return spiking(make(cls), images(2), recipe).network().run(x, T, range(1, T + 1))


@pytest.mark.parametrize("name", ["srp", "cos"])
def test_preparation_is_counted_at_every_t(name: str):
    """Before the first step nothing is corrected, so the preparation costs what plain steps cost."""
    x, recipe = images(2, seed=7), get_recipe(name)
    plain = recipe.with_settings({"preparation.kind": "none"})
    tau, rounds = recipe.preparation.steps, recipe.preparation.rounds
    first = by_step(plain, x, tau).snapshots[tau]
    run = by_step(recipe, x, 3)
    assert (
        recipe.preparation.timesteps == tau * rounds and recipe.latency(8, 5)[0] == 8 + tau * rounds
    )
    for now, before in zip(
        (run.snapshots[1], run.snapshots[3]), (first, run.snapshots[1]), strict=True
    ):
        assert (now.operations.spikes > before.operations.spikes).all()
        assert (now.sent.spikes > before.sent.spikes).all()
    neurons = sum(run.neurons.values())
    assert run.snapshots[1].updates.tolist() == [neurons * (tau * rounds + 1)] * 2


@pytest.mark.parametrize("cls", [TinyLeaky, Pooled])
@pytest.mark.parametrize("name", ["srp", "cos"])
def test_t_counts_the_steps_after_it_however_few(name: str, cls: Any):
    """T = 1 is below the preparation; a run to 9 gives the same at each t as runs to t do."""
    x = images(2, seed=7)
    long = by_step(get_recipe(name), x, 9, cls)
    for t in (1, 2, 9):
        short = by_step(get_recipe(name), x, t, cls).snapshots[t]
        assert torch.equal(short.outputs[0], long.snapshots[t].outputs[0])
        assert torch.equal(short.operations.spikes, long.snapshots[t].operations.spikes)


@pytest.mark.parametrize("name", ["srp", "cos"])
def test_every_image_is_prepared_for(name: str):
    """A network that has seen another image, and steps by hand, give the same."""
    x, other = images(1, seed=7), images(1, seed=8)
    converted = spiking(make(TinyLeaky), images(2), get_recipe(name))
    expected = converted.network().run(x, 5).snapshots[5]
    network = converted.network()
    network.run(other, 2)
    network.start(x)
    for _ in range(5):
        network.step()
    assert torch.equal(network.snapshot().outputs[0], expected.outputs[0])
    assert torch.equal(network.snapshot().operations.spikes, expected.operations.spikes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"neuron.kind": "memory"}, "neuron.kind=if"),
        ({"neuron.reset": "zero"}, "neuron.reset=subtract"),
        ({"neuron.events": "switches"}, "neuron.events=spikes"),
        ({"msat.enabled": True}, "msat.enabled=false"),
        ({"encoding.input": "poisson"}, "same image"),
        ({"preparation.kind": "shift", "neuron.gamma": 2}, "neuron.gamma=1"),
    ],
)
def test_what_it_does_not_go_with(settings: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        SRP.with_settings(settings)
