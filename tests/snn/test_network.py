"""What a run promises: convergence to the ANN, snapshots, batches, resets, units, memory."""

import gc
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.methods import recipe_of
from helpers.networks import ALL, UNTRAINED, Pooled, Residual, TinyLeaky, images, make, spiking
from torch import Tensor, nn

from spiking_yolo.convert.methods import list_methods
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph
from spiking_yolo.graph.trace import trace
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.network import SpikingNetwork
from spiking_yolo.snn.neurons import NeuronLayer
from spiking_yolo.snn.readout import Run, Snapshot

MEMORY = {
    "neuron.kind": "sigma-delta",
    "neuron.gamma": 4,
    "neuron.initial": 0.5,
    "threshold.scale": 0.25,
}
DIFFERENTIAL = {**MEMORY, "threshold.scale": 0.1}
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
        self.conv1, self.conv2, self.fc = (
            nn.Conv2d(3, 4, 3),
            nn.Conv2d(3, 2, 5),
            nn.Linear(4 * 9 + 2 * 4, 5),
        )
        self.relu, self.leaky = nn.ReLU(), nn.LeakyReLU(0.5)
        self.average, self.pool = nn.AvgPool2d(2), nn.MaxPool2d(2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.relu(self.conv1(x))
        z = self.pool(self.leaky(self.pool(self.leaky(self.conv2(x)))))
        features = torch.cat([self.relu(self.average(y)).flatten(1), z.flatten(1)], 1)
        return self.fc(features), features


def network(
    cls: type[nn.Module], settings: dict[str, Any], x: Tensor, observed: bool = False
) -> SpikingNetwork:
    return spiking(make(cls), x, Recipe("tested"), settings).network(observed=observed)


def assert_same(a: Snapshot, b: Snapshot, part: slice | None = None) -> None:
    """Bit by bit; part: the images of b that a holds, whose outputs may then differ by rounding.

    A library may sum in another order for a batch of another size. In float64 that moves no spike:
    counts stay equal.
    """
    rounding = 0.0 if part is None else 1e-12
    part = part or slice(None)
    for x, y in zip(a.outputs, b.outputs, strict=True):
        torch.testing.assert_close(x, y[part], rtol=0, atol=rounding)
    assert a.spikes.keys() == b.spikes.keys() and all(
        torch.equal(a.spikes[k], b.spikes[k][part]) for k in a.spikes
    )
    assert torch.equal(a.operations.spikes, b.operations.spikes[part])
    assert a.maps.keys() == b.maps.keys() and all(
        torch.equal(a.maps[k], b.maps[k][part]) for k in a.maps
    )


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cls", [*ALL, SpikesIntoNeurons])
def test_rates_converge_to_the_ann(cls: type[nn.Module], kind: str):
    model, x = make(cls), images(2)
    expected = model(x)
    expected = expected if isinstance(expected, tuple) else (expected,)
    steps = [16, 64, 512]
    run = spiking(model, x, Recipe("tested"), KINDS[kind]).network().run(x, 512, steps)
    for i, target in enumerate(expected):
        errors = [
            ((run.snapshots[t].outputs[i] - target).norm() / target.norm()).item() for t in steps
        ]
        assert errors[0] > errors[1] > errors[2], errors
        # An IBT neuron that fires both signs keeps an error: for good, whatever T, it sends +1 and
        # -1 at unequal cost.
        assert errors[2] < (0.05 if kind == "ibt" else 0.03), errors


@torch.no_grad()
@pytest.mark.parametrize("cls", [*ALL, SpikesIntoNeurons])
def test_differential_coding_comes_closer_with_finer_steps(cls: type[nn.Module]):
    model, x = make(cls), images(2)
    expected, errors = model(x), []
    expected = expected if isinstance(expected, tuple) else (expected,)
    for scale in (0.2, 0.02, 0.002):
        run = (
            spiking(model, x, Recipe("tested"), {**DIFFERENTIAL, "threshold.scale": scale})
            .network()
            .run(x, 1000)
        )
        assert run.steps < 1000
        outputs = run.snapshots[1000].outputs
        errors.append(
            max(((a - b).norm() / b.norm()).item() for a, b in zip(outputs, expected, strict=True))
        )
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.005, errors


@pytest.mark.parametrize("settings", [KINDS["if"], MEMORY, DIFFERENTIAL])
def test_one_run_gives_every_snapshot(settings: dict[str, Any]):
    x = images(2)
    net = network(TinyLeaky, settings, x)
    steps = [1, 2, 5, 12, 20]
    together = net.run(x, 20, steps, maps=True)
    assert sorted(together.snapshots) == steps
    for t in steps:
        assert together.snapshots[t].t == t
        assert_same(together.snapshots[t], net.run(x, t, maps=True).snapshots[t])


@pytest.mark.parametrize("settings", [*KINDS.values(), MEMORY, DIFFERENTIAL])
def test_no_state_leaks_between_runs(settings: dict[str, Any]):
    """The same bits when run twice, after other images, and after a batch of another size and image
    size.
    """
    x, other = images(3), images(3, seed=9)
    net = network(TinyLeaky, settings, x)
    first = net.run(x, 20, maps=True).snapshots[20]
    assert_same(net.run(x, 20, maps=True).snapshots[20], first)
    net.run(other, 7)
    net.run(images(1, size=12), 3)
    assert_same(net.run(x, 20, maps=True).snapshots[20], first)


@pytest.mark.parametrize("settings", [*KINDS.values(), MEMORY, DIFFERENTIAL])
@pytest.mark.parametrize("cls", [TinyLeaky, Residual])
def test_a_batch_of_three_is_three_batches_of_one(cls: type[nn.Module], settings: dict[str, Any]):
    x = images(3)
    net = network(cls, settings, x)
    batch = net.run(x, 20, maps=True).snapshots[20]
    for i in range(3):
        single = net.run(x[i : i + 1], 20, maps=True).snapshots[20]
        assert_same(single, batch, slice(i, i + 1))


def test_pooling_before_the_neuron_settles_on_the_same_output_with_fewer_neurons():
    x = images(2)
    first, last = (
        network(TinyLeaky, {**DIFFERENTIAL, "neuron.pool_first": p}, x).run(x, 500)
        for p in (True, False)
    )
    for a, b in zip(first.snapshots[500].outputs, last.snapshots[500].outputs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
    first, last = (
        network(Pooled, {**MEMORY, "neuron.pool_first": p}, x).run(x, 1) for p in (True, False)
    )
    assert sum(first.neurons.values()) == 6 * 4 * 4 + 6 * 4 * 4 + 8
    assert sum(last.neurons.values()) == 6 * 8 * 8 + 6 * 4 * 4 + 8


def test_neurons_spikes_and_maps_agree():
    """A pair counts as two neurons; a map is the mean over the neurons of a position."""
    x = images(2)
    run = network(TinyLeaky, KINDS["if"], x).run(x, 10, maps=True)
    assert run.neurons == {"act1": 2 * 4 * 64, "act2": 2 * 6 * 16, "act3": 2 * 4 * 16}
    snapshot = run.snapshots[10]
    for name, channels in (("act1", 4), ("act2", 6), ("act3", 4)):
        total = snapshot.maps[name].sum((1, 2)) * 2 * channels
        assert torch.allclose(total, snapshot.spikes[name].float())
    assert not network(TinyLeaky, KINDS["if"], x).run(x, 10).snapshots[10].maps


def test_readout_may_skip_the_warm_up():
    """output(t) = (sum of z over skip < k <= t) / (t - skip), from the means of a run without
    skipping.
    """
    x = images(2)
    every = network(TinyLeaky, KINDS["if"], x).run(x, 12, range(1, 13)).snapshots
    net = network(TinyLeaky, {**KINDS["if"], "readout.skip": 5}, x)
    skipped = net.run(x, 12, [6, 9]).snapshots
    for t in (6, 9, 12):
        for i, output in enumerate(skipped[t].outputs):
            expected = (t * every[t].outputs[i] - 5 * every[5].outputs[i]) / (t - 5)
            torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)
    with pytest.raises(UserError, match=r"readout\.skip=5"):
        net.run(x, 5)


@pytest.mark.parametrize(("T", "steps"), [(0, []), (-3, []), (4, [5]), (4, [0, 2])])
def test_steps_outside_the_run_are_refused(T: int, steps: list[int]):
    x = images(1)
    with pytest.raises(UserError, match=r"1\.\.T"):
        network(Pooled, KINDS["if"], x).run(x, T, steps)


def test_a_site_without_threshold_is_refused():
    x = images(1)
    converted = spiking(make(TinyLeaky), x, Recipe("tested"))
    neurons = {k: v for k, v in converted.neurons.items() if k != "act2"}
    with pytest.raises(UserError, match="act2"):
        SpikingNetwork(converted.graph, neurons, converted.recipe)


def test_progress_and_probes_see_every_step():
    x, seen, probed = images(1), [], []
    net = network(Pooled, KINDS["if"], x, observed=True)
    net.run(
        x,
        5,
        progress=seen.append,
        probes=[lambda name, t, layer, current: probed.append((name, t))],
    )
    assert seen == [1, 2, 3, 4, 5]
    assert probed == [(name, t) for t in seen for name in net.neurons]


def integer_spikes(
    graph: Graph, x: Tensor, recipe: Recipe
) -> tuple[list[tuple[str, int, Tensor]], Run]:
    spikes: list[tuple[str, int, Tensor]] = []

    def probe(name: str, t: int, layer: NeuronLayer, current: Tensor | None) -> None:
        spikes.append((name, t, layer.out.clone()))

    return spikes, spiking(graph, x, recipe).network(observed=True).run(x, 12, probes=[probe])


RULES = [("sigma-delta", {"threshold.rule": rule}) for rule in ("percentile", "mmse", "max")]
# Random numbers are drawn anew for a scaled image.
DETERMINISTIC = {"encoding.input": "analogue", "calibration.T": 8}


@pytest.mark.parametrize("j", [-3, 5])
@pytest.mark.parametrize(("method", "settings"), [*((name, {}) for name in list_methods()), *RULES])
def test_scaled_input_and_biases_give_identical_spikes(
    method: str, settings: dict[str, Any], j: int
):
    """Times 2^j, with thresholds recomputed: every spike of every step is the same, the output is
    scaled.
    """
    x, recipe = images(2), recipe_of(method).with_settings({**DETERMINISTIC, **settings})
    if recipe.by_gradient:
        # Training sees the scores, which do not scale.
        recipe = recipe.with_settings(UNTRAINED)
    graph = trace(make(TinyLeaky), x[:1])
    scaled = {k: v * 2.0**j if k.endswith(".bias") else v for k, v in graph.tensors.items()}
    before, run = integer_spikes(graph, x, recipe)
    after, run_scaled = integer_spikes(replace(graph, tensors=scaled), x * 2.0**j, recipe)
    assert len(before) == len(after) and any(n.any() for _, _, n in before)
    for (name, t, n), (name_after, t_after, n_after) in zip(before, after, strict=True):
        assert (name, t) == (name_after, t_after) and torch.equal(n, n_after)
    for a, b in zip(run.snapshots[12].outputs, run_scaled.snapshots[12].outputs, strict=True):
        assert torch.equal(a * 2.0**j, b)


def live_bytes() -> int:
    # Not what compilers leave behind.
    tensors = [o for o in gc.get_objects() if type(o) in (Tensor, nn.Parameter)]
    return sum(
        {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values()
    )


@pytest.mark.parametrize("settings", [KINDS["if"], MEMORY, DIFFERENTIAL])
def test_memory_does_not_grow_with_time(settings: dict[str, Any]):
    """Bytes of all live tensors, during and after a run of 256 steps and one of 16, with 16
    snapshots each.
    """
    x = images(2, size=32)
    converted = spiking(make(TinyLeaky), x, Recipe("tested"), settings)

    def peak(T: int) -> int:
        gc.collect()
        before, net, seen = live_bytes(), converted.network(), []
        run = net.run(
            x,
            T,
            range(T // 16, T + 1, T // 16),
            progress=lambda t: t % (T // 4) or seen.append(live_bytes()),
        )
        assert len(run.snapshots) == 16
        return max([*seen, live_bytes()]) - before

    # What the first run of a process allocates for good.
    peak(16)
    short = peak(16)
    # less: a settled network's snapshots are one.
    assert short > 100_000 and peak(256) <= 1.05 * short
