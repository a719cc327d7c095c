"""The network of whole numbers against one in int64, with and without its kernels."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
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
    images,
    make,
    same,
    spiking,
)
from helpers.whole_numbers import WholeNumbers
from torch import Tensor, nn

from spiking_yolo.convert.load import Converted
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.errors import UserError
from spiking_yolo.graph import forward
from spiking_yolo.graph.rewrites import distribute_sums, product_sources, with_identities
from spiking_yolo.graph.trace import trace
from spiking_yolo.integer import convolution
from spiking_yolo.integer.convolution import WholeConvolution
from spiking_yolo.integer.network import IntegerNetwork
from spiking_yolo.integer.step import Frame
from spiking_yolo.snn.counting import Counts

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


NETWORKS = (TinyLeaky, Residual, Pooled, Grouped, Bottleneck, Patches, Attending)


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
            neurons[name] = {"bias": torch.rand(5, generator=generator) - 0.5}
    return replace(result, neurons=neurons, spec=replace(result.spec, height=8, width=8))


def integer(given: Converted, **options: Any) -> IntegerNetwork:
    return IntegerNetwork(given.spiking_graph, given.neurons, given.recipe, given.spec, **options)


def frames(n: int = 2, size: int = 8) -> list[Tensor]:
    """Of n videos: a patch changes, nothing does, another patch, and then all."""
    x = images(n, size=size)
    y, z = x.clone(), x.clone()
    y[:, :, 2:4, 3:5] = 1 - y[:, :, 2:4, 3:5]
    z[:, :, -1] = 1 - z[:, :, -1]
    return [x, y, y, z, images(n, seed=3, size=size)]


def follow(
    network: IntegerNetwork, dead_zone: float = 0.0, size: int = 8
) -> Iterator[tuple[Any, Frame]]:
    frame = None
    for x in frames(size=size):
        run = network.run(x, before=frame, dead_zone=dead_zone * (frame is not None))
        frame = run.frame
        yield run.snapshots[1], frame


@pytest.fixture(params=["plain", "kernels", "kernels without int8", "two threads"])
def route(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """How a network is computed."""
    if request.param == "kernels without int8":
        monkeypatch.setattr(convolution, "has_exact_int8", lambda: False)
    threads = torch.get_num_threads()
    torch.set_num_threads(2 if request.param == "two threads" else 1)
    yield request.param
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("cls", "method"),
    [*((cls, "signed-digits") for cls in NETWORKS), (TinyLeaky, "few-spikes"), (Pooled, "sfn")],
)
@pytest.mark.parametrize("dead_zone", [0.0, 0.4])
def test_against_a_second_implementation(route: str, cls: Any, method: str, dead_zone: float):
    """Heads, all that is sent, events and operations: a photograph, and later frames of videos."""
    given = converted(cls, method)
    network, reference, before = integer(given, fast=route != "plain"), WholeNumbers(given), None
    if dead_zone and not given.recipe.keeps_frames:
        return
    for x, (snapshot, frame) in zip(frames(), follow(network, dead_zone), strict=True):
        if not given.recipe.keeps_frames:
            frame = network.run(x).frame
            before = None
        found = reference.frame(x.numpy(), before, dead_zone)
        before = dict(found.sent)
        for output, expected in zip(frame.outputs, found.outputs, strict=True):
            assert np.array_equal(output.numpy(), expected)
        for name in network.senders:
            sent = frame.sent[name].float()
            if frame.sent[name].dtype == torch.uint8:
                sent = sent - 128
            assert np.array_equal(sent.numpy(), found.sent[name]), name
            spent = Counts.unstacked(frame.events[name])
            for counted, events in zip(spent, found.counts[name], strict=True):
                each = events.reshape(*events.shape[:2], -1).sum((1, 2))
                assert np.array_equal(counted.flatten(1).sum(1).numpy(), each), name
        if not given.recipe.keeps_frames:
            continue
        assert snapshot.operations_by_layer().keys() == found.operations.keys()
        for name, operations in found.operations.items():
            spent = snapshot.operations_by_layer()[name]
            assert np.array_equal(torch.stack(list(spent)).numpy(), operations), name


@pytest.mark.parametrize("cls", NETWORKS)
def test_a_batch_is_its_images(cls: type[nn.Module]):
    given, x = integer(converted(cls)), images(8)
    together = given.run(x).snapshots[1]
    for k in range(8):
        alone = given.run(x[k : k + 1]).snapshots[1]
        for both, one in zip(together.outputs, alone.outputs, strict=True):
            assert torch.equal(both[k : k + 1], one)
        for both, one in zip(together.operations, alone.operations, strict=True):
            assert both[k] == one.item()


@pytest.mark.parametrize("cls", NETWORKS)
@pytest.mark.parametrize("fast", [False, True])
def test_a_later_frame_is_a_photograph_of_it(cls: type[nn.Module], fast: bool):
    """Without dead zone and digit-saving rounding what has been sent does not depend on what was
    shown before; and what did not change sends nothing.
    """
    network = integer(converted(cls, **{"neuron.slack": 0}), fast=fast)
    for k, (x, (snapshot, frame)) in enumerate(zip(frames(), follow(network), strict=True)):
        alone = network(x)
        assert all(map(torch.equal, alone.outputs, frame.outputs))
        assert all(torch.equal(sent, frame.sent[name]) for name, sent in alone.sent.items())
        assert bool(snapshot.sent.messages.any()) == (k != 2)


@pytest.mark.parametrize("cls", [TinyLeaky, Residual, Bottleneck])
def test_where_little_changes_only_what_it_reaches_is_computed(
    route: str, cls: type[nn.Module], monkeypatch: pytest.MonkeyPatch
):
    """Beside the network without kernels, which computes all sums in each frame."""
    few: list[int] = []
    at = WholeConvolution.at

    def recorded(self: WholeConvolution, x: Tensor, zero: int, where: Tensor, *args: Any) -> Tensor:
        few.append(len(where))
        return at(self, x, zero, where, *args)

    monkeypatch.setattr(WholeConvolution, "at", recorded)
    given = converted(cls)
    given = replace(given, spec=replace(given.spec, height=40, width=40))
    plain, network = integer(given, fast=False), integer(given, fast=route != "plain")
    steps = zip(follow(plain, 0.1, 40), follow(network, 0.1, 40), strict=True)
    for (expected, whole), (snapshot, frame) in steps:
        assert same(expected, snapshot)
        assert all(map(torch.equal, whole.outputs, frame.outputs))
    assert bool(few) == (route != "plain"), "all is computed"


def test_a_frame_may_be_followed_twice():
    """By two streams; and by the first one again."""
    network, (x, y, _, z, _) = integer(converted(TinyLeaky)), frames()
    first = network.run(x).frame
    second = network.run(y, before=first).frame
    plain = integer(converted(TinyLeaky), fast=False)
    expected = [plain.run(z, before=one).frame for one in (second, first)]
    found = [network.run(z, before=one).frame for one in (second, first, second)]
    for one, other in zip(found, [*expected, expected[0]], strict=True):
        assert all(map(torch.equal, one.outputs, other.outputs))
        assert torch.equal(one.events["act2"], other.events["act2"])


def test_images_are_rounded_to_bytes():
    network, x = integer(converted(TinyLeaky)), images(2)
    rounded = (x * 255).round() / 255
    for other in (rounded, rounded.float(), rounded + 1e-4, x.float()):
        assert all(map(torch.equal, network(other).outputs, network(x).outputs))
    assert not torch.equal(network(x + 1 / 255).outputs[0], network(x).outputs[0])
    # Out of range is white, or black.
    assert torch.equal(network(x * 0 + 3).outputs[1], network(x * 0 + 1).outputs[1])


def test_steps_after_the_first_are_the_same_and_no_probe_looks():
    network, seen = integer(converted(TinyLeaky)), []
    run = network.run(images(1), 8, [1, 3], progress=seen.append, maps=True)
    assert list(run.snapshots) == [1, 3, 8] and (run.steps, run.settled, seen) == (1, 1, [1])
    one, *others = run.snapshots.values()
    assert all(torch.equal(other.outputs[0], one.outputs[0]) for other in others)
    assert one.maps["act1"].shape == (1, 8, 8) and others[1].t == 8
    with pytest.raises(ValueError, match="SpikingNetwork"):
        network.run(images(1), probes=[print])


def test_layers_read_sums_term_by_term():
    """Also behind slices: the ANN is the same, and its layers read no sum; so is what is sent."""
    for cls in (Split, Bottleneck):
        one, x = converted(cls), images(2)
        graph = distribute_sums(one.graph)
        for y, wanted in zip(forward(graph, x), forward(one.graph, x), strict=True):
            torch.testing.assert_close(y, wanted)
        read = [name for node in graph.weighted for name in node.inputs]
        assert "add" not in {graph[name].op for name in read}
        fast, plain = (integer(one, fast=fast)(x) for fast in (True, False))
        assert all(map(torch.equal, fast.outputs, plain.outputs))


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

    def outputs(without: set[str]) -> Tensor:
        neurons = dict(given.neurons)
        for name in without:
            neurons[name] = {key: one for key, one in neurons[name].items() if key != "rest"}
        return integer(replace(given, neurons=neurons))(x).outputs[0]

    assert torch.equal(outputs(set()), outputs(padded))
    every = {node.name for node in given.graph.activations}
    assert not torch.equal(outputs(set()), outputs(every))


class PooledSum(nn.Module):
    """The largest sums of two maps of neurons. [N, 3, 8, 8]."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.one(x))
        return self.head(F.max_pool2d(x + F.relu(self.two(x)), 2))


def test_the_largest_of_sums_of_two_scales_is_refused():
    with pytest.raises(UserError, match=r"adds maps of several scales.*max_pool"):
        integer(converted(PooledSum))
