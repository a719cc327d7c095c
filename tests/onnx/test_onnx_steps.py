"""The steps that are exported, before they are: in float64 they are the simulator to rounding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.attention import Attending
from helpers.networks import ALL, Pooled, Split, Strided, TinyLeaky, images, make, spiking
from torch import Tensor, nn

pytest.importorskip("onnxscript")

from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.methods import DEFAULT, TUNED, VIDEO, get_recipe, list_methods
from spiking_yolo.errors import UserError
from spiking_yolo.graph.rewrites import with_identities
from spiking_yolo.graph.trace import trace
from spiking_yolo.onnx.complete import CompleteStep, sends_complete_values
from spiking_yolo.onnx.rate import RateStep
from spiking_yolo.onnx.steps import CLOCK, Step
from spiking_yolo.snn.counting import Counts
from spiking_yolo.snn.readout import Snapshot
from spiking_yolo.snn.stream import Stream

UNTRAINED = {"calibration.kind": "none", "threshold.rule": "max", "threshold.scale": 0.03}


class PooledTwice(nn.Module):
    """The first of two poolings before the neurons sends events of its own. [N, 3, 8, 8]."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.MaxPool2d(2),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(4, 5, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def complete(model: nn.Module, changes: Mapping[str, Any] | None = None) -> Converted:
    """Converted by signed digits, with a value at rest in each layer but those of a softmax."""
    graph = with_identities(trace(model, images(1)))
    settings = {**UNTRAINED, **(changes or {})}
    net = spiking(graph, images(2), get_recipe("signed-digits"), settings)
    neurons = {}
    for k, (name, own) in enumerate(net.neurons.items()):
        generator = torch.Generator().manual_seed(k)
        rest = torch.randint(-2, 3, own["theta"].shape, generator=generator).double()
        bias = torch.rand(own["theta"].shape, generator=generator).double() / 50
        softmax = (
            name in graph._by_name and graph[name].op == "activation" and graph[name].phi.softmax
        )
        neurons[name] = (
            own if softmax or "initial" not in own else {**own, "rest": rest, "bias": bias}
        )
    return replace(net, neurons=neurons)


def zeros(step: Step, batch: int) -> dict[str, Tensor]:
    states = {}
    for name, shape in step.states.items():
        sizes = shape if name == CLOCK else (batch, *shape[1:])
        states[name] = torch.zeros(sizes, dtype=torch.float64)
    return states


def assert_same(events: Mapping[str, Tensor], sent: Mapping[str, Counts]) -> None:
    """events: [N, 3 or 3 C, ...] by sender, as a step counts them."""
    assert events.keys() == sent.keys()
    for name, counts in events.items():
        for one, total in zip(counts.chunk(3, 1), sent[name], strict=True):
            torch.testing.assert_close(one.flatten(1).sum(1).double(), total, msg=name)


def assert_outputs(outputs: Any, snapshot: Snapshot) -> None:
    for output, expected in zip(outputs, snapshot.outputs, strict=True):
        torch.testing.assert_close(output, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("cls", [*ALL, Strided, Attending, PooledTwice])
@pytest.mark.parametrize("slack", [0.0, 0.2])
def test_a_photograph(cls, slack):
    net = complete(make(cls), {"neuron.slack": slack})
    step = CompleteStep(net.graph, (8, 8), net.neurons, net.recipe, stateful=False)
    x = images(3, seed=1)
    stepped = step(x, {})
    snapshot = net.network().run(x, 1).snapshots[1]
    assert_outputs(stepped.outputs, snapshot)
    assert_same(stepped.events, snapshot.sent_by_layer)


@pytest.mark.parametrize("cls", [TinyLeaky, Split, Attending])
@pytest.mark.parametrize("changes", [{}, {"neuron.hysteresis": 0.7, "encoding.tau": 0.05}])
def test_frames(cls, changes):
    """Every frame has the outputs and the events of a stream."""
    net = complete(make(cls), changes)
    step = CompleteStep(net.graph, (8, 8), net.neurons, net.recipe, stateful=True)
    stream = Stream(net.network(), refresh=0)
    states: Mapping[str, Tensor] = zeros(step, 1)
    x = images(1)
    for k in range(5):
        stepped = step(x, states)
        states = stepped.states
        run = stream(x)
        assert not run.cut
        assert_outputs(stepped.outputs, run.run.snapshots[1])
        assert_same(stepped.events, run.run.snapshots[1].sent_by_layer)
        x = x + 0.06 * (images(1, seed=k + 1) - 0.5)
    assert states[CLOCK].item() == 5


@pytest.mark.parametrize("name", ["few-spikes", "sfn"])
def test_values_that_are_clipped(name):
    net = spiking(make(Pooled), images(2), get_recipe(name))
    step = CompleteStep(net.graph, (8, 8), net.neurons, net.recipe, stateful=False)
    stepped = step(images(2, seed=3), {})
    snapshot = net.network().run(images(2, seed=3), 1).snapshots[1]
    assert_outputs(stepped.outputs, snapshot)
    assert_same(stepped.events, snapshot.sent_by_layer)


RATE = [
    name
    for name in list_methods()
    if get_recipe(name).encoding.coding == "rate"
    and get_recipe(name).encoding.input == "analogue"
    and not get_recipe(name).preparation.timesteps
]


@pytest.mark.parametrize("name", RATE)
@pytest.mark.parametrize("cls", [TinyLeaky, Pooled])
def test_rate_coding(name, cls):
    """Means and events of every step, of all methods; with a skip and with bursts."""
    changes = {"readout.skip": 2} if name == "p-norm" else {}
    net = spiking(make(cls), images(2), get_recipe(name), changes)
    step = RateStep(net.graph, (8, 8), net.neurons, net.recipe)
    T, x = 6, images(2, seed=5)
    run = net.network().run(x, T, range(1 + changes.get("readout.skip", 0), T + 1))
    states: Mapping[str, Tensor] = zeros(step, 2)
    total: dict[str, Tensor] = {}
    for t in range(1, T + 1):
        stepped = step(x, states)
        states = stepped.states
        for event, counts in stepped.events.items():
            total[event] = total.get(event, 0) + counts
        if t in run.snapshots:
            assert_outputs(stepped.outputs, run.snapshots[t])
            assert_same(total, run.snapshots[t].sent_by_layer)


def test_only_what_is_one_step():
    for name in list_methods():
        recipe = get_recipe(name)
        assert sends_complete_values(recipe) == (
            name in (DEFAULT, TUNED, VIDEO, "few-spikes", "sfn")
        )
    net = spiking(make(Pooled), images(2), get_recipe("differential"))
    with pytest.raises(UserError, match="several timesteps"):
        RateStep(net.graph, (8, 8), net.neurons, net.recipe)
    net = spiking(make(Pooled), images(2), get_recipe("p-norm"), {"encoding.input": "poisson"})
    with pytest.raises(UserError, match="random"):
        RateStep(net.graph, (8, 8), net.neurons, net.recipe)
    net = spiking(make(Pooled), images(2), get_recipe("srp"))
    with pytest.raises(UserError, match="prepares"):
        RateStep(net.graph, (8, 8), net.neurons, net.recipe)
