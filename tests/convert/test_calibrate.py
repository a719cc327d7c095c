"""What methods learn by running the network: balanced thresholds and corrections."""

from typing import Any

import pytest
import torch
from helpers.methods import Chain, points
from helpers.networks import Pooled, TinyLeaky, images, make, spiking, statistics
from torch import Tensor

from spiking_yolo.convert import calibrate as calibrating
from spiking_yolo.convert.learn.differentiable import VideoNetwork, sensitivity
from spiking_yolo.convert.load import Converted
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.convert.thresholds import least_thetas
from spiking_yolo.graph import Graph, forward
from spiking_yolo.models.spec import Spec
from spiking_yolo.rate.network import SpikingNetwork
from spiking_yolo.recipe import Recipe

BALANCE = {"threshold.rule": "balance", "threshold.scope": "layer"}


def balanced(model: Any, beta: float, T: int, scope: str) -> list[Tensor]:
    """A second implementation for Chain: carries values n * theta, one layer after the other."""
    thetas: list[Tensor] = []
    for wanted in (model.conv1, model.conv2):
        highest = torch.zeros(6, dtype=torch.float64)
        for x in images(2).split(1):
            u = torch.zeros(())
            for _ in range(T):
                s = x
                if wanted is model.conv2:
                    theta = thetas[0][:, None, None]
                    u = u + model.conv1(x)
                    fired = (u >= theta).double()
                    u = u - fired * theta
                    s = model.pool(fired * theta)
                highest = torch.maximum(highest, wanted(s).amax((0, 2, 3)))
        theta = (
            torch.where(highest > 0, highest, highest.max())
            if scope == "channel"
            else highest.max().expand(6)
        )
        thetas.append((theta * beta).float().double())
    return thetas


@torch.no_grad()
def test_balance_against_a_second_implementation():
    for beta, T in [(1.0, 4), (0.7, 30)]:
        for scope in ["layer", "channel"]:
            model = make(Chain)
            settings = {
                **BALANCE,
                "threshold.scope": scope,
                "threshold.scale": beta,
                "calibration.T": T,
            }
            neurons = spiking(model, images(2), Recipe("tested"), settings).neurons
            for name, theta in zip(
                ("relu1", "relu2"), balanced(model, beta, T, scope), strict=True
            ):
                found = neurons[name]["theta"].double()
                torch.testing.assert_close(found, theta, rtol=1e-6, atol=0)
            z = model.conv2(model.pool(torch.relu(model.conv1(images(2)))))  # type: ignore[operator]
            # The ANN's maximum would not do.
            assert (neurons["relu2"]["theta"].max() / beta - z.max()).abs() > 0.01


def test_both_sides_of_a_pair_are_balanced_by_hand():
    """Slope 1/2. Layer 1: z = 1, -0.6, -1, both thetas 1. It sends 1 in every step, and -1/2 by
    turns for -0.6.

    Layer 2, weights 1, 4, 0: its currents are 1 and 1 - 2 = -1. The ANN's pre-activation is 1 - 4 *
    0.3 = -0.2.
    """
    graph = points(
        [([[1.0], [-0.6], [-1.0]], [0.0] * 3), ([[1.0, 4.0, 0.0]], [0.0]), ([[1.0]], [0.0])],
        slope=0.5,
    )
    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    neurons = spiking(graph, one, Recipe("tested"), BALANCE).neurons
    assert neurons["act1"]["theta"].tolist() == neurons["act1"]["theta_off"].tolist() == [1.0] * 3
    assert (neurons["act2"]["theta"].item(), neurons["act2"]["theta_off"].item()) == (1.0, 1.0)


def one_layer(kind: str, **settings: Any) -> Converted:
    """theta = 1, half-threshold start, T = 4, on the places 1 and 0.35; the head is 2 a + 1."""
    graph = points([([[1.0]], [0.0]), ([[2.0]], [1.0])])
    x = torch.tensor([1.0, 0.35], dtype=torch.float64).reshape(1, 1, 1, 2)
    start = {"threshold.rule": "max", "neuron.initial": 0.5, "calibration.T": 4}
    return spiking(graph, x, Recipe("tested"), {**start, "calibration.kind": kind, **settings})


