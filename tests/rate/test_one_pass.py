"""Neurons in one pass in C against the formulas of their kinds, which PyTorch computes step by
step.
"""

from typing import Any

import pytest
import torch

from spiking_yolo.graph import Activation
from spiking_yolo.rate.library import library
from spiking_yolo.rate.neurons import build_neurons
from spiking_yolo.rate.neurons.integrate_and_fire import IntegrateAndFire
from spiking_yolo.rate.neurons.layer import Clock, NeuronLayer, register
from spiking_yolo.recipe import Recipe
from spiking_yolo.spikes.plan import LayerPlan

pytestmark = pytest.mark.skipif(library() is None, reason="not built")

# Settings of a neuron, its activation and what else its layer is given.
CASES: dict[str, tuple[dict[str, Any], Activation, dict[str, Any]]] = {
    "soft reset": ({}, Activation(), {}),
    "reset to zero": ({"neuron.reset": "zero"}, Activation(), {}),
    "shifted": ({"neuron.shift": 16, "neuron.initial": 0.5}, Activation(), {}),
    "bursts": ({"neuron.gamma": 5}, Activation(), {}),
    "switches": ({"neuron.events": "switches"}, Activation(), {}),
    "capped": ({"neuron.gamma": 3}, Activation(cap=1.5), {}),
    "pairs": ({"neuron.initial": 0.25}, Activation(slope=0.125), {}),
    "pairs of bursts": ({"neuron.gamma": 2}, Activation(slope=0.125), {"bias": True}),
    "pairs, a constant current": ({}, Activation(slope=0.125), {"constant": True}),
    "initial potential, bias": ({}, Activation(), {"bias": True, "initial": True}),
}
for both, off in (("DTT and DET", {}), ("DTT", {"msat.tau_rd": 0}), ("DET", {"msat.tau_mp": 0})):
    own: dict[str, Any] = {"neuron.kind": "msat", "msat.gain": 2.5, **off}
    CASES[both] = own, Activation(), {}
    CASES[f"{both}, pairs of bursts"] = {**own, "neuron.gamma": 3}, Activation(slope=0.125), {}
    CASES[f"{both}, capped"] = own, Activation(cap=1.5), {}


def layers(case: str, channels: int) -> tuple[NeuronLayer, NeuronLayer]:
    """The same layer twice."""
    settings, phi, more = CASES[case]
    recipe = Recipe("test").with_settings(settings)
    # Multiples of 1/8, so that every product with a whole number is exact.
    thetas = torch.randint(2, 16, (2, channels), generator=torch.manual_seed(1)) / 8
    initial = torch.tensor(recipe.neuron.initial)
    if more.get("initial"):
        initial = torch.randint(-4, 9, (channels, 4, 6)) / 8
    given = {"theta": thetas[0], "theta_off": thetas[1], "initial": initial}
    if more.get("bias"):
        given["bias"] = torch.randint(-8, 8, (channels,)) / 64
    plan = LayerPlan(constant=more.get("constant", False))
    return build_neurons(given, recipe, phi, plan), build_neurons(given, recipe, phi, plan)


@pytest.mark.parametrize("channels", [3, 16, 40])
@pytest.mark.parametrize("case", CASES)
def test_one_pass_is_the_formula(case: str, channels: int):
    """To the bit; MSAT's exponentials are other polynomials, so that its thresholds are to 1e-5."""
    fast, slow = layers(case, channels)
    msat = CASES[case][0].get("neuron.kind") == "msat"
    z = torch.randn(2, channels, 4, 6).mul_(64).round_().div_(64)
    for t in range(20):
        if not CASES[case][2].get("constant"):
            z = torch.randn(2, channels, 4, 6).mul_(64).round_().div_(64)
        if t == 0:
            slow.begin(z)
        slow.emit(slow.biased(z), Clock(t, 1.0))
        out = fast(z)
        assert fast.one_pass is not None
        pairs = [(out, slow.out), (fast.count, slow.count), (fast.threshold, slow.threshold)]
        pairs += [*zip(fast.counts, slow.counts, strict=True)]
        if msat:
            for a, b in pairs:
                assert torch.allclose(a, b, rtol=1e-5, atol=1e-5)
        else:
            assert all(torch.equal(a, b) for a, b in pairs)


def test_a_kind_with_a_step_of_its_own_is_left_to_pytorch():
    @register("half")
    class Half(IntegrateAndFire):
        def step(self, z: torch.Tensor, clock: Clock) -> torch.Tensor:
            return super().step(z / 2, clock)

    layer = build_neurons(
        {"theta": torch.ones(1), "initial": torch.tensor(0.0)},
        Recipe("test").with_settings({"neuron.kind": "half"}),
        Activation(),
    )
    assert [layer(torch.ones(1, 1)).item() for _ in range(4)] == [0, 1, 0, 1]
    assert layer.one_pass is None
