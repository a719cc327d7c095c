"""Counting other people's networks: against loops over events and kernel taps, and our own counts."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.counting import work_by_loops
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from spiking_yolo import UserError, count, counting
from spiking_yolo.errors import Notice
from spiking_yolo.metrics.count import spike_unit
from spiking_yolo.spikes.counting import Counts

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@st.composite
def convolutions(draw: Callable[..., Any]) -> tuple[nn.Module, Tensor]:
    """A small convolution of any kind and spikes 0..5 for it, [N, C, ...]."""
    axes = draw(st.integers(1, 3))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(axes))

    groups = draw(st.sampled_from([1, 2, 4]))
    kernel, stride, dilation = each(1, 3), each(1, 3), each(1, 2)
    geometry = {"stride": stride, "dilation": dilation, "groups": groups}
    geometry["padding"] = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    layer = CONVOLUTIONS[axes - 1](4, 8, kernel, **geometry)
    sizes = [draw(st.integers(d * (k - 1) + 1, 6)) for k, d in zip(kernel, dilation, strict=True)]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    spikes = torch.randint(-5, 6, (2, 4, *sizes), generator=generator).relu()
    return layer, spikes.float()


@given(convolutions())
def test_convolutions_by_loops_over_events_and_taps(case: tuple[Any, Tensor]):
    layer, x = case
    work = work_by_loops(layer, x)
    counted = count(layer, x)
    assert counted.images == 2 and counted.T == 1
    assert counted.macs * 2 == work.macs
    assert Counts.of(lambda n: 2 * n, counted.operations) == work[1:]
    assert counted.layers[0].events.messages * 2 == x.count_nonzero().item()


def test_padding_against_a_kernel_of_ones():
    """All outputs of a convolution with ones and no bias: each event adds one to what it reaches."""
    for padding in ["same", "valid", (2, 1)]:
        for mode in ["zeros", "circular", "reflect", "replicate"]:
            geometry: Any = {"padding": padding, "dilation": (1, 2), "padding_mode": mode}
            layer = nn.Conv2d(2, 3, (4, 2), bias=False, **geometry)
            nn.init.ones_(layer.weight)
            torch.manual_seed(0)
            x = (torch.rand(3, 2, 7, 6) < 0.4).float()
            counted = count(layer, x)
            assert counted.operations == Counts.alike(pytest.approx(layer(x).sum().item() / 3))
            everything = layer(torch.ones(1, 2, 7, 6)).sum().item()
            assert counted.macs == pytest.approx(everything)


def test_what_one_spike_is_worth():
    for levels, unit in [
        ([], 1.0),
        ([1.0], 1.0),
        ([3.0, 7.0], 1.0),
        ([0.4], 0.4),
        ([0.5, 0.75, 2.0], 0.25),
        ([2 / 9, 1 / 3, 1.0], 1 / 9),
        ([0.3, 0.3 * 64], 0.3),
        ([0.3, 0.3 * 65], None),
        ([1 / 255, 200 / 255, 1.0], None),
        ([0.301, 0.772], None),
        ([1.0, 2.0, 2.0**24 + 2], None),
        ([float("nan"), 1.0], None),
        ([float("inf")], None),
    ]:
        float32 = torch.tensor(levels, dtype=torch.float32).tolist()
        expected = unit if unit is None else pytest.approx(unit, rel=1e-6)
        assert spike_unit(float32, torch.finfo(torch.float32).eps) == expected


class Spikes(nn.Module):
    """A layer of integrate-and-fire neurons, which keeps its potential; `reset` empties it."""

    def __init__(self, threshold: float = 0.5):
        super().__init__()
        self.threshold = threshold
        self.reset()

    def reset(self) -> None:
        self.potential: Tensor | float = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.potential = self.potential + x
        fired = (self.potential >= self.threshold).float()
        self.potential = self.potential - fired * self.threshold
        return fired


class Network(nn.Module):
    """Convolution, spikes, grouped convolution, spikes, average pooling, linear. One step."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.conv1, self.spikes1 = nn.Conv2d(3, 4, 3, padding=1), Spikes()
        self.norm = nn.BatchNorm2d(4)
        self.conv2, self.spikes2 = nn.Conv2d(4, 6, 3, stride=2, groups=2), Spikes(0.1)
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.spikes2(self.conv2(self.spikes1(self.norm(self.conv1(x)))))
        return self.fc(F.avg_pool2d(x, 3).flatten(1))


