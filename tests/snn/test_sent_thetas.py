"""How many thetas a signed neuron sends is computed in four places, which must agree.

They are the neuron itself (snn/functional.py), its kernel (snn/fast/events.c), the network that is
trained (convert/differentiable.py) and the grid of the analysis (apps/analyze/chain.py).
"""

import math

import pytest
import torch
from helpers.methods import neuron, points, send
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.apps.analyze.chain import Reach, feed
from spiking_yolo.convert.differentiable import CompleteNetwork
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.graph import Activation
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.fast import Backend
from spiking_yolo.snn.layout import SparseRows
from spiking_yolo.snn.neurons import build_neurons
from spiking_yolo.snn.plan import LayerPlan

# Dyadic numbers, with which floating point makes no error.
numbers = st.integers(-2000, 2000).map(lambda n: n / 64)
thetas = st.sampled_from([0.25, 0.5, 1.0, 4.0])
slopes = st.sampled_from([0.0, 0.125, 1.0])
initials = st.sampled_from([0.0, 0.25, 0.5])


def digits(slack: float) -> Recipe:
    return get_recipe("signed-digits").with_settings({"neuron.slack": slack})


def trained(z: float, theta: float, slope: float, initial: float, slack: float) -> float:
    graph = points([([[1.0, 0.0, 0.0]], [0.0]), ([[1.0]], [0.0])], slope)
    network = CompleteNetwork(graph, (1, 1), slack)
    values = {"theta": torch.tensor([theta]), "initial": torch.tensor([initial])}
    x = torch.tensor([z, 0.0, 0.0]).double().view(1, 3, 1, 1)
    outputs, _ = network(x, {"act1": {name: v.double() for name, v in values.items()}})
    return outputs[0].item() / theta


def kernel(z: float, theta: float, slope: float, initial: float, slack: float) -> float | None:
    """None where nothing is event-driven. The first step receives nothing."""
    parameters = {"theta": torch.tensor([theta]), "initial": torch.tensor([initial])}
    plan, backend = LayerPlan(observed=False), Backend(event_driven=True)
    layer = build_neurons(parameters, digits(slack), Activation(slope), plan, backend)
    layer(torch.zeros(1, 1, 1, 1))
    current = SparseRows(torch.tensor([[z]]), torch.tensor([0]), torch.Size((1, 1, 1, 1)))
    sent = layer(current)
    return sent.values.sum().item() if isinstance(sent, SparseRows) else None


@given(numbers, thetas, slopes, initials, st.sampled_from([0.0, 0.25, 0.5]))
def test_the_neuron_its_kernel_and_what_is_trained(
    z: float, theta: float, slope: float, initial: float, slack: float
):
    sent = send(neuron(digits(slack), theta, slope, initial=initial), [z])[0]
    assert sent == trained(z, theta, slope, initial, slack)
    assert kernel(z, theta, slope, initial, slack) in (None, sent)
    if not slack:
        due = (z if z > 0 else slope * z) / theta
        assert sent == math.floor(due + initial)


@given(numbers, thetas, slopes, initials)
def test_the_grid_of_the_analysis(z: float, theta: float, slope: float, initial: float):
    layer = neuron(digits(0.0), theta, slope, initial=initial)
    current = torch.tensor([[z]]).double()
    reach = Reach(current, Activation(slope))
    value = feed(layer, current, 1, lambda t: 1.0, reach.watch)
    assert value.item() == reach.rounded.item()


@given(numbers, thetas, initials, st.integers(1, 6), st.integers(1, 4))
def test_the_grid_in_rate_coding(z: float, theta: float, initial: float, T: int, gamma: int):
    """For constant input; only where no step is clipped, after which a neuron may catch up."""
    settings = {"neuron.kind": "if", "neuron.gamma": gamma}
    layer = neuron(Recipe("test").with_settings(settings), theta, 0.0, initial=initial)
    current = torch.tensor([[z]]).double()
    value = feed(layer, current, T, lambda t: 1.0) / T
    grid = layer.rate_grid(current, [torch.tensor([[theta]]).double()], T)
    if abs(z) / theta + 1 <= gamma:
        assert value.item() == pytest.approx(grid.item(), abs=1e-12)
