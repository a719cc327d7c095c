"""What a run promises: convergence to the ANN, snapshots, batches, resets, progress, and the mean of the
head's current.
"""

from typing import Any

import pytest
import torch
from helpers.methods import MEMORY, points, relative_error
from helpers.networks import ALL, Pooled, Residual, TinyLeaky, images, make, numbers, same, spiking
from torch import Tensor, nn

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.graph.rewrites import readout_nodes
from spiking_yolo.rate.network import SpikingNetwork
from spiking_yolo.recipe import Recipe

COARSE, DIFFERENTIAL = ({**MEMORY, "threshold.scale": scale} for scale in (0.25, 0.1))
KINDS = {
    "if": {"threshold.percentile": 100, "neuron.initial": 0.5},
    "ibt": {"threshold.percentile": 100, "neuron.kind": "ibt"},
}


class SpikesIntoNeurons(nn.Module):
    """Activations that read pooled spikes, and maps of different sizes that are flattened together.
    [N, 3, 8, 8].
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.Conv2d(3, 2, 5)
        self.fc = nn.Linear(4 * 9 + 2 * 4, 5)
        self.relu, self.leaky = nn.ReLU(), nn.LeakyReLU(0.5)
        self.average, self.pool = nn.AvgPool2d(2), nn.MaxPool2d(2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.relu(self.conv1(x))
        z = self.pool(self.leaky(self.pool(self.leaky(self.conv2(x)))))
        features = torch.cat([self.relu(self.average(y)).flatten(1), z.flatten(1)], 1)
        return self.fc(features), features


EVERY = (*ALL, SpikesIntoNeurons)


def network(
    cls: type[nn.Module], settings: dict[str, Any], x: Tensor, observed: bool = False
) -> SpikingNetwork:
    return spiking(make(cls), x, Recipe("tested"), settings).simulator(observed=observed)


@torch.no_grad()
@pytest.mark.parametrize(
    ("cls", "kind"),
    [*((cls, "if") for cls in EVERY), *((cls, "ibt") for cls in (TinyLeaky, SpikesIntoNeurons))],
)
def test_rates_converge_to_the_ann(cls: type[nn.Module], kind: str):
    x, steps = images(2), [16, 64, 512]
    expected = make(cls)(x)
    run = network(cls, KINDS[kind], x).run(x, 512, steps)
    for i, target in enumerate(expected if isinstance(expected, tuple) else (expected,)):
        errors = [relative_error([run.snapshots[t].outputs[i]], target) for t in steps]
        assert errors[0] > errors[1] > errors[2], errors
        # An IBT neuron that fires both signs keeps an error: for good, whatever T, it sends +1 and
        # -1 at unequal cost.
        assert errors[2] < (0.05 if kind == "ibt" else 0.03), errors


@pytest.mark.parametrize(
    ("cls", "settings"),
    [*((TinyLeaky, s) for s in (*KINDS.values(), COARSE, DIFFERENTIAL)), (Residual, COARSE)],
)
def test_no_state_leaks_between_runs_or_images(cls: type[nn.Module], settings: dict[str, Any]):
    """The same bits for each snapshot alone, after other images, and after a batch of another size
    and image size; and for each image alone.

    A library may sum in another order for a batch of another size. In float64 that moves no spike:
    counts stay equal.
    """
    x, steps = images(3), [1, 2, 5, 12, 20]
    net = network(cls, settings, x)
    first = net.run(x, 20, steps, maps=True).snapshots
    assert [snapshot.t for snapshot in first.values()] == list(first) == steps
    net.run(images(3, seed=9), 7)
    net.run(images(1, size=12), 3)
    for t in steps:
        assert same(net.run(x, t, maps=True).snapshots[t], first[t])
    for i in range(3):
        single = net.run(x[i : i + 1], 20, maps=True).snapshots[20]
        for a, b in zip(numbers(single), numbers(first[20]), strict=True):
            rounding = 1e-12 if any(b is output for output in first[20].outputs) else 0
            torch.testing.assert_close(a, b[i : i + 1], rtol=0, atol=rounding)


def test_progress_and_probes_see_every_step():
    x, seen, probed = images(1), [], []
    net = network(Pooled, KINDS["if"], x, observed=True)
    probe = lambda name, t, layer, current: probed.append((name, t))  # noqa: E731
    net.run(x, 5, progress=seen.append, probes=[probe])
    assert seen == [1, 2, 3, 4, 5]
    assert probed == [(name, t) for t in seen for name in net.neurons]


@pytest.mark.parametrize("kind", ["if", "memory"])
def test_a_run_is_its_steps_and_can_go_on(kind: str):
    x = images(2)
    net = network(TinyLeaky, KINDS.get(kind, DIFFERENTIAL), x)
    expected = net.run(x, 12, [5]).snapshots
    net.start(x)
    for t in range(1, 13):
        net.step()
        assert t not in expected or same(net.snapshot(), expected[t])
    net.run(x, 5)
    for _ in range(5, 12):
        net.step()
    assert same(net.snapshot(), expected[12])


def test_what_cannot_be_simulated():
    with pytest.raises(ValueError, match="IntegerNetwork"):
        spiking(make(TinyLeaky), images(2), get_recipe("sfn")).simulator()
    with pytest.raises(ValueError, match="observed=True"):
        network(TinyLeaky, {}, images(2)).run(images(2), 2, probes=[lambda *_: None])


def outputs(skip: int, T: int, steps: list[int]) -> dict[int, float]:
    """z = 3/8, theta = 1: spikes at t = 3, 6 and 8. The head is 8 s + 1."""
    graph = points([([[1.0]], [0.0]), ([[8.0]], [1.0])])
    neurons = {"act1": {"theta": torch.ones(1), "initial": torch.tensor(0.0)}}
    x = torch.full((1, 1, 1, 1), 3 / 8, dtype=torch.float64)
    recipe = Recipe("tested").with_settings({"readout.skip": skip})
    run = SpikingNetwork(graph, neurons, recipe).run(x, T, steps)
    return {t: snapshot.outputs[0].item() for t, snapshot in run.snapshots.items()}


def test_mean_over_all_steps_by_hand():
    expected = {1: 1, 3: 1 + 8 / 3, 4: 3, 6: 1 + 16 / 6, 8: 4}
    assert outputs(0, 8, [1, 3, 4, 6]) == pytest.approx(expected)


def test_mean_after_a_warm_up_by_hand():
    """skip = 3 leaves the first spike out: of steps 4 to 8 two fire. Before there is anything to
    read it is zero.
    """
    expected = {2: 0, 3: 0, 4: 1, 6: 1 + 8 / 3, 8: 1 + 16 / 5}
    assert outputs(3, 8, [2, 3, 4, 6]) == pytest.approx(expected)


ENDS = {
    "TinyLeaky": "up cat head1 head2",
    "Residual": "mean.mean mean fc",
    "Pooled": "body_10",
    "Split": "getitem_1 add getitem_2 getitem_3 getitem_4 cat getitem_5 conv3",
    "Grouped": "body_6",
}


@pytest.mark.parametrize("cls", ALL)
def test_the_linear_end_is_what_no_neuron_and_no_pooling_reads(cls):
    """What is read does not depend on how often."""
    x = images(2)
    net = network(cls, {}, x)
    end = ENDS[cls.__name__].split()
    assert [node.name for node in readout_nodes(net.graph)] == end
    often, seldom = net.run(x, 12, range(1, 13)), net.run(x, 12, [5])
    for t in (5, 12):
        assert all(map(torch.equal, seldom.snapshots[t].outputs, often.snapshots[t].outputs))
