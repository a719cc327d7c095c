"""Canonic signed spikes: a digit of each value per step, against the equation of the paper."""

import pytest
import torch
from helpers.methods import method, neuron, points, record, relative_error
from helpers.networks import Pooled, TinyLeaky, images
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.snn.network import SpikingNetwork, spike_weight
from spiking_yolo.snn.neurons.layer import NeuronLayer

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


def test_a_network_is_the_plain_loop_over_the_equation():
    """Three layers of two neurons, each one step behind the one before; biases in the first z."""
    weights = [[[0.7, -0.4], [0.3, 0.9]], [[0.8, 0.5], [-0.6, 0.7]], [[0.4, -0.9], [1.1, 0.2]]]
    biases = [[0.05, -0.02], [0.1, 0.04], [-0.03, 0.06]]
    head = ([[0.9, -1.3]], [0.2])
    thetas, slope, image = [0.011, 0.013, 0.009], 0.1, [0.83, -0.37]
    graph = points([*zip(weights, biases, strict=True), head], slope)
    neurons, half = {}, torch.tensor(0.5)
    for k, theta in enumerate(thetas, 1):
        neurons[f"act{k}"] = {"theta": torch.full((2,), theta), "initial": half}
    network = SpikingNetwork(graph, neurons, RECIPE, observed=True)
    x = torch.tensor(image, dtype=torch.float64).view(1, 2, 1, 1)
    sent = record(network, x, K + 4)
    output = network.run(x, K + 4).snapshots[K + 4].outputs[0].item()

    # Doubled in each step, what arrives in the first step weighs 2^(K - 1) at the end of the first
    # layer's turn, and 2^K and 2^(K + 1) at that of the layers after it.
    layers = [[Doubling(float(torch.tensor(theta)), slope) for _ in range(2)] for theta in thetas]
    decoded = [0.0, 0.0]
    for t in range(1, K + 3):
        arrived = image if t == 1 else [0.0, 0.0]
        scale = 2.0 ** -(K - 1)
        for k, layer in enumerate(layers):
            turn = k < t <= k + K
            fired = []
            for i, cell in enumerate(layer):
                z = sum(w * a for w, a in zip(weights[k][i], arrived, strict=True))
                z = (z + biases[k][i] * (t == 1)) * scale
                # The layer's own unit: its last digit weighs 1 at t = K + k.
                fired.append(cell.step(z, silent=not turn) if t <= k + K else 0)
                value = fired[-1] * 2.0 ** (K + k - t) * cell.theta
                assert sent[f"act{k + 1}"][t - 1, 0, i].item() * cell.theta == pytest.approx(value)
                if k == 2:
                    decoded[i] += value
            # Real values for the next layer, which divides by the weight of its own step.
            arrived = [
                s * 2.0 ** (K + k - t) * cell.theta for s, cell in zip(fired, layer, strict=True)
            ]
            scale = 2.0 ** -(K + k + 1 - t)
    expected = sum(w * d for w, d in zip(head[0][0], decoded, strict=True)) + head[1][0]
    assert output == pytest.approx(expected)


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
