"""What the tests of the methods share: one neuron, one layer, a plain chain of layers, and what
every layer sent.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from helpers.networks import images, make, spiking
from spiking_yolo.convert.load import Converted
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.graph import Activation, Graph, Node
from spiking_yolo.integer.neuron import WholeLayer, fire
from spiking_yolo.rate.network import SpikingNetwork
from spiking_yolo.rate.neurons import build_neurons
from spiking_yolo.rate.neurons.layer import NeuronLayer
from spiking_yolo.recipe import Neuron, Recipe, Threshold

# Signed neurons that send the changes of what they follow, as bursts, without calibration.
SIGMA_DELTA = Recipe(
    "sigma-delta",
    threshold=Threshold(rule="mmse", scope="channel", scale=1 / 16),
    neuron=Neuron(kind="sigma-delta", gamma=4, initial=0.5),
)
# The settings of such neurons.
MEMORY = {"neuron.kind": "sigma-delta", "neuron.gamma": 4, "neuron.initial": 0.5}


def recipe_of(name: str) -> Recipe:
    """That of a method, or SIGMA_DELTA by its name."""
    return SIGMA_DELTA if name == SIGMA_DELTA.name else get_recipe(name)


class Chain(nn.Module):
    """ReLU and average pooling only, so that any converter takes it. [N, 3, 8, 8]."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.relu1 = nn.ReLU()
        self.pool = nn.AvgPool2d(2)
        self.conv2, self.relu2 = nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()
        self.flatten, self.fc = nn.Flatten(), nn.Linear(96, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.flatten(self.relu2(self.conv2(self.pool(self.relu1(self.conv1(x)))))))


def method(
    cls: type[nn.Module], name: str, settings: Mapping[str, Any] | None = None
) -> tuple[nn.Module, Converted]:
    """A network of the tests and its conversion by a registered method, calibrated on images(2)."""
    model = make(cls)
    return model, spiking(model, images(2), get_recipe(name), settings)


def relative_error(got: Iterable[Tensor], expected: Any) -> float:
    """The largest relative error of the outputs."""
    expected = expected if isinstance(expected, tuple) else (expected,)
    return max(((a - b).norm() / b.norm()).item() for a, b in zip(got, expected, strict=True))


def neuron(
    recipe: Recipe,
    theta: Any = 1,
    slope: Any = 0,
    theta_off: Any = 1,
    cap: float | None = None,
    **params: Any,
) -> NeuronLayer:
    """One neuron, or pair, of a recipe, ready for its first step; params: gain, bias,
    initial_off.
    """
    values = {
        "theta": [theta],
        "theta_off": [theta_off],
        "initial": recipe.neuron.initial,
        "gain": 1,
        **params,
    }
    phi = Activation(float(slope), cap)
    built = build_neurons(
        {k: torch.tensor(v, dtype=torch.float64) for k, v in values.items()}, recipe, phi
    )
    built.reset()
    return built


def send(layer: NeuronLayer, zs: Iterable[Any]) -> list[float]:
    """What one neuron sends in every step, in thresholds."""
    return [layer(torch.tensor([[float(z)]], dtype=torch.float64)).item() for z in zs]


def fired(
    recipe: Recipe,
    value: float,
    before: float | None = None,
    slope: float = 0.0,
    theta: float = 1.0,
    rest: float = 0.0,
) -> int:
    """k that one neuron of a network of whole numbers has sent, of a value in thetas / theta."""
    one, old = torch.ones(1), None
    if before is not None:
        old = torch.tensor([[before]])
    offset = one * (recipe.neuron.initial - 0.5 - rest)
    phi = Activation(slope)
    layer = WholeLayer(phi, recipe.neuron, (one / theta,), one * 0, one, offset, None)
    return int(fire([torch.tensor([[value]])], layer, old).item())


def conv(name: str, source: str) -> Node:
    plain = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}
    return Node(name, "conv", (source,), plain)


def points(layers: list[tuple[list[list[float]], list[float]]], slope: float = 0.0) -> Graph:
    """1x1 convolutions (weight, bias) with an activation between each two: sites act1, act2, ...,
    output `head`.
    """
    nodes, tensors = [Node("x", "input")], {}
    for i, (weight, bias) in enumerate(layers, 1):
        name = "head" if i == len(layers) else f"conv{i}"
        nodes.append(conv(name, nodes[-1].name))
        tensors[f"{name}.weight"] = torch.tensor(weight, dtype=torch.float64)[:, :, None, None]
        tensors[f"{name}.bias"] = torch.tensor(bias, dtype=torch.float64)
        if name != "head":
            nodes.append(Node(f"act{i}", "activation", (name,), {"slope": slope}))
    return Graph(tuple(nodes), ("head",), tensors)


def record(network: SpikingNetwork, x: Tensor, T: int) -> dict[str, Tensor]:
    """What every layer sent in every step, in units: [T, N, ...]. Steps in which a layer rests are
    zeros.
    """
    sent: dict[str, dict[int, Tensor]] = {}

    def probe(name: str, t: int, layer: NeuronLayer, current: Tensor | None) -> None:
        sent.setdefault(name, {})[t] = layer.out.clone()

    network.run(x, T, probes=[probe])
    silence = {name: torch.zeros_like(steps[1]) for name, steps in sent.items()}
    stacked = {}
    for name, s in sent.items():
        stacked[name] = torch.stack([s.get(t, silence[name]) for t in range(1, T + 1)])
    return stacked