def test_corrections_by_hand():
    """Rates 1 and floor(1/2 + 1.4) / 4 = 1/4: (0 - 0.1) / 2 too little. light: 0.05 more current;
    advanced: 4 * 0.05.

    Either way the second place then fires floor(2.1) times in 4 steps. The head gives 3 and 2, the
    ANN 3 and 1.7: its bias falls by 0.15.
    """
    for kind in ["light", "advanced"]:
        converted = one_layer(kind)
        site, head = converted.neurons["act1"], converted.neurons["head"]
        if kind == "light":
            assert site["bias"].tolist() == pytest.approx([0.05]) and site["initial"].item() == 0.5
        else:
            assert site["initial"].tolist() == pytest.approx([0.7]) and "bias" not in site
        assert head["bias"].tolist() == pytest.approx([-0.15]) and set(head) == {"bias"}
        x = torch.tensor([1.0, 0.35], dtype=torch.float64).reshape(1, 1, 1, 2)
        output = converted.network().run(x, 4).snapshots[4].outputs[0]
        assert output.flatten().tolist() == pytest.approx([2.85, 1.85])


def excess(graph: Graph, converted: Converted, name: str, plain: bool) -> float:
    """Norm of the mean difference between SNN and ANN, per channel, at node `name`; plain: without
    corrections.
    """
    part = graph.up_to(name)
    neurons = converted.neurons
    if plain:
        initial = torch.tensor(converted.recipe.neuron.initial)
        kept = ("theta", "theta_off")
        neurons = {
            k: {**{q: v[q] for q in kept if q in v}, "initial": initial} for k, v in neurons.items()
        }
    network = SpikingNetwork(part, neurons, converted.recipe)
    T = converted.recipe.calibration.T
    got, expected = network.run(images(12), T).snapshots[T].outputs[0], forward(part, images(12))[0]
    return (got - expected).transpose(0, 1).flatten(1).mean(1).norm().item()


@pytest.mark.parametrize("kind", ["light", "advanced"])
@pytest.mark.parametrize("cls", [Pooled, TinyLeaky])
def test_corrections_reduce_the_mean_error(cls: Any, kind: str):
    """Of the heads to nothing, on the calibration images: on a classifier and on a detector with
    two heads.

    A start at zero floors every rate, which is what layers are corrected for.
    """
    graph = spiking(make(cls), images(2), Recipe("tested")).graph
    settings = {"calibration.T": 8, "neuron.initial": 0.0}
    converted = spiking(graph, images(12), get_recipe(f"calibration-{kind}"), settings)
    layers = [node.name for node in graph.activations]
    before, after = (
        {n: excess(graph, converted, n, p) for n in (*layers, *graph.outputs)}
        for p in (True, False)
    )
    for name in graph.outputs:
        assert before[name] > 1e-3 and after[name] < 1e-6
    assert sum(after[n] for n in layers) < 0.8 * sum(before[n] for n in layers)


def walking(seed: int) -> Tensor:
    """Clips of noise in which a square changes from frame to frame, [4, 4, 3, 8, 8]."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(4, *size, generator=generator, dtype=torch.float64)

    frames = (0.5 + 0.3 * normal(1, 3, 8, 8)).expand(4, 4, 3, 8, 8) + 0.03 * normal(4, 3, 8, 8)
    frames[..., 2:5, 2:5] += 0.3 * normal(4, 3, 1, 1)
    return frames.clamp(0, 1)


@pytest.mark.parametrize("cls", [TinyLeaky, Pooled])
def test_later_frames_take_the_goal_and_channels_cost_what_they_err(cls, monkeypatch):
    """Ranges are of other pictures, so that some channels of the clips exceed 8 bits, and TinyLeaky
    has poolings that send events of their own.
    """
    graph = spiking(make(cls), images(2), Recipe("tested")).graph
    recipe = get_recipe("signed-digits", "video")
    recipe = recipe.with_settings({"calibration.operations": 0.1})
    observed, clips = statistics(graph, images(8)), [walking(k) for k in range(3)]
    least, neuron = least_thetas(graph, observed.histograms), recipe.neuron
    network = VideoNetwork(graph, (8, 8), neuron, least)
    weights = sensitivity(network.graph, [x[:, -1] for x in clips])
    spec = Spec("classify", tuple("abcde"), 8, 8)

    def difference(rounds: int) -> float:
        """Between the shares of the channels in the operations and in the error, at most 1."""
        monkeypatch.setattr(calibrating, "ROUNDS", rounds)
        neurons = calibrating.calibrate(
            calibrating.CalibrationJob(graph, spec, observed, recipe, clips)
        )
        spent = torch.cat([network(x, neurons)[1] for x in clips]).mean().item()
        assert spent == pytest.approx(0.1, rel=0.1)
        costs, errors = calibrating.measured(network, neurons, clips, weights)
        assert sum(cost.sum().item() for cost in costs.values()) == pytest.approx(spent)
        cost, error = (torch.cat([*parts.values()]) for parts in (costs, errors))
        return (cost / cost.sum() - error / error.sum()).abs().sum().item() / 2

    assert difference(rounds=4) < difference(rounds=0) / 2
