"""Synaptic operations against loops over every event and every output that it reaches."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from helpers.counting import total_operations
from helpers.methods import MEMORY
from helpers.networks import Grouped, Pooled, Split, images, make, spiking
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from spiking_yolo.graph import Graph, Node
from spiking_yolo.rate.neurons.layer import NeuronLayer
from spiking_yolo.recipe import Recipe
from spiking_yolo.spikes import operations
from spiking_yolo.spikes.counting import Counts
from spiking_yolo.spikes.operations import fan_out


class Everything(nn.Module):
    """Padding, stride, groups, all kinds of pooling, upsampling, concatenation, addition and linear
    layers.
    """

    def __init__(self):
        super().__init__()
        self.conv1, self.act1 = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.conv2, self.act2 = nn.Conv2d(4, 4, 3, stride=2, padding=1), nn.ReLU()
        self.up = nn.Upsample(scale_factor=2)
        self.conv3, self.act3 = nn.Conv2d(8, 4, 3, padding=1, groups=2), nn.ReLU()
        self.sliding = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        self.conv4 = nn.Conv2d(4, 3, 3)
        self.average, self.linear1 = nn.AvgPool2d(2), nn.Linear(16, 3)
        self.conv5, self.linear2 = nn.Conv2d(4, 5, 2, padding=1), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        pooled = self.pool(self.act1(self.conv1(x)))
        x = self.act3(self.conv3(torch.cat([self.up(self.act2(self.conv2(pooled))), pooled], 1)))
        return (
            self.conv4(self.sliding(x)),
            self.linear1(self.average(x).flatten(1)),
            self.conv5(x + pooled),
            self.linear2(x.mean((2, 3))),
        )


def covers(start: int, kernel: int, i: int) -> bool:
    return start <= i < start + kernel


def conv_operations(events: np.ndarray, conv: nn.Conv2d) -> float:
    """events [C, H, W]. For every event, all outputs: one operation where the kernel covers the
    event.
    """
    (kh, kw), (sh, sw), (ph, pw) = conv.kernel_size, conv.stride, conv.padding
    _, height, width = events.shape
    rows, columns = (height + 2 * ph - kh) // sh + 1, (width + 2 * pw - kw) // sw + 1
    total = 0.0
    for c, y, x in product(*map(range, events.shape)):
        for oy, ox in product(range(rows), range(columns)):
            if covers(oy * sh - ph, kh, y) and covers(ox * sw - pw, kw, x):
                total += events[c, y, x] * conv.out_channels / conv.groups
    return total


def window_sums(events: np.ndarray, kernel: int, stride: int, padding: int) -> np.ndarray:
    """Events inside every window, [C, H', W']."""
    size = (events.shape[1] + 2 * padding - kernel) // stride + 1
    out = np.zeros((len(events), size, size))
    for c, i, j in product(range(len(events)), range(size), range(size)):
        y, x = i * stride - padding, j * stride - padding
        out[c, i, j] = events[c, max(y, 0) : y + kernel, max(x, 0) : x + kernel].sum()
    return out


def pooled_changes(spikes: list[np.ndarray]) -> list[np.ndarray]:
    """Pooling 3/2/1 of spikes [T][4, 8, 8]: the change of the largest running sum in each step."""
    starts = range(-1, 7, 2)
    total, before, changes = np.zeros((4, 8, 8)), np.zeros((4, 4, 4)), []
    for s in spikes:
        total += s
        windows = [
            [total[:, max(y, 0) : y + 3, max(x, 0) : x + 3].max((1, 2)) for x in starts]
            for y in starts
        ]
        after = np.array(windows).transpose(2, 0, 1)
        changes.append(after - before)
        before = after
    return changes


def fewest_digits(n: int) -> int:
    """Signed powers of two that add up to n, by trying both neighbours of an odd number."""
    if n < 2:
        return n
    half = fewest_digits(n // 2)
    return half if n % 2 == 0 else 1 + min(half, fewest_digits(n // 2 + 1))


EVENTS: dict[str, Callable[[int], int]] = {
    "spikes": lambda n: n,
    "digits": fewest_digits,
    "messages": lambda n: int(n > 0),
}


def counted(sent: list[np.ndarray], counting: str) -> np.ndarray:
    """Events of what was sent in thetas: that of a part of a spike is one, and a thousandth is
    rounding.
    """
    return sum(np.vectorize(EVENTS[counting])(np.ceil(np.abs(s) - 1e-3).astype(int)) for s in sent)  # type: ignore


UNPOOLED = {**MEMORY, "threshold.scale": 0.2, "neuron.pool_first": False}


@pytest.mark.parametrize(
    "settings",
    [
        {"threshold.percentile": 90},
        UNPOOLED,
        {**UNPOOLED, "neuron.gamma": 64},
        {"neuron.kind": "msat"},
        {"neuron.kind": "msat", "threshold.scale": 0.2, "neuron.gamma": 5},
    ],
)
def test_against_every_event_and_every_output(settings: dict[str, Any]):
    model: Any = make(Everything)
    x, T = images(2), 6
    graded: list[np.ndarray] = []  # what act1 sends, in thetas
    spikes: dict[str, list[np.ndarray]] = {"act1": [], "act2": [], "act3": []}

    def probe(name: str, t: int, layer: NeuronLayer, current: Tensor | None) -> None:
        spikes[name].append(layer.count.numpy() - sum(spikes[name]))
        if name == "act1":
            graded.append(layer.out.numpy().copy())

    network = spiking(model, x, Recipe("tested"), settings).simulator(observed=True)
    run = network.run(x, T, probes=[probe])
    for i, counting in product(range(2), EVENTS):
        act1, act2, act3 = (counted([s[i] for s in steps], counting) for steps in spikes.values())
        pooled = counted(pooled_changes([s[i] for s in graded]), counting)
        upsampled = act2.repeat(2, 1).repeat(2, 2)
        expected = (
            conv_operations(pooled, model.conv2)
            + conv_operations(np.concatenate([upsampled, pooled]), model.conv3)
            + conv_operations(window_sums(act3, 3, 1, 1), model.conv4)
            + window_sums(act3, 2, 2, 0).sum() * 3
            + conv_operations(act3 + pooled, model.conv5)
            + act3.sum() * 2
        )
        assert expected > 0
        last = run.snapshots[T]
        assert getattr(last.operations, counting)[i].item() == pytest.approx(expected, rel=1e-12)
        sent = act1.sum() + act2.sum() + act3.sum()
        assert getattr(last.sent, counting)[i].item() == sent
        assert getattr(last.pooled, counting)[i].item() == pooled.sum()


def test_both_neurons_of_a_pair_are_counted():
    """A 1 x 1 convolution to 5 channels behind the pair: 5 operations for every spike of either
    neuron.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.LeakyReLU(0.1), nn.Conv2d(4, 5, 1)).double()
    x = images(2)
    network = spiking(model, x, Recipe("tested"), {"threshold.percentile": 50}).network()
    snapshot = network.run(x, 8).snapshots[8]
    assert torch.equal(snapshot.operations.spikes, snapshot.spikes["_1"] * 5)
    assert (snapshot.operations.spikes > 0).all()


