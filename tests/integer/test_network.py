"""The network of whole numbers, in C and in PyTorch, against one in int64."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.attention import Attending
from helpers.networks import (
    Grouped,
    Pooled,
    Residual,
    Split,
    TinyLeaky,
    engine,
    images,
    make,
    spiking,
)
from helpers.whole_numbers import WholeNumbers
from torch import Tensor, nn

from spiking_yolo.convert.load import Converted
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.errors import UserError
from spiking_yolo.graph import forward, shapes
from spiking_yolo.graph.rewrites import distribute_sums, product_sources, with_identities
from spiking_yolo.graph.trace import trace
from spiking_yolo.integer.network import IntegerNetwork
from spiking_yolo.models.spec import Spec

START = {"calibration.kind": "none", "threshold.rule": "percentile", "threshold.scale": 0.02}


class Bottleneck(nn.Module):
    """C2f in small: SiLU and mish, halves of the channels of which one goes on, a shortcut that a
    convolution reads, and padding behind neurons at rest. [N, 3, 8, 8].
    """

    def __init__(self):
        super().__init__()
        self.stem, self.cv1 = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 6, 3, 2, 1)
        self.m1, self.m2 = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.cv2, self.head = nn.Conv2d(9, 7, 3, padding=1), nn.Conv2d(7, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        low, high = F.silu(self.cv1(F.mish(self.stem(x)))).chunk(2, 1)
        more = high + F.silu(self.m2(F.silu(self.m1(high))))
        return self.head(F.silu(self.cv2(torch.cat([low, high, more], 1))))


class Patches(nn.Module):
    """The image is cut to patches and pooled before any layer; slices of what was joined; a sum of
    three maps, ReLU6, and maxima of odd maps. [N, 3, 8, 8].
    """

    def __init__(self):
        super().__init__()
        self.conv, self.pool = nn.Conv2d(9, 4, 3, padding=1), nn.MaxPool2d(2)
        self.own, self.act = nn.Conv2d(4, 6, 3, padding=1), nn.ReLU6()
        self.left, self.right = nn.Conv2d(7, 6, 1), nn.Conv2d(3, 6, 3, padding=1)
        self.head = nn.Conv2d(6, 5, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x[:, :, ::2, ::2], x[:, :, 1::2, ::2], self.pool(x)], 1)
        x = F.relu(self.conv(x))
        y = self.act(self.own(x))
        both = torch.cat([x, y], 1)
        y = F.relu(self.left(both[:, :7]) + y + self.right(both[:, 7:]))
        return self.head(F.max_pool2d(y, 3, 2, 1, ceil_mode=True))


class GroupedSums(nn.Module):
    """Convolutions of groups that read a sum (the blocks of YOLOv10), and one that is joined with
    other maps. [N, 3, 8, 8].
    """

    def __init__(self):
        super().__init__()
        self.stem, self.side = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.each = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.pairs = nn.Conv2d(8, 6, 3, padding=1, groups=2)
        self.head = nn.Conv2d(6, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        y = x + F.relu(self.side(x))
        z = y + F.relu(self.each(y))
        return self.head(F.relu(self.pairs(torch.cat([z, x], 1))))


class Slices(nn.Module):
    """Slices of a layer's sums, which reads a slice; of maps that are added, one of which is cut
    elsewhere too; and of what is joined with such a sum, none of which is taken. A head that is a
    term of another one, and maxima behind neurons. [N, 3, 8, 8].
    """

    def __init__(self):
        super().__init__()
        self.stem, self.side = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.cut, self.head = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(2, 5, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = F.relu(self.stem(x))
        y = F.relu(self.side(x))
        low = self.head(F.relu(self.cut(x[:, 1:3])[:, 2:]))
        high = self.head((x + y)[:, 2:])
        last = self.head(torch.cat([x, x + y], 1)[:, 1:3])
        return low, high, low + last, F.max_pool2d(F.relu(self.side(y)), 2)


class Flattened(nn.Module):
    """Maps of two sizes that are flattened and joined, sums that are flattened or averaged, means of
    windows that are not square, and flat heads. [N, 3, 8, 8].
    """

    def __init__(self):
        super().__init__()
        self.stem, self.side = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.flat, self.mean = nn.Linear(4 * 64 + 4 * 16, 5), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = F.relu(self.stem(x))
        y = x + F.relu(self.side(x))
        flat = torch.cat([y.flatten(1), F.max_pool2d(x, 2).flatten(1)], 1)
        heads = self.flat(flat), self.mean(y.mean((2, 3)))
        means = F.avg_pool2d(x, (2, 4), (4, 2))
        return *heads, x.flatten(1), self.side(means).flatten(1)


NETWORKS = (TinyLeaky, Residual, Pooled, Grouped, Bottleneck, Patches, Attending)
NETWORKS += (GroupedSums, Slices, Flattened)


@cache
def converted(cls: type[nn.Module], method: str = "signed-digits", **settings: Any) -> Converted:
    """With random values at rest, biases and initial potentials."""
    start = START if method == "signed-digits" else {}
    graph = with_identities(trace(make(cls), images(1)))
    result = spiking(graph, images(2), get_recipe(method), start | settings)
    generator = torch.Generator().manual_seed(1)
    neurons: dict[str, Mapping[str, Tensor]] = {}
    fixed = product_sources(result.graph)
    for node in result.graph.activations:
        own = dict(result.neurons[node.name])
        draw = torch.rand(3, len(own["theta"]), generator=generator)
        if method == "signed-digits":
            own["initial"] = 0.5 + 0.2 * draw[0]
            own["bias"] = own["theta"] * draw[1]
            if node.name not in fixed:
                own["rest"] = (draw[2] * 1024).round() / 256 - 2
        neurons[node.name] = own
    for name in result.graph.outputs:
        if name not in neurons:
            size = shapes(result.graph, 8, 8)[name][1]
            neurons[name] = {"bias": torch.rand(size, generator=generator) - 0.5}
    return replace(result, neurons=neurons, spec=replace(result.spec, height=8, width=8))


def outputs(network: IntegerNetwork, x: Tensor) -> tuple[Tensor, ...]:
    return network.run(x).snapshots[1].outputs


def frames(n: int = 2) -> list[Tensor]:
    """Of n videos: a patch changes, nothing does, another patch, and then all."""
    x = images(n)
    y, z = x.clone(), x.clone()
    y[:, :, 2:4, 3:5] = 1 - y[:, :, 2:4, 3:5]
    z[:, :, -1] = 1 - z[:, :, -1]
    return [x, y, y, z, images(n, seed=3)]


# What later frames are told, one after the other.
WAYS: dict[str, list[dict[str, Any]]] = {
    "followed": [{}] * 5,
    "dead zones": [{"dead_zone": dead_zone} for dead_zone in (0.4, 0.4, 0, 0.8, 0.4)],
    "lossless": [{"lossless": True}] * 5,
}


# How a network is computed, and the frames.
ENGINES = [("reference", "dead zones"), ("reference", "lossless"), ("C", "followed")]
ENGINES += [("C", "dead zones"), ("C", "lossless")]


@pytest.mark.parametrize(
    ("cls", "method"),
    [*((cls, "signed-digits") for cls in NETWORKS), (TinyLeaky, "few-spikes"), (Pooled, "sfn")],
)
@pytest.mark.parametrize(("how", "way"), ENGINES)
def test_against_a_second_implementation(cls: Any, method: str, how: str, way: str):
    """Heads, all that is sent, events and operations: a photograph, and later frames of videos."""
    given = converted(cls, method)
    network, reference, before = engine(given, how != "reference"), WholeNumbers(given), None
    state = network.start(2)
    for x, options in zip(frames(), WAYS[way], strict=True):
        snapshot = network.run(x, state=state, maps=True, **options).snapshots[1]
        found = reference.frame(x.numpy(), before, **options)
        sent, before = state.sent(), dict(found.sent)
        for output, expected in zip(snapshot.outputs, found.outputs, strict=True):
            assert np.array_equal(output.numpy(), expected)
        for name in network.plan.senders:
            assert np.array_equal(sent[name].numpy(), found.sent[name]), name
            each = found.counts[name].reshape(3, 2, -1).sum(2)
            assert np.array_equal(np.stack(snapshot.sent_by_layer[name]), each), name
        assert snapshot.operations_by_layer().keys() == found.operations.keys()
        for name, operations in found.operations.items():
            spent = snapshot.operations_by_layer()[name]
            assert np.array_equal(np.stack(spent), operations), name


@pytest.mark.parametrize("cls", NETWORKS)
def test_a_batch_is_its_images(cls: type[nn.Module]):
    given, x = engine(converted(cls)), images(8)
    together = given.run(x).snapshots[1]
    for k in range(8):
        alone = given.run(x[k : k + 1]).snapshots[1]
        for both, one in zip(together.outputs, alone.outputs, strict=True):
            assert torch.equal(both[k : k + 1], one)
        for both, one in zip(together.operations, alone.operations, strict=True):
            assert both[k] == one.item()


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("cls", NETWORKS)
def test_a_later_frame_is_a_photograph_of_it(fast: bool, cls: type[nn.Module]):
    """Without dead zone and digit-saving rounding what has been sent does not depend on what was
    shown before; and what did not change sends nothing.
    """
    network = engine(converted(cls, **{"neuron.slack": 0}), fast)
    state = network.start(2)
    for k, x in enumerate(frames()):
        snapshot, alone = network.run(x, state=state).snapshots[1], network.sent(x)
        assert all(map(torch.equal, snapshot.outputs, outputs(network, x)))
        assert all(torch.equal(sent, alone[name]) for name, sent in state.sent().items())
        assert bool(snapshot.sent.messages.any()) == bool(snapshot.updates.any()) == (k != 2)


def test_images_are_rounded_to_bytes():
    network, x = engine(converted(TinyLeaky)), images(2)
    given, rounded = outputs(network, x), (x * 255).round()
    for other in (rounded.byte(), rounded / 255, rounded / 255 + 1e-4, x.float()):
        assert all(map(torch.equal, outputs(network, other), given))
    assert not torch.equal(outputs(network, x + 1 / 255)[0], given[0])
    # Out of range is white, or black.
    assert torch.equal(outputs(network, x * 0 + 3)[1], outputs(network, x * 0 + 1)[1])


def test_steps_after_the_first_are_the_same_and_no_probe_looks():
    network, seen = engine(converted(TinyLeaky)), []
    run = network.run(images(1), 8, [1, 3], progress=seen.append, maps=True)
    assert list(run.snapshots) == [1, 3, 8] and (run.steps, run.settled, seen) == (1, 1, [1])
    one, *others = run.snapshots.values()
    assert all(torch.equal(other.outputs[0], one.outputs[0]) for other in others)
    assert one.maps["act1"].shape == (1, 8, 8) and others[1].t == 8
    with pytest.raises(ValueError, match="SpikingNetwork"):
        network.run(images(1), probes=[print])


def test_layers_read_sums_term_by_term():
    """Also behind slices: the ANN is the same, and its layers read no sum; so is what is sent."""
    for cls in (Split, Bottleneck, GroupedSums):
        one, x = converted(cls), images(2)
        graph = distribute_sums(one.graph, shapes(one.graph, 8, 8))
        for y, wanted in zip(forward(graph, x), forward(one.graph, x), strict=True):
            torch.testing.assert_close(y, wanted)
        read = [name for node in graph.weighted for name in node.inputs]
        assert "add" not in {graph[name].op for name in read}
        assert all(map(torch.equal, *(outputs(engine(one, fast), x) for fast in (True, False))))


class Padded(nn.Module):
    """Maps that are padded outside of convolutions. [N, 3, 8, 8]."""

    def __init__(self):
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3)
        self.side, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(8, 5, 1)
        self.pad = nn.ZeroPad2d(1)

    def forward(self, x: Tensor) -> Tensor:
        body = F.relu(self.body(self.pad(F.relu(self.stem(x)))))
        pooled = F.avg_pool2d(F.leaky_relu(self.side(x), 0.1), 3, 1, 1)
        return self.head(torch.cat([body, pooled], 1))


def test_padded_maps_have_no_zero_points():
    given = converted(Padded)
    padded = {node.inputs[0] for node in given.graph.nodes if node.op in ("pad", "avg_pool")}
    assert len(padded) == 2
    x = images(2).float()

    def without(names: set[str]) -> Tensor:
        neurons = dict(given.neurons)
        for name in names:
            neurons[name] = {key: one for key, one in neurons[name].items() if key != "rest"}
        return outputs(engine(replace(given, neurons=neurons)), x)[0]

    assert torch.equal(without(set()), without(padded))
    every = {node.name for node in given.graph.activations}
    assert not torch.equal(without(set()), without(every))


class PooledSum(nn.Module):
    """The largest sums of two maps of neurons. [N, 3, 8, 8]."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.one(x))
        return self.head(F.max_pool2d(x + F.relu(self.two(x)), 2))


@pytest.mark.parametrize("border", [{"ceil_mode": True}, {"count_include_pad": False}])
def test_average_pooling_that_divides_by_fewer_at_the_border_is_refused(border: dict[str, bool]):
    pool = nn.AvgPool2d(3, 2, padding=1, **border)
    whole = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), pool, nn.Conv2d(4, 5, 1))
    given = spiking(whole, images(2, size=10).float(), get_recipe("signed-digits"), START)
    with pytest.raises(UserError, match=r"divides by fewer values at the border"):
        engine(given)


def test_a_network_without_neurons_is_refused():
    graph = trace(nn.Sequential(nn.Conv2d(3, 5, 1)), images(1).float())
    recipe, spec = get_recipe("signed-digits"), Spec("classify", tuple("abcde"), 8, 8)
    with pytest.raises(UserError, match="no activation"):
        IntegerNetwork(graph, {}, recipe, spec)


def test_the_largest_of_sums_of_two_scales_is_refused():
    with pytest.raises(UserError, match=r"adds maps of several scales.*max_pool"):
        engine(converted(PooledSum))
