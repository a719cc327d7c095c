"""COS: run, shift the initial potential where a spike was too many or too few (Hao, ICLR 2023)."""

import pytest
import torch
from helpers.methods import neuron, send
from helpers.networks import images, make, spiking
from helpers.preparation import Population, TwoLayers, prepared_run

from spiking_yolo.convert.methods import get_recipe

COS = get_recipe("cos")


@pytest.mark.parametrize(
    ("zs", "first", "again"),
    [
        ([0.75, -1.25, 1], [1, 0, 0], [1, 0, 0]),  # 1/2 in all, 1/2 + 1/2 - 1 = 0: right
        ([0.75, -1.25, 0.25], [1, 0, 0], [0, 0, 0]),  # -1/4: one too many
        ([-0.75, 1, 1.5], [0, 0, 1], [0, 1, 1]),  # 7/4 in all, 5/4 left: one is owed
        ([-2, 0, 1], [0, 0, 0], [0, 0, 0]),  # negative, but nothing was sent
    ],
)
def test_offset_spikes_by_hand(zs: list[float], first: list[int], again: list[int]):
    """theta = 1, U(0) = 1/2."""
    layer = neuron(COS)
    assert send(layer, zs) == first
    layer.prepared()
    assert send(layer, zs) == again


def test_a_second_round_counts_what_the_first_has_changed():
    """Nothing is corrected twice, and what only two thetas can correct takes two rounds."""
    layer = neuron(COS)
    zs = [0.75, -1.25, 0.25]
    for expected in ([1, 0, 0], [0, 0, 0], [0, 0, 0]):
        assert send(layer, zs) == expected
        layer.prepared()
    layer = neuron(COS)
    zs = [-1.5, 0.0, 3.5]
    for expected in ([0, 0, 1], [0, 0, 1], [1, 0, 1], [1, 0, 1]):
        assert send(layer, zs) == expected
        layer.prepared()


def offset(population: Population) -> None:
    surplus = population.surplus()
    population.offset = (
        population.offset
        - ((surplus > 0) & (population.fired > 0)).double()
        + (surplus < 0).double()
    )


@torch.no_grad()
@pytest.mark.parametrize(("rho", "rounds"), [(1, 1), (4, 1), (5, 3)])
def test_a_network_against_loops_that_count_what_is_due(rho: int, rounds: int):
    """Outputs of all T at once, and every spike, those of the preparation among them."""
    model, x = make(TwoLayers), images(2, seed=3)
    settings = {"preparation.steps": rho, "preparation.rounds": rounds}
    converted = spiking(model, images(2), COS, settings)
    outputs, spikes = prepared_run(model, converted.neurons, x, [rho] * rounds, 6, offset)
    run = converted.network().run(x, 6, range(1, 7))
    for t in range(1, 7):
        assert torch.allclose(run.snapshots[t].outputs[0], outputs[t - 1], rtol=0, atol=1e-9)
    counted = torch.stack(list(run.snapshots[6].spikes.values())).sum(0)
    assert torch.equal(counted, spikes)


@torch.no_grad()
def test_one_layer_is_right_at_the_step_it_was_prepared_for():
    """Up to one spike: the sum of the input, rounded, whatever the order in which it came."""
    generator = torch.Generator().manual_seed(0)
    zs = torch.randn(4, 500, generator=generator, dtype=torch.float64) * 0.6
    due = (zs.sum(0) + 0.5).floor().clamp(0, 4)
    layer, wrong = neuron(COS), []
    for _ in range(3):
        sent = torch.stack([layer(z[:, None])[:, 0].clone() for z in zs]).sum(0)
        wrong.append(int((sent != due).sum()))
        layer.prepared()
    assert wrong[0] > 50 > 5 > wrong[1] >= wrong[2], wrong