class Looped(nn.Module):
    """The network, called T times by itself."""

    def __init__(self, T: int):
        super().__init__()
        self.step, self.T = Network(), T

    def forward(self, x: Tensor) -> Tensor:
        return sum((self.step(x) for _ in range(self.T)), torch.zeros(len(x), 5))


class MultiStep(nn.Module):
    """[T, N, ...] at once: neurons loop over time, layers see T * N images."""

    def __init__(self):
        super().__init__()
        self.step = Network()

    def forward(self, x: Tensor) -> Tensor:
        T, N = x.shape[:2]
        net = self.step

        def over_time(spikes: nn.Module, x: Tensor) -> Tensor:
            steps = x.unflatten(0, (T, N))
            return torch.stack([spikes(steps[t]) for t in range(T)]).flatten(0, 1)

        x = over_time(net.spikes1, net.norm(net.conv1(x.flatten(0, 1))))
        x = over_time(net.spikes2, net.conv2(x))
        return net.fc(F.avg_pool2d(x, 3).flatten(1))


def by_hand(x: Tensor, T: int) -> tuple[float, float]:
    """Operations of conv2 and fc per image, as sums of kernels of ones."""
    net = Network().eval()
    ones = nn.Conv2d(4, 6, 3, stride=2, groups=2, bias=False)
    nn.init.ones_(ones.weight)
    conv2 = fc = 0.0
    with torch.no_grad():
        for _ in range(T):
            spikes = net.spikes1(net.norm(net.conv1(x)))
            conv2 += ones(spikes).sum().item() / len(x)
            fc += net.spikes2(net.conv2(spikes)).sum().item() * 5 / len(x)
    return conv2, fc


def test_whoever_loops_over_time_the_figures_are_the_same():
    x, T = torch.rand(2, 3, 8, 8), 4
    conv2, fc = by_hand(x, T)
    looped = count(Looped(T), x)
    multi = count(MultiStep(), x.expand(T, *x.shape))
    net = Network().eval()
    with counting(net) as counts, torch.no_grad():
        for _ in range(T):
            net(x)
    called = counts.result()
    for counted in (looped, multi, called):
        assert (counted.images, counted.T) == (2, T)
        first, second, third = counted.layers
        assert (first.unit, second.unit) == (None, 1)
        assert second.operations == Counts.alike(pytest.approx(conv2))
        assert third.operations.spikes == pytest.approx(fc) and third.unit == pytest.approx(1 / 9)
        assert third.operations.messages < third.operations.digits < third.operations.spikes
        # Of a kernel of 3 with padding 1 on 8 positions 22 of 24 places lie on the map.
        macs = [4 * 3 * 22**2, 6 * 2 * 9 * 3**2, 6 * 5]
        assert [layer.ann_macs for layer in counted.layers] == macs
        assert counted.analogue_macs == T * macs[0] and counted.macs == sum(macs)
        per_mac = (conv2 + fc) / sum(macs)
        assert counted.operations_per_mac.spikes == pytest.approx(per_mac)
        assert second.inputs == T * 4 * 8 * 8
    assert [layer.name for layer in called.layers] == ["conv1", "conv2", "fc"]


def test_several_batches_and_what_was_called_by_itself():
    net, x = Network().eval(), torch.rand(6, 3, 8, 8)
    with torch.no_grad(), counting(net) as counts:
        for batch in x.split(2):
            net.spikes1.reset()
            net.spikes2.reset()
            net(batch)
            net(batch)
    together = counts.result(N=6)
    assert together.images == 6 and together.T == 2
    assert together.layers[1].operations.spikes == pytest.approx(by_hand(x, 2)[0])
    assert together.operations.spikes == pytest.approx(counts.result(T=2, N=1).operations[0] / 6)
    with counting(net) as counts:
        net.fc(torch.ones(4, 6))
    assert counts.result(N=4).operations.spikes == 30
    # Neither counts once it is over.
    net.fc(torch.ones(4, 6))
    assert counts.result(N=4).operations.spikes == 30


