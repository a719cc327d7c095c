"""Detectors as NIR files: strides, concatenation, slices of channels, and leaky ReLU as pairs of IF
neurons.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.networks import Strided, images, make, spike_counts, spiking
from helpers.tiny import SIZE, photo, run_tool, write_tiny
from torch import Tensor, nn

from spiking_yolo import SpikingYOLO
from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.data.images import preprocess, read_image
from spiking_yolo.decode.selection import Selection
from spiking_yolo.graph.rewrites import with_identities
from spiking_yolo.graph.trace import trace

nir = pytest.importorskip("nir")

from helpers.nir_interpreter import simulate  # noqa: E402  (needs nir)

from spiking_yolo.apps.export.nir_graph import to_nir  # noqa: E402

T = 32


class Mixed(nn.Module):
    """Pairs where their value meets what has no weights: sums, pooling, flatten, outputs, other
    pairs. [N, 3, 8, 8].
    """

    def __init__(self):
        super().__init__()
        self.act = nn.LeakyReLU(0.1)
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.depth, self.fc1, self.fc2 = (
            nn.Conv2d(4, 4, 3, groups=2),
            nn.Linear(16, 6),
            nn.Linear(6, 5),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        a = self.act(self.conv1(x))
        b = self.act(a + self.conv2(a))
        c = torch.cat([b[:, 1:3], a[:, ::2]], 1)
        d = self.act(nn.functional.avg_pool2d(self.depth(c), 3))
        return self.fc2(self.act(self.fc1(torch.flatten(d, 1)))), c, d


def compare(net: Converted, path: Path) -> None:
    """The spikes of every neuron and the outputs, ours and those of a file that an interpreter of
    NIR runs.
    """
    nir.write(path, to_nir(net))
    x = images(1, 7, net.spec.height)
    ours, means = spike_counts(net, x, T)
    theirs, outputs, graph = simulate(path, (x for _ in range(T)))
    assert theirs.keys() == ours.keys()
    for name, spikes in theirs.items():
        assert torch.equal(spikes, ours[name]) and spikes.any(), name
    for mean, total in zip(means, (outputs[k] for k in sorted(outputs)), strict=True):
        assert torch.allclose(total / T, mean, atol=1e-9)
    for name in ours:
        layer, _, side = name.rpartition("_")
        if side in ("on", "off"):
            known = graph.nodes[name].metadata
            assert (known["pair"], known["side"]) == (layer, side)


@pytest.mark.parametrize(
    ("model", "method", "settings"),
    [
        (Strided, "p-norm", {}),
        (Strided, "channel-norm", {}),
        (lambda: Strided(0.1), "p-norm", {"neuron.reset": "zero"}),
        (lambda: Strided(0.1), "channel-norm", {"neuron.kind": "if"}),
        (lambda: Strided(0.1), "opt", {}),
        (lambda: Strided(0.1), "calibration-light", {"neuron.initial": 0, "calibration.T": 4}),
    ],
)
def test_same_spikes_of_a_detector(model, method, settings, tmp_path):
    compare(spiking(make(model), images(), get_recipe(method), settings), tmp_path / "net.nir")


@pytest.mark.parametrize("method", ["p-norm", "rmp"])
def test_same_spikes_where_pairs_meet(method, tmp_path):
    compare(spiking(make(Mixed), images(), get_recipe(method)), tmp_path / "net.nir")


def test_same_spikes_of_neurons_of_the_identity(tmp_path):
    body = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, groups=4), nn.ReLU(), nn.Conv2d(4, 5, 1)
    )
    graph = with_identities(trace(make(lambda: body), images(1)))
    compare(spiking(graph, images(), get_recipe("p-norm")), tmp_path / "net.nir")


def test_every_layer_with_weights_reads_spikes(tmp_path):
    """A reader that maps layers to cores finds no convolution behind another one, and every
    threshold 1.
    """
    graph = to_nir(
        spiking(
            make(lambda: Strided(0.1)), images(), get_recipe("channel-norm"), {"neuron.kind": "if"}
        )
    )
    kinds = {name: type(node) for name, node in graph.nodes.items()}
    assert not [edge for edge in graph.edges if kinds[edge[0]] is kinds[edge[1]] is nir.Conv2d]
    assert all(
        (node.v_threshold == 1).all() for node in graph.nodes.values() if isinstance(node, nir.IF)
    )


def test_a_pair_by_hand():
    """A current of 2 x - 2, thetas 1 and 4, slope .5, then weight 3: an OFF spike is worth -.5 * 4
    * 3 = -6.
    """
    graph = trace(
        nn.Sequential(nn.Conv2d(3, 1, 1), nn.LeakyReLU(0.5), nn.Conv2d(1, 1, 1)), images(1).float()
    )
    values = {"_0.weight": 2.0, "_0.bias": -2.0, "_2.weight": 3.0, "_2.bias": 7.0}
    graph = replace(
        graph, tensors={k: torch.full_like(v, values[k]) for k, v in graph.tensors.items()}
    )
    net = spiking(graph, images().float(), get_recipe("p-norm"))
    thetas = {"theta": torch.tensor([1.0]), "theta_off": torch.tensor([4.0])}
    made = to_nir(replace(net, neurons={"_1": {**net.neurons["_1"], **thetas}})).nodes
    found = {
        name: (made[name].weight.flat[0], made[name].bias[0])
        for name in ("_0", "_0_off", "_2_0", "_2_1")
    }
    assert found == {"_0": (2, -2), "_0_off": (-0.5, 0.5), "_2_0": (3, 7), "_2_1": (-6, 0)}


CONV = "[convolutional]\nbatch_normalize=1\nfilters={}\nsize=3\nstride={}\npad=1\nactivation={}\n"
HEAD = (
    "[convolutional]\nfilters=16\nsize=1\nstride=1\nactivation=linear\n"
    "[yolo]\nmask={}\nclasses=3\nnum=4\nanchors=10,14,37,30,20,20,40,40\n"
)
STRIDED = (
    f"[net]\nwidth={SIZE}\nheight={SIZE}\nchannels=3\n"
    + CONV.format(4, 2, "relu")
    + CONV.format(8, 2, "leaky")
    + CONV.format(8, 1, "relu")
    + "[route]\nlayers=-1,-2\n"
    + HEAD.format("0,1")
    + "[route]\nlayers=3\n"
    + CONV.format(8, 2, "leaky")
    + HEAD.format("2,3")
)


def test_a_darknet_detector_gives_the_same_boxes(tmp_path, capsys):
    """From the command line to boxes; in float32, where a neuron near its threshold may fire a step
    later.
    """
    weights, picture = write_tiny(tmp_path, cfg=STRIDED), photo(tmp_path / "c.png", 5)
    args = [
        "--weights",
        weights,
        "--method",
        "p-norm",
        "--format",
        "nir",
        "-o",
        tmp_path / "net.nir",
    ]
    assert run_tool("export", *args) == 0
    assert "4 layers of neurons" in capsys.readouterr().out
    detector = SpikingYOLO(weights, method="p-norm")
    ours = detector.detect(picture, T=T, conf=0.3)
    x, placement = preprocess(read_image(picture), detector.spec)
    _, outputs, _ = simulate(tmp_path / "net.nir", [x[None].double()] * T)
    heads = [outputs[name].float() / T for name in ("output_0", "output_1")]
    (theirs,) = Selection(conf=0.3).boxes(heads, detector.spec, [placement])
    assert len(ours) == len(theirs.xyxy) > 10
    mine = torch.tensor([list(box.xyxy) for box in ours], dtype=torch.float32)
    apart = torch.cdist(mine, theirs.xyxy.float())
    assert apart.min(0).values.max() < 1 and apart.min(1).values.max() < 1  # pixels