def test_a_slice_of_a_pair_is_charged_to_its_reader():
    """Also where only one neuron of each pair, of a constant current, is computed."""
    split = make(Split, act=nn.LeakyReLU(0.1))
    by_layer: list[dict[str, Counts]] = []
    for observed in (False, True):
        network = spiking(split, images(2), Recipe("tested")).simulator(observed=observed)
        by_layer.append(network.run(images(2), 8).snapshots[8].operations_by_layer())
    for name, counts in by_layer[1].items():
        assert torch.allclose(by_layer[0][name].spikes, counts.spikes), name


@given(
    st.tuples(*[st.integers(1, 3)] * 2),
    st.tuples(*[st.integers(1, 3)] * 2),
    st.tuples(*[st.integers(0, 2)] * 2),
)
def test_fan_out_of_any_geometry(kernel: tuple, stride: tuple, padding: tuple):
    conv = nn.Conv2d(4, 6, kernel, stride, padding, groups=2)
    attrs = {"stride": list(stride), "padding": list(padding), "dilation": [1, 1], "groups": 2}
    fan = fan_out(Node("conv", "conv", ("x",), attrs), conv.weight, 5, 4).numpy()
    for y, x in product(range(5), range(4)):
        event = np.zeros((4, 5, 4))
        event[0, y, x] = 1
        assert fan[y, x] == conv_operations(event, conv)