def test_shared_layers_weights_and_biases():
    """A layer that is called twice in a step, another with its weights, one before the loop."""

    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            biases = (True, False, True)
            self.stem, self.a, self.b = (nn.Conv1d(2, 2, 1, bias=bias) for bias in biases)
            self.b.weight = self.a.weight
            self.twice = self.a

        def forward(self, x: Tensor) -> Tensor:
            x = (self.stem(x) > -9).float()
            for _ in range(3):
                self.b(self.twice(self.a(x)).relu().sign())
            return x

    x = torch.ones(5, 2, 7)
    counted = count(Shared(), x, T=3)
    stem, a, b = counted.layers
    assert (stem.runs, a.runs, b.runs) == (1, 6, 3)
    assert (stem.ann_macs, a.ann_macs, b.ann_macs) == (28, 56, 28)
    assert stem.operations.spikes == 2 * 7 * 2
    # More convolutions ran six times per image than three or one times: no.
    assert count(Shared(), x).T == 6


def test_values_that_are_multiplied():
    x = torch.tensor([[0.3, 0.0, -0.71, 0.0]])
    counted = count(nn.Linear(4, 3), x)
    (layer,) = counted.layers
    assert layer.unit is None and layer.operations == layer.events == Counts.alike(0)
    assert (layer.macs, counted.analogue_macs) == (12, 12)
    picture = torch.tensor([[1.0, 0.0, -1.0, 0.0]])
    assert count(nn.Linear(4, 3), picture).operations.spikes == 6
    many = torch.arange(2000.0)[None]
    assert count(nn.Linear(2000, 1), many).layers[0].unit is None


def test_half_precision_and_unbatched_images():
    x = torch.tensor([1 / 3, 2 / 3, 1.0], dtype=torch.bfloat16)
    layer = nn.Linear(3, 2).to(torch.bfloat16)
    counted = count(layer, x)
    assert counted.images == 1 and counted.operations.spikes == 6 * 2
    assert count(nn.Conv2d(3, 1, 1), torch.ones(3, 4, 4)).operations.spikes == 48


def test_what_is_not_counted_is_named():
    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.proj = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
            self.attention = nn.MultiheadAttention(4, 2)
            self.unused = nn.Linear(3, 3)
            self.norm = nn.LayerNorm(4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(self.proj(input=x))
            return self.attention(x, x, x)[0]

    counted = count(Attends(), torch.ones(2, 1, 4), N=2)
    assert [layer.name for layer in counted.layers] == ["proj"]
    uncounted = [name.split()[0] for name in counted.uncounted]
    assert uncounted == ["attention", "attention.out_proj", "unused"]
    assert str(counted).splitlines()[-1].startswith("not counted: attention (MultiheadAttention)")


def test_the_table_and_three_countings():
    """7 = 8 - 1: of ten inputs four messages of two digits reach three outputs."""
    counted = count(nn.Linear(10, 3), 7 * torch.tensor([[1.0] * 4 + [0.0] * 6]))
    assert tuple(counted.operations) == (84, 24, 12) and counted.macs == 30
    lines = str(counted).splitlines()
    assert lines[2].split() == ["-", "1", "30", "28", "84", "24", "12"]
    assert lines[3].split() == ["total", "30", "84", "24", "12"]
    assert lines[4].startswith("2.800 operations per MAC")


def test_mistakes_are_one_line():
    for call, word in [
        (lambda: count(nn.ReLU(), torch.ones(1)), "ReLU has no"),
        (lambda: count(nn.Conv2d(3, 1, 1), torch.ones(0, 3, 8, 8)), "at least one image"),
        (lambda: count(nn.Conv1d(1, 1, 1), torch.ones(3, 1, 4), N=4), "give T and N"),
        (lambda: counting(nn.Linear(3, 2)).__enter__().result(), "call the network"),
    ]:
        with pytest.raises(UserError, match=word) as error:
            call()
        assert "\n" not in str(error.value)


class Keeps(nn.Module):
    """A neuron whose potential stays from call to call."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("threshold", torch.ones(1))
        self.potential = torch.zeros(1)

    def forward(self, x: Tensor) -> Tensor:
        self.potential = self.potential + x
        return (self.potential >= self.threshold).float()


def test_a_network_that_was_not_reset_is_noticed():
    model = nn.Sequential(nn.Conv2d(1, 1, 1), Keeps(), nn.Conv2d(1, 1, 1))
    x = torch.rand(1, 1, 4, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        count(model, x)
    with pytest.warns(Notice, match="1 went on from an earlier call: reset"):
        count(model, x)
