"""NIR files in other simulators, where these are installed: the same spikes. None of them is needed
for anything else.

pip install '.[export,simulators]'
"""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.networks import Residual, images, make, spike_counts, spiking
from torch import nn

from spiking_yolo.convert.methods import get_recipe

nir = pytest.importorskip("nir")
pytest.importorskip("nirtorch")
T = 32
# network, its layers of neurons, dtype of its input.
Imported = tuple[nn.Module, dict[str, nn.Module], torch.dtype]


def spikingjelly(path: Any) -> Imported:
    """r = 1 wants dt = 1. Reset to zero is all that it reads from NIR: v_reset=None is reset by
    subtraction.
    """
    exchange = pytest.importorskip("spikingjelly.activation_based.nir_exchange")
    net = exchange.import_from_nir(path, dt=1.0, dtype=torch.float64)
    layers = {
        name.removesuffix(".module"): m
        for name, m in net.named_modules()
        if type(m).__name__ == "IFNode"
    }
    for layer in layers.values():
        layer.v_reset = None
    return net, {name: net.get_submodule(name) for name in layers}, torch.float64


def snntorch(path: Any) -> Imported:
    """IF becomes a leaky neuron with beta = 0.9 (1.0.0): beta = 1 is IF, a delayed reset subtracts
    the threshold.
    """
    importer = pytest.importorskip("snntorch.import_nir")
    net = importer.import_from_nir(nir.read(path))
    layers = {name: m for name, m in net.named_modules() if type(m).__name__ == "Leaky"}
    for layer in layers.values():
        layer.beta.fill_(1.0)
        layer.reset_delay = layer.init_hidden = True
    return net, layers, torch.float32


def norse(path: Any) -> Imported:
    """Its IF neurons reset to zero."""
    importer = pytest.importorskip("norse.torch.utils.import_nir")
    net = importer.from_nir(nir.read(path), dt=1.0).double()
    return (
        net,
        {name: m for name, m in net.named_modules() if type(m).__name__ == "IAFCell"},
        torch.float64,
    )


def chain(pool: bool) -> nn.Module:
    """[N, 3, 8, 8] to [N, 5]; norse does not read average pooling."""
    smaller = nn.AvgPool2d(2) if pool else nn.Conv2d(6, 6, 2, 2)
    conv = (nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), smaller)
    more = (nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(96, 8), nn.ReLU())
    return nn.Sequential(*conv, *more, nn.Linear(8, 5))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("simulator", "model", "reset"),
    [
        (spikingjelly, lambda: chain(True), "subtract"),
        (spikingjelly, Residual, "subtract"),
        (snntorch, lambda: chain(True), "subtract"),
        (snntorch, Residual, "subtract"),
        (norse, lambda: chain(False), "zero"),
    ],
)
def test_same_spikes(simulator: Callable[[Any], Imported], model, reset, tmp_path):
    from spiking_yolo.apps.export.nir_graph import to_nir

    settings = {"neuron.kind": "if", "neuron.reset": reset}
    converted = spiking(make(model), images(), get_recipe("channel-norm"), settings)
    nir.write(tmp_path / "net.nir", to_nir(converted))
    with warnings.catch_warnings(action="ignore"):
        net, layers, dtype = simulator(str(tmp_path / "net.nir"))
    x, state = images(2, 7), None
    ours, _ = spike_counts(converted, x, T)
    theirs = {name: torch.zeros_like(count) for name, count in ours.items()}
    assert layers.keys() == ours.keys()

    def counter(name: str) -> Callable[..., None]:
        def count(module: nn.Module, given: Any, sent: Any) -> None:
            theirs[name] += sent[0] if isinstance(sent, tuple) else sent

        return count

    for name, layer in layers.items():
        layer.register_forward_hook(counter(name))
    with torch.no_grad():
        for _ in range(T):
            _, state = net(x.to(dtype), state)
    for name, count in ours.items():
        assert torch.equal(theirs[name], count) and count.any(), name