def test_fan_out_with_dilation_by_hand():
    """Kernel 3, dilation 2, padding 2 on a row of 3: the middle is reached by one output, the ends
    by two.
    """
    attrs = {"stride": [1, 1], "padding": [0, 2], "dilation": [1, 2], "groups": 1}
    fan = fan_out(Node("conv", "conv", ("x",), attrs), torch.zeros(1, 1, 1, 3), 1, 3)
    assert fan.tolist() == [[2.0, 1.0, 2.0]]


@torch.no_grad()
def test_costs_of_events_are_what_one_event_more_costs():
    """At every neuron, in one counting; also where nobody asked for gradients."""
    x = images(1)
    network = spiking(make(Pooled), x, Recipe("tested")).network()
    network.run(x, 1)
    shapes, counts = network._shapes, network.counts()
    sent = {name: shapes[name][1:] for name in counts}
    costs = operations.costs_of_events(network.graph, shapes, sent)
    nothing = {name: operations.Counts.alike(torch.zeros(shapes[name])) for name in counts}
    for name, cost in costs.items():
        for at in (0, cost.numel() // 2, -1):
            more = torch.zeros(shapes[name])
            more.view(-1)[at] = 1
            event = {**nothing, name: operations.Counts.alike(more)}
            spent = total_operations(network.graph, event, shapes)
            assert spent.digits.item() == cost.flatten()[at].item()
    # Where only a pooling listens, an event costs nothing.
    assert sum(cost.sum() > 0 for cost in costs.values()) > 1


def test_multiply_accumulates_by_hand():
    """Weights times output positions for one image, less those on padding; only the first layer
    sees analogue values.

    A kernel of 3 with padding 1 on a row of n: of 3 n places 3 n - 2 lie on it; with stride 2 11 of
    12, with dilation 2 and padding 2 8 of 12 of the row of 4.
    """
    x = images(2)
    table: list[tuple[type[nn.Module], int, int]] = [
        (Pooled, 6 * 3 * 22**2, 6 * 6 * 10**2 + 24 * 8 + 8 * 5),
        (Grouped, 6 * 3 * 11**2, 4 * 3 * 8**2 + 4 * 10 * 4 + 5 * 4 * 16),
    ]
    for cls, analogue, others in table:
        run = spiking(make(cls), x, Recipe("tested")).network().run(x, 1)
        assert (run.macs, run.analogue_macs) == (analogue + others, analogue)


def test_many_sums_of_the_same_events_are_followed_once():
    """Doubling 60 times has 2^60 paths back to the neuron."""
    nodes = [Node("x", "input"), Node("relu", "activation", ("x",), {})]
    nodes += [Node(f"add{k}", "add", (f"add{k - 1}" if k else "relu",) * 2) for k in range(60)]
    graph = Graph(tuple(nodes), ("add59",), {})
    assert operations.spiking(graph, {"relu"}) == {node.name for node in nodes[1:]}
    found = operations.events(graph, {"relu": torch.ones(1, 1, 2, 2)})
    assert found["add59"].unique().tolist() == [2.0**60]


def test_what_a_run_costs_is_the_sum_over_its_layers():
    """One product per sender, beside events that are followed to each layer; in inference mode."""
    x = images(2)
    network = spiking(make(Pooled), x, Recipe("tested")).network()
    with torch.inference_mode():
        snapshot = network.run(x, 3).snapshots[3]
    by_layer = snapshot.operations_by_layer()
    assert len(by_layer) > 1
    for k, total in enumerate(snapshot.operations):
        assert torch.equal(total, torch.stack([spent[k] for spent in by_layer.values()]).sum(0))
