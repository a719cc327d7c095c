"""NIR files, run by an interpreter of their own: every neuron spikes as in our simulator. What NIR
cannot say.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import networks
from helpers.networks import images, make, spike_counts, spiking
from torch import Tensor, nn

from spiking_yolo.convert.load import Converted
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.errors import UserError
from spiking_yolo.rate.network import image_keys, uniform

nir = pytest.importorskip("nir")

from helpers.nir_interpreter import simulate  # noqa: E402  (needs nir)

from spiking_yolo.apps.export.nir_graph import to_nir  # noqa: E402

T = 32


def averaged() -> nn.Module:
    """Overlapping average pooling with padding, flatten and linear layers. [N, 3, 8, 8]."""
    conv = (nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.AvgPool2d(3, 2, 1))
    more = (nn.Conv2d(6, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 8), nn.ReLU())
    return nn.Sequential(*conv, *more, nn.Linear(8, 5))


class Odd(nn.Module):
    """Where units meet: sums of sums, x + x, a layer read twice, pooling before neurons, spikes as
    an output.
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.conv3 = nn.Conv2d(6, 6, 3, padding=2, dilation=2)
        self.pool, self.unused = nn.AvgPool2d(2), nn.Conv2d(6, 1, 1)
        self.fc = nn.Linear(96, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        raw = self.conv1(x)
        a = torch.relu(raw)
        b = torch.relu(raw + self.conv2(a) + a)
        self.unused(b)
        c = torch.relu(self.pool(self.conv3(b + b)))
        return (
            self.fc(torch.flatten(c, 1)),
            torch.relu(self.pool(b)),
            torch.relu(torch.flatten(self.pool(raw), 1)),
        )


def converted(
    model: Any, method: str, settings: Mapping[str, Any] | None = None, size: int = 8
) -> Converted:
    return spiking(model, images(2, 0, size), get_recipe(method), settings)


def compare(net: Converted, path, steps: Callable[[Tensor, int], Tensor] = lambda x, t: x) -> Any:
    """Run our network and the exported one on an image that was not calibrated on: the same spikes
    of every neuron.
    """
    nir.write(path, to_nir(net))
    x = images(1, 7, net.spec.height)
    ours, means = spike_counts(net, x, T)
    theirs, outputs, graph = simulate(path, (steps(x, t) for t in range(T)))
    assert theirs.keys() == ours.keys()
    for name, count in theirs.items():
        assert torch.equal(count, ours[name]) and count.any(), name
    for mean, total in zip(means, (outputs[k] for k in sorted(outputs)), strict=True):
        assert torch.allclose(total / T, mean, atol=1e-9)
    return graph


@pytest.mark.parametrize(
    ("model", "method"), [(networks.Residual, "p-norm"), (averaged, "rmp"), (Odd, "channel-norm")]
)
def test_same_spikes(model, method, tmp_path):
    compare(converted(make(model), method), tmp_path / "net.nir")


def test_same_spikes_with_settings(tmp_path):
    for method, settings in (
        ("p-norm", {"neuron.reset": "zero"}),
        ("burst", {"neuron.gamma": 1}),
        ("tsc", {"neuron.events": "spikes"}),
    ):
        graph = compare(converted(make(networks.Residual), method, settings), tmp_path / "net.nir")
        reset = "zero" if "neuron.reset" in settings else "subtract"
        assert {
            node.metadata["reset"] for node in graph.nodes.values() if isinstance(node, nir.IF)
        } == {reset}


def test_poisson_input_is_what_the_metadata_say(tmp_path):
    """Spikes of value max(1, max |x|), with probability |x| / that, by our random numbers."""
    net = converted(make(averaged), "spike-norm", {"calibration.T": 4})
    (name,) = (node.name for node in net.graph.nodes if node.op == "input")

    def spikes(x: Tensor, t: int) -> Tensor:
        top = max(1.0, x.abs().max().item())
        return x.sign() * top * (uniform(x, 0, image_keys(x), name, t + 1) < x.abs() / top)

    graph = compare(net, tmp_path / "net.nir", spikes)
    assert "random" in graph.metadata["input"]


def sequence(*layers: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Conv2d(3, 3, 1), *layers)


def test_refuses_by_name():
    for model, method, node, word in [
        (networks.TinyLeaky, "p-norm", "act1", "use ReLU"),
        (networks.Pooled, "p-norm", "body_2", "--pool avg"),
        (networks.Split, "p-norm", "getitem", "average pooling"),
        (sequence(nn.SiLU()), "signed-digits", "_1", "use ReLU"),
        (networks.Residual, "msat", "relu", "--method p-norm"),
        (networks.Residual, "burst", "relu", "--method p-norm"),
        (networks.Residual, "tsc", "relu", "--method p-norm"),
        (networks.Residual, "opt", "relu", "constant current"),
        (networks.Residual, "calibration-light", "relu", "constant current"),
        (sequence(nn.Conv2d(3, 3, (3, 1)), nn.ReLU()), "p-norm", "_1", "square kernels"),
        (sequence(nn.Conv2d(3, 3, 3, groups=3), nn.ReLU()), "p-norm", "_1", "of one group"),
        (sequence(nn.ReLU(), nn.AvgPool2d(3, ceil_mode=True)), "p-norm", "_2", "all of a window"),
        (
            sequence(nn.ReLU(), nn.AvgPool2d(2, 2, 1, count_include_pad=False)),
            "p-norm",
            "_2",
            "all of a window",
        ),
    ]:
        with pytest.raises(UserError, match="NIR cannot express") as refused:
            to_nir(converted(make(model), method, {"calibration.T": 2}))
        assert f"node '{node}" in str(refused.value) and word in str(refused.value)


def test_a_threshold_above_the_cap_is_refused(tmp_path):
    """With a cap the threshold is at most the cap, and then an IF neuron cannot pass it; above it,
    it could.
    """
    net = converted(
        make(lambda: nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU6(), nn.Conv2d(3, 2, 1))), "p-norm"
    )
    compare(net, tmp_path / "net.nir")
    with pytest.raises(UserError, match=r"node '_1' .*--method p-norm"):
        to_nir(replace(net, neurons={"_1": {**net.neurons["_1"], "theta": torch.full((3,), 7.0)}}))
