"""Canonic signed spikes: a digit of each value per step, against the equation of the paper."""

import torch
from helpers.methods import method, neuron, record, relative_error
from helpers.networks import Pooled, TinyLeaky, images
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.rate.network import spike_weight
from spiking_yolo.rate.neurons.layer import NeuronLayer

RECIPE = get_recipe("css")
# Digits per value.
K = RECIPE.encoding.coarse + 1


class Doubling:
    """The neuron of the paper: A <- 2 A + z, M <- 2 M + s theta; U = phi(A) - 2 M is compared with
    theta / 2. For phi(x) = x it is U <- 2 U + z; U <- U - s theta.
    """

    def __init__(self, theta: float, slope: float):
        self.theta, self.slope, self.a, self.m = theta, slope, 0.0, 0.0
        self.close = False

    def step(self, z: float, silent: bool = False) -> int:
        self.a = 2 * self.a + z
        self.m *= 2
        u = (self.a if self.a > 0 else self.slope * self.a) - self.m
        self.close |= abs(abs(u) - self.theta / 2) < 1e-9
        s = 0
        if u >= self.theta / 2 and not silent:
            s = 1
        elif u < -self.theta / 2 and not silent:
            s = -1
        self.m += s * self.theta
        return s


def digits(layer: NeuronLayer, zs: list[float]) -> list[float]:
    """What a neuron sends in K steps that receive z(t) of weight 2^(K - t)."""
    sent = []
    for t, z in enumerate(zs, 1):
        weight = spike_weight(RECIPE.encoding, t)
        current = torch.tensor([[z * weight]], dtype=torch.float64)
        sent.append(layer(current, weight).item() / weight)
    return sent


@given(
    st.lists(st.floats(-3, 3), min_size=K, max_size=K),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.floats(0.2, 5),
)
def test_the_equation_of_the_paper(zs: list[float], slope: float, theta: float):
    """Unless rounding decides whether a potential is half a threshold."""
    plain, expected = Doubling(theta, slope), []
    for z in zs:
        expected.append(plain.step(z))
    if not plain.close:
        assert digits(neuron(RECIPE, theta=theta, slope=slope), zs) == expected


@given(st.floats(-600, 600), st.sampled_from([0.0, 0.1, 1.0]))
def test_a_value_arrives_within_half_a_theta_of_what_is_in_reach(value: float, slope: float):
    most = 2.0**K - 1
    target = min(max(value if value > 0 else slope * value, -most), most)
    sent = digits(neuron(RECIPE, slope=slope), [value / 2 ** (K - 1)] + [0] * (K - 1))
    assert set(sent) <= {-1, 0, 1}
    decoded = sum(s * 2.0 ** (K - t) for t, s in enumerate(sent, 1))
    assert abs(decoded - target) <= 0.5 + 1e-9


def test_layers_take_turns_and_then_are_silent():
    for cls in [TinyLeaky, Pooled]:
        model, converted = method(cls, "css")
        network = converted.simulator(observed=True)
        sent = record(network, images(2, seed=7), 30)
        for name, steps in sent.items():
            before = network.plan.before[name]
            for t, values in enumerate(steps, 1):
                turn = 1 <= t - before <= K
                largest = 2.0 ** (K + before - t) if turn else 0
                assert set(values.abs().unique().tolist()) <= {0, largest}
        last = max(network.plan.before.values())
        run = converted.network().run(images(2, seed=7), 64, [K + last])
        assert run.settled == run.steps == K + last + 1
        assert relative_error(run.snapshots[64].outputs, model(images(2, seed=7))) < 0.05
        counts = run.snapshots[64].operations
        assert torch.equal(counts.spikes, counts.digits)
        assert torch.equal(counts.spikes, counts.messages)
