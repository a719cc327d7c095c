"""SiLU and mish by signed neurons with memory: a second implementation, what settles, pooling, thresholds,
and refusals.
"""

import math
from math import floor

import pytest
import torch
import torch.nn.functional as F
from helpers.methods import SIGMA_DELTA, recipe_of, relative_error
from helpers.networks import images, make, spiking
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from spiking_yolo.convert.learn.statistics import Histogram
from spiking_yolo.convert.methods import DEFAULT, get_recipe, list_methods
from spiking_yolo.convert.thresholds import YAML, layer_thresholds
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Activation, forward
from spiking_yolo.graph.trace import trace
from spiking_yolo.metrics.costs import NetworkCosts
from spiking_yolo.rate.neurons import build_neurons
from spiking_yolo.rate.neurons.layer import NeuronLayer
from spiking_yolo.recipe import Recipe

SILU = Activation(silu=True)
FOLLOW = [
    name for name, method in list_methods().items() if method.recipe.neuron.kind == "sigma-delta"
]
LEAST = 0.27846454  # of SiLU, at -1.2784645
MISH = Activation(mish=True)


class Smooth(nn.Module):
    """SiLU with max pooling behind it, which must not change places, a shortcut, and both ways to
    call it.
    """

    def __init__(self):
        super().__init__()
        self.conv1, self.act, self.pool = nn.Conv2d(3, 8, 3, padding=1), nn.SiLU(), nn.MaxPool2d(2)
        self.conv2, self.head = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.act(self.conv1(x)))
        return self.head(x + F.silu(self.conv2(x)))


def silu(x: float) -> float:
    return x / (1 + math.exp(-x))


def mish(x: float) -> float:
    return x * math.tanh(math.log1p(math.exp(x)))


BOTH = pytest.mark.parametrize(("phi", "function"), [(SILU, silu), (MISH, mish)])


def neuron(recipe: Recipe, theta: float, phi: Activation = SILU) -> NeuronLayer:
    params = {"theta": torch.tensor([theta]).double(), "initial": torch.tensor(0.5).double()}
    layer = build_neurons(params, recipe, phi)
    layer.reset()
    return layer


def step(layer: NeuronLayer, current: float) -> float:
    return layer(torch.tensor([[current]], dtype=torch.float64)).item()


@given(
    st.lists(st.floats(-8, 8), min_size=1, max_size=30),
    st.floats(0.01, 2),
    st.integers(1, 6),
    st.sampled_from([(SILU, silu), (MISH, mish)]),
)
def test_against_a_second_implementation(currents, theta, gamma, activation):
    """phi(S) is due, of which gamma spikes at most are sent in a step."""
    phi, function = activation
    recipe = SIGMA_DELTA.with_settings({"neuron.gamma": gamma})
    layer, total, sent = neuron(recipe, theta, phi), 0.0, 0
    for current in currents:
        total += current
        exact = function(total) / theta - sent + 0.5
        n = max(-gamma, min(gamma, floor(exact)))
        if abs(exact - round(exact)) < 1e-6:  # rounding may go either way
            return
        assert step(layer, current) == n
        sent += n


def network() -> tuple[nn.Module, Tensor]:
    model = make(Smooth)
    with torch.no_grad():
        for conv in (model.conv1, model.conv2):
            # pre-activations on both sides of the dip.
            conv.weight *= 6
    return model, images(2)


@pytest.mark.parametrize("phi", [SILU, MISH])
def test_the_graph_is_the_network_and_the_pool_stays_behind_the_neurons(phi: Activation):
    """They turn the order round: of -1.2 and -5 the second has the larger one. By the default at
    T = 1.
    """
    model, x = network()
    if phi == MISH:
        model.act = nn.Mish()
    graph = trace(model, x[:1])
    assert [node.phi for node in graph.activations] == [phi, SILU]
    torch.testing.assert_close(forward(graph, x)[0], model(x))
    assert F.silu(model.conv1(x)).min() < -0.27
    converted = spiking(model, x, get_recipe(DEFAULT))
    sent = converted.network().sent(x)["act"]
    assert sent.shape[-2:] == x.shape[-2:]  # not a quarter of them
    outputs = converted.network().run(x, 1).snapshots[1].outputs
    assert relative_error(outputs, model(x)) < 0.1


@pytest.mark.parametrize("name", FOLLOW)
def test_the_error_falls_with_every_method_that_follows_the_sum(name):
    model, x = network()
    converted = spiking(model, x, recipe_of(name))
    found = converted.network().run(x, 256, [2, 32])
    errors = [relative_error(s.outputs, model(x)) for s in found.snapshots.values()]
    complete = converted.recipe.counting == "digits"  # in the first step
    assert (errors[0] > 4 * errors[2] or complete) and errors[2] < 0.1
    model = NetworkCosts.of(converted)
    height, width = x.shape[2:]
    # One pooled to half.
    assert model.exponentials == 1 and model.passed.exponentials == 8 * height * width * 5 / 4


def test_theta_covers_what_phi_makes_of_both_sides():
    """By hand: theta is 0.1 of the largest |silu|; channels that are positive, small, and only
    negative.
    """
    histogram = Histogram.empty(4)
    histogram.update(torch.tensor([[[5.0, 4.0], [0.3, -0.1], [0.1, -0.5], [-1.0, -3.0]]]))
    recipe = get_recipe("dcgs").with_settings({"threshold.rule": "max", "threshold.scale": 0.1})
    theta = layer_thresholds(histogram, SILU, recipe)["theta"]
    expected = [0.1 * silu(5), 0.1 * silu(0.3), -0.1 * silu(-0.5), 0.1 * LEAST]
    assert theta.tolist() == pytest.approx(expected, rel=1e-5)


@BOTH
def test_reach_is_that_of_a_dense_grid(phi, function):
    for above, below in ((0.0, 0.5), (3.0, 1.0), (0.1, 9.0)):
        points = torch.linspace(-below, above, 100001, dtype=torch.float64)
        grid = torch.tensor([function(x) for x in points.tolist()], dtype=torch.float64)
        found = phi.reach(*torch.tensor([[above], [below]], dtype=torch.float64))
        expected = [grid.max().item(), -grid.min().item()]
        assert [side.item() for side in found] == pytest.approx(expected, abs=1e-8)


def test_other_methods_refuse_with_the_ways_out():
    assert YAML.is_file() and "torch.nn.ReLU()" in YAML.read_text()
    model, x = network()
    for name in set(list_methods()) - set(FOLLOW):
        with pytest.raises(UserError) as caught:
            spiking(model, x, recipe_of(name), {"calibration.T": 1})
        said = str(caught.value)
        assert "'act' has a silu" in said and "signed-digits" in said
        assert f"model={YAML}" in said
