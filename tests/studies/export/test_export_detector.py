"""Detectors as NIR files: strides, concatenation, slices of channels, and leaky ReLU as pairs of IF neurons."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.networks import images, make, spiking
from torch import Tensor, nn

from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.registry import get_recipe
from spiking_yolo.graph.rewrites import with_identities
from spiking_yolo.graph.trace import trace

nir = pytest.importorskip("nir")

from helpers.nir_interpreter import simulate  # noqa: E402  (needs nir)

from spiking_yolo.studies.export.nir_graph import to_nir  # noqa: E402

T = 32


class Strided(nn.Module):
    """A YOLO in small with strides for poolings: a split backbone, a route, two heads. [N, 3, 16, 16]."""

    def __init__(self, slope: float = 0.0):
        super().__init__()
        self.act = nn.LeakyReLU(slope)
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.part = nn.Conv2d(2, 4, 3, 1, 1)
        self.down = nn.Conv2d(8, 6, 3, 2, 1)
        self.depth = nn.Conv2d(6, 6, 3, 2, 1, groups=6)
        self.head1, self.head2 = nn.Conv2d(8, 5, 1), nn.Conv2d(6, 5, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        stem = self.act(self.stem(x))
        route = torch.cat([self.act(self.part(stem[:, 2:])), stem], 1)
        return self.head1(route), self.head2(self.act(self.depth(self.act(self.down(route)))))


class Mixed(nn.Module):
    """Pairs where their value meets what has no weights: sums, pooling, flatten, outputs, other pairs. [N, 3, 8, 8]."""

    def __init__(self):
        super().__init__()
        self.act = nn.LeakyReLU(0.1)
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.depth, self.fc1, self.fc2 = nn.Conv2d(4, 4, 3, groups=2), nn.Linear(16, 6), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        a = self.act(self.conv1(x))
        b = self.act(a + self.conv2(a))
        c = torch.cat([b[:, 1:3], a[:, ::2]], 1)
        d = self.act(nn.functional.avg_pool2d(self.depth(c), 3))
        return self.fc2(self.act(self.fc1(torch.flatten(d, 1)))), c, d


def compare(net: Converted, path: Path) -> None:
    """The spikes of every neuron and the outputs, ours and those of a file that an interpreter of NIR runs."""
    nir.write(path, to_nir(net))
    x = images(1, 7, net.spec.height)
    ours: dict[str, Tensor] = {}

    def count(name: str, t: int, layer, current) -> None:
        pair = {f"{name}_on": layer.on, f"{name}_off": layer.off} if hasattr(layer, "on") else {name: layer}
        ours.update({side: neurons.count for side, neurons in pair.items()})

    end = net.network(observed=True).run(x, T, probes=[count])
    theirs, outputs, graph = simulate(path, (x for _ in range(T)))
    assert theirs.keys() == ours.keys()
    for name, spikes in theirs.items():
        assert torch.equal(spikes, ours[name]) and spikes.any(), name
    for output, total in zip(end.snapshots[T].outputs, (outputs[k] for k in sorted(outputs)), strict=True):
        assert torch.allclose(total / T, output, atol=1e-9)
    for name in ours:
        known = graph.nodes[name].metadata
        layer, _, side = name.rpartition("_")
        if side in ("on", "off"):
            assert (known["pair"], known["side"]) == (layer, side)


@pytest.mark.parametrize(
    ("model", "method", "settings"),
    [
        (lambda: Strided(), "p-norm", {}),
        (lambda: Strided(), "channel-norm", {}),
        (lambda: Strided(0.1), "p-norm", {"neuron.reset": "zero"}),
        (lambda: Strided(0.1), "channel-norm", {"neuron.kind": "if"}),
        (lambda: Strided(0.1), "opt", {}),
        (lambda: Strided(0.1), "calibration-light", {"neuron.initial": 0, "calibration.T": 4}),
    ],
)
def test_same_spikes_of_a_detector(model, method, settings, tmp_path):
    compare(spiking(make(model), images(2, 0, 16), get_recipe(method), settings), tmp_path / "net.nir")


@pytest.mark.parametrize("method", ["p-norm", "rmp"])
def test_same_spikes_where_pairs_meet(method, tmp_path):
    compare(spiking(make(Mixed), images(), get_recipe(method)), tmp_path / "net.nir")


def test_same_spikes_of_neurons_of_the_identity(tmp_path):
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, groups=4), nn.ReLU(), nn.Conv2d(4, 5, 1))
    graph = with_identities(trace(make(lambda: body), images(1)))
    compare(spiking(graph, images(), get_recipe("p-norm")), tmp_path / "net.nir")


def test_every_layer_with_weights_reads_spikes(tmp_path):
    """A reader that maps layers to cores finds no convolution behind another one, and every threshold 1."""
    graph = to_nir(
        spiking(make(lambda: Strided(0.1)), images(2, 0, 16), get_recipe("channel-norm"), {"neuron.kind": "if"})
    )
    kinds = {name: type(node) for name, node in graph.nodes.items()}
    assert not [edge for edge in graph.edges if kinds[edge[0]] is kinds[edge[1]] is nir.Conv2d]
    assert all((node.v_threshold == 1).all() for node in graph.nodes.values() if isinstance(node, nir.IF))


def test_a_pair_by_hand():
    """A current of 2 x - 2, thetas 1 and 4, slope .5, then weight 3: an OFF spike is worth -.5 * 4 * 3 = -6."""
    graph = trace(nn.Sequential(nn.Conv2d(3, 1, 1), nn.LeakyReLU(0.5), nn.Conv2d(1, 1, 1)), images(1).float())
    values = {"_0.weight": 2.0, "_0.bias": -2.0, "_2.weight": 3.0, "_2.bias": 7.0}
    graph = replace(graph, tensors={k: torch.full_like(v, values[k]) for k, v in graph.tensors.items()})
    net = spiking(graph, images().float(), get_recipe("p-norm"))
    thetas = {"theta": torch.tensor([1.0]), "theta_off": torch.tensor([4.0])}
    made = to_nir(replace(net, neurons={"_1": {**net.neurons["_1"], **thetas}})).nodes
    found = {name: (made[name].weight.flat[0], made[name].bias[0]) for name in ("_0", "_0_off", "_2_0", "_2_1")}
    assert found == {"_0": (2, -2), "_0_off": (-0.5, 0.5), "_2_0": (3, 7), "_2_1": (-6, 0)}
