"""Tuning of neurons: what is learned, and which state is kept; weights of a few bits, on a grid by
brute force.
"""

from dataclasses import replace

import pytest
import torch
from helpers.methods import relative_error
from helpers.networks import Grouped, Pooled, TinyLeaky, images, make, spiking
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from spiking_yolo.convert.learn import training as training_module
from spiking_yolo.convert.learn.differentiable import CompleteNetwork, VideoNetwork
from spiking_yolo.convert.learn.training import State, Training
from spiking_yolo.convert.load import Converted
from spiking_yolo.convert.methods import DEFAULT, get_recipe
from spiking_yolo.models.spec import Spec
from spiking_yolo.spikes.layout import levels_and_step, rounded_weights

CLASSES = Spec("classify", tuple("abcde"), 8, 8)


def started(model: type[nn.Module]) -> Converted:
    """By the default method, of a few steps."""
    return spiking(make(model), images(8), get_recipe(DEFAULT), {"calibration.steps": 4})


class Wide(nn.Module):
    """Channels enough for them to make up for each other's rounding. [N, 3, 8, 8]."""

    def __init__(self):
        super().__init__()
        layers: list[nn.Module] = []
        for channels in (3, 16, 16):
            layers += [nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(64, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


def training(
    steps: int = 100, operations: float = 0.5, converted: Converted | None = None
) -> Training:
    """Of a tiny network, from what the default method learned."""
    converted = converted or started(Pooled)
    settings = {"calibration.steps": steps, "calibration.operations": operations}
    recipe = get_recipe(DEFAULT, "tuned").with_settings(settings)
    validation = list(images(16, seed=9).split(4))
    return Training(converted.graph, CLASSES, recipe, converted.neurons, validation)


def pictures(number: int) -> torch.Tensor:
    return images(8, seed=100 + number)


def test_training_lowers_the_error_at_the_same_operations():
    """No result is worse than what is only scaled."""
    model = make(Wide)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(2)
    converted = spiking(model, images(8), get_recipe(DEFAULT), {"calibration.steps": 20})
    t = training(40, 0.4, converted)
    t.run(pictures)
    result = t.result()
    assert result.operations == pytest.approx(0.4, rel=0.02)
    # They gain 0.05 here, or nothing, according to how the processor's kernels round.
    assert result.error < t.start.error + 1e-6


@pytest.mark.parametrize(("goal", "shift"), [(1.25, -0.04), (0.8, 0.05), (0.1, 0.2)])
def test_all_thetas_follow_what_a_batch_takes_beyond_the_goal(goal, shift, monkeypatch):
    """The goal is a multiple of it. At so small a rate little else moves them."""
    monkeypatch.setattr(training_module, "GAIN", 200.0)
    t = training()
    x, before = pictures(0), {name: log.clone() for name, log in t.neurons.logs.items()}
    t.goal_of_batches = t.network(x, t.neurons.values())[1].mean().item() * goal
    t.plan = replace(t.plan, rates=(0.001, 0.0), warmup=0.0)
    t.step(x, 0.0)
    for name, log in t.neurons.logs.items():
        moved = log - before[name]
        torch.testing.assert_close(moved, torch.full_like(log, shift), rtol=0, atol=0.002)
    t.goal_of_batches = t.goal
    t.compare()
    taken = torch.cat([t.network(x, t.neurons.values())[1] for x in t.validation]).mean().item()
    assert t.goal_of_batches * taken == pytest.approx(t.goal**2, rel=0.01)


def test_the_result_is_measured_as_simulated():
    """Its figures are those of a network made from its neurons, by what runs too."""
    t = training(20)
    # Worse than any state; in the test above it may be the best.
    bad = {name: {**own, "bias": torch.tensor(9.0)} for name, own in t.start.neurons.items()}
    t.best = t.start = State(bad, 9.0, 0.5)
    t.run(pictures)
    result = t.result()
    network = CompleteNetwork(t.ann, (8, 8), t.network.neuron)
    x = torch.cat(t.validation)
    _, spent = network(x, result.neurons)
    assert spent.mean().item() == pytest.approx(result.operations, rel=1e-4)
    simulated = Converted(t.ann, CLASSES, get_recipe(DEFAULT, "tuned"), result.neurons, {})
    x = (x * 255).round() / 255
    snapshot = simulated.network().run(x, 1).snapshots[1]
    assert relative_error(snapshot.outputs, tuple(network(x, result.neurons)[0])) < 1e-3


def test_a_loss_that_is_not_finite_keeps_the_start():
    t = training()
    t.run(lambda number: images(2).fill_(torch.nan))
    assert t.result() is t.start


def test_training_on_clips_lowers_the_error_of_later_frames():
    """At the goal, on clips that were held back; and what is measured is of their last frames."""
    converted = started(Wide)
    settings = {"calibration.steps": 50, "calibration.operations": 0.1}
    recipe = get_recipe(DEFAULT, "video").with_settings(settings)

    def clips(n: int, seed: int) -> torch.Tensor:
        drift = images(n * 4, seed=seed).reshape(n, 4, 3, 8, 8).cumsum(1)
        return images(n, seed=seed + 1)[:, None] + 0.1 * drift

    validation = [clips(4, 1000 + k) for k in range(0, 8, 2)]
    t = Training(converted.graph, CLASSES, recipe, converted.neurons, validation)
    assert t.start.operations == pytest.approx(0.1, rel=0.02)
    t.run(lambda number: clips(8, 2 * number))
    result = t.result()
    # The operations of so small a network change in steps.
    assert result.operations == pytest.approx(0.1, rel=0.05)
    assert result.error < t.start.error - 0.1
    network = VideoNetwork(t.ann, (8, 8), recipe.neuron)
    spent = torch.cat([network(x, result.neurons)[1] for x in validation])
    assert spent.mean().item() == pytest.approx(result.operations)


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=6), st.integers(2, 8))
def test_nearest_of_all_symmetric_levels(values, bits):
    weight = torch.tensor([values, [7.0] * len(values)], dtype=torch.float64)
    levels, step = levels_and_step(weight, bits)
    found, other = levels * step[:, None]
    most = 2 ** (bits - 1) - 1
    grid = [k * max(map(abs, values)) / most for k in range(-most, most + 1)]
    for value, q in zip(values, found.tolist(), strict=True):
        assert abs(q - value) <= min(abs(g - value) for g in grid) + 1e-12
        assert min(abs(g - q) for g in grid) < 1e-12
    # Every output channel has its own step.
    assert other.tolist() == [7.0] * len(values)


def test_what_a_chip_stores_are_small_integers():
    """The weights that receive spikes, which hold theta, are integers of -127..127 times a step of the
    output channel.
    """
    for cls in [TinyLeaky, Grouped]:
        plain = spiking(make(cls), images(2), get_recipe("channel-norm"))
        thetas = {name: own["theta"] for name, own in plain.neurons.items() if "theta" in own}
        tensors = rounded_weights(plain.graph, thetas, 8)
        small = replace(plain, graph=replace(plain.graph, tensors=tensors))
        for name, (weight, _) in small.network().synapses._weights.items():
            folded = weight.flatten(1)
            step = folded.abs().amax(1, keepdim=True) / 127
            assert torch.allclose(folded / step, (folded / step).round(), atol=1e-9), name
            assert ((folded / step).round().abs().amax(1) == 127).all()
        for name, tensor in plain.graph.tensors.items():
            assert torch.equal(tensors[name], tensor) == name.endswith("bias")
