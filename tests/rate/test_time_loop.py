"""The simulator against a second implementation of the whole time loop, spike by spike.

The second one carries values n * theta between the module's own layers, with the original weights
and batch norms.
"""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.networks import TinyLeaky, images, make, spiking
from torch import Tensor, nn

from spiking_yolo.rate.neurons.layer import NeuronLayer
from spiking_yolo.rate.neurons.on_off import OnOff
from spiking_yolo.recipe import Recipe

SLOPE = 0.25
Record = dict[tuple[str, int], Tensor]


def phi(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, SLOPE * x)


class Plain:
    """One site: z -> n * theta, remembering n of every step. Values in ANN units throughout."""

    def __init__(self, name: str, site: Mapping[str, Tensor], recipe: Recipe, record: Record):
        self.theta, self.off = (
            site[k].double()[:, None, None] if k in site else None for k in ("theta", "theta_off")
        )
        self.settings, self.name, self.record = recipe.neuron, name, record
        self.u = self.v = self.m = torch.zeros(())

    def __call__(self, z: Tensor, t: int) -> Tensor:
        theta, gamma, start = self.theta, self.settings.gamma, self.settings.initial
        assert theta is not None
        if self.settings.kind == "sigma-delta":
            self.u = self.u + z
            n = torch.floor(phi(self.u) / theta - self.m + start).clamp(-gamma, gamma)
            self.m = self.m + n
            self.record[self.name, t] = n
            return n * theta
        if t == 1:
            self.u = start * theta
            self.v = start * self.off if self.off is not None else self.v
        self.u = self.u + z
        if self.settings.kind == "ibt":
            up, down = torch.floor(self.u / theta), torch.floor(-self.u * SLOPE / theta)
            n = torch.where(self.u >= 0, up, -down).clamp(-gamma, gamma)
            self.u = self.u - torch.where(n > 0, n, n / SLOPE) * theta
            self.record[self.name, t] = n
            return n * theta
        assert self.off is not None
        self.v = self.v - z
        on = torch.floor(self.u / theta).clamp(0, gamma)
        off = torch.floor(self.v / self.off).clamp(0, gamma)
        self.u, self.v = self.u - on * theta, self.v - off * self.off
        self.record[self.name, t] = torch.stack([on, off])
        return on * theta - SLOPE * off * self.off


def pooling(pool: nn.Module) -> Callable[[Tensor], Tensor]:
    """The change of the maximum of the running sum."""
    total, sent = torch.zeros(()), torch.zeros(())

    def step(x: Tensor) -> Tensor:
        nonlocal total, sent
        total = total + x
        before, sent = sent, pool(total)
        return sent - before

    return step


def simulate(
    model: Any, neurons: Mapping[str, Any], recipe: Recipe, x: Tensor, T: int
) -> tuple[list[Tensor], Record]:
    """TinyLeaky's forward pass, T times. Returns the heads (mean, or sum in differential coding)
    and all spikes.
    """
    differential, record = recipe.differential, Record()
    n1, n2, n3 = (Plain(name, neurons[name], recipe, record) for name in ("act1", "act2", "act3"))
    pool1, pool2 = pooling(model.pool1), pooling(model.pool2)
    before = recipe.neuron.kind == "sigma-delta" and recipe.neuron.pool_first
    heads = [torch.zeros(()), torch.zeros(())]
    for t in range(1, T + 1):
        silent = differential and t > 1

        def layer(f: Callable[[Tensor], Tensor], s: Tensor, silent: bool = silent) -> Tensor:
            # Without the bias, which came at t = 1.
            return f(s) - f(torch.zeros_like(s)) if silent else f(s)

        image = torch.zeros_like(x) if silent else x
        early = n1(layer(lambda s: model.bn1(model.conv1(s)), image), t)
        z = layer(lambda s: model.bn2(model.conv2(s)), pool1(early))
        deep = n2(pool2(z), t) if before else pool2(n2(z, t))
        up = F.interpolate(n3(layer(model.conv3, deep), t), scale_factor=2)
        outputs = layer(model.head1, deep), layer(model.head2, torch.cat([up, early], 1))
        heads = [total + out for total, out in zip(heads, outputs, strict=True)]
    return [h if differential else h / T for h in heads], record


CASES = {
    "pair": {"neuron.initial": 0.5},
    "pair, bursts": {"neuron.gamma": 3},
    "imbalanced": {"neuron.kind": "ibt", "neuron.gamma": 2},
    "differential": {"neuron.kind": "sigma-delta", "neuron.gamma": 2}
    | {"neuron.initial": 0.5, "threshold.scale": 0.1},
}
CASES["differential, pool last"] = {**CASES["differential"], "neuron.pool_first": False}


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_every_spike_of_every_step(case: str):
    model, x, T = make(TinyLeaky, slope=SLOPE), images(2), 24
    converted = spiking(model, x, Recipe("tested"), CASES[case])
    heads, expected = simulate(model, converted.neurons, converted.recipe, x, T)
    got: Record = {}

    def probe(name: str, t: int, layer: NeuronLayer, current: Tensor | None) -> None:
        pair = isinstance(layer, OnOff)
        got[name, t] = torch.stack([layer.on.out, layer.off.out]) if pair else layer.out.clone()

    run = converted.simulator(observed=True).run(x, T, probes=[probe])
    for key, spikes in expected.items():
        assert torch.equal(got.get(key, torch.zeros_like(spikes)), spikes), key
    assert all(spikes.any() for (_, t), spikes in expected.items() if t == 2)
    for a, b in zip(run.snapshots[T].outputs, heads, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    for name, count in run.snapshots[T].spikes.items():
        total = sum(s.abs() for (site, _), s in expected.items() if site == name)
        assert isinstance(total, Tensor)
        batch_first = total.transpose(0, 1) if total.ndim == 5 else total
        assert torch.equal(count, batch_first.flatten(1).sum(1))
