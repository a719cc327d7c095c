"""MSAT with a gain of Theta against the authors' released neuron, run on two small networks: every
spike, every threshold.

The vectors are not part of this repository: a README beside them says how they were made.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.graph.trace import trace
from spiking_yolo.snn.layout import per_channel
from spiking_yolo.snn.network import SpikingNetwork
from spiking_yolo.snn.neurons.layer import NeuronLayer

VECTORS = Path(__file__).parents[4] / "shared/data/msat_vectors"
KINDS = [f"{b}_{c}" for b in ("vgg16", "resnet20") for c in ("both", "dtt", "det", "fixed")]
# 0: the parameter of the layer.
RELEASED = {"msat.gain": 0, "msat.floor": 0}


def network(name: str) -> nn.Module:
    """The architectures that the vectors' README describes."""

    def conv(a: int, b: int) -> nn.Module:
        return nn.Conv2d(a, b, 3, padding=1)

    if name == "chain":
        body = [conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(), conv(8, 8), nn.ReLU(), nn.AvgPool2d(2)]
        body += [conv(8, 12), nn.ReLU(), conv(12, 12), nn.ReLU(), nn.AvgPool2d(2)]
    else:
        body = [conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)]
        body += [conv(8, 12), nn.BatchNorm2d(12), nn.ReLU()]
        body += [conv(12, 12), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2)]
    model = nn.Sequential()
    model.conv, model.flatten, model.fc = nn.Sequential(*body), nn.Flatten(), nn.Linear(48, 5)
    return model.double().eval()


def test_the_released_neuron():
    for net in ("chain_0.5", "chain_2", "maxpooled_0.5", "maxpooled_2"):
        for kind in KINDS:
            compare(f"{net}_{kind}")


@torch.no_grad()
def compare(name: str) -> None:
    """Every threshold, spike and output of one file of vectors."""
    path = VECTORS / f"{name}.safetensors"
    if not path.is_file():
        pytest.skip(f"no test vectors at {VECTORS}")
    with safe_open(path, "pt") as file:
        metadata, expected = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    model = network(name.split("_")[0])
    net = {key[4:]: value for key, value in expected.items() if key.startswith("net/")}
    absent, unknown = model.load_state_dict(net, strict=False)
    assert not unknown and all(key.endswith("num_batches_tracked") for key in absent)
    terms = metadata["terms"]
    constants = {f"msat.{k}": v for k, v in json.loads(metadata["constants"]).items()}
    used = {"msat.dtt": terms in ("both", "dtt"), "msat.det": terms in ("both", "det")}
    graph = trace(model, expected["x"])
    layers = [node.name for node in graph.activations]
    channels = [len(expected[f"layer{i}/spikes"]) for i in range(len(layers))]
    thetas = [theta.expand(c) for theta, c in zip(expected["Theta"], channels, strict=True)]
    neurons = {}
    for name, theta in zip(layers, thetas, strict=True):
        neurons[name] = {"theta": theta, "initial": torch.zeros(()), "gain": theta[0]}
    recipe = get_recipe("msat").with_settings({**RELEASED, **constants, **used})
    snn = SpikingNetwork(graph, neurons, recipe, observed=True)
    history: dict[str, list[Tensor]] = {name: [] for name in layers}
    counts: dict[str, Tensor] = {}

    def probe(name: str, t: int, layer: NeuronLayer, current: Tensor | None) -> None:
        sent = layer.out * per_channel(layer.theta, layer.out)
        counts[name] = layer.count[0].clone()
        history[name].append(torch.cat([layer.threshold.expand_as(sent), sent]).clone())

    T = int(metadata["T"])
    run = snn.run(expected["x"], T, range(1, T + 1), probes=[probe])
    for i, name in enumerate(layers):
        theta, sent = torch.stack(history[name], 1)
        exact = expected[f"layer{i}/theta"].double().expand_as(theta)
        torch.testing.assert_close(theta, exact, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(sent, expected[f"layer{i}/sent"].double(), rtol=1e-6, atol=1e-6)
        spikes = counts[name].short()
        assert torch.equal(spikes, expected[f"layer{i}/spikes"]) and spikes.sum() > 20
    outputs = torch.cat([run.snapshots[t].outputs[0] for t in range(1, T + 1)])
    torch.testing.assert_close(outputs, expected["output"], rtol=1e-6, atol=1e-6)
