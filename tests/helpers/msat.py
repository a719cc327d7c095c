"""A scalar second implementation of MSAT (conversion_methods.md, section 2), and what its tests
share.
"""

import random
from collections.abc import Iterator
from math import exp, floor, log
from typing import Any

import pytest
import torch
from hypothesis import strategies as st

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.recipe import Msat
from spiking_yolo.snn.neurons.layer import NeuronLayer
from spiking_yolo.snn.neurons.msat import MsatIntegrateAndFire

MSAT = get_recipe("msat").with_settings({"msat.gain": 1})
GENERATOR = random.Random(1)
INPUTS = {
    "constant": [0.3] * 40,
    "large": [0.95] * 40,
    "stepped": [0.1] * 12 + [0.9] * 12 + [-0.5] * 8 + [0.4] * 8,
    "random": [GENERATOR.uniform(-0.4, 1.2) for _ in range(40)],
}
RESNET20 = {"msat.alpha": 0.3, "msat.tau_mp": 0.5, "msat.tau_rd": 0.5}
SETTINGS: dict[str, dict[str, Any]] = {
    "vgg16": {},
    "resnet20": RESNET20,
    "dtt only": {"msat.det": False},
    "det only": {"msat.dtt": False},
    "neither": {"msat.dtt": False, "msat.det": False},
    "mu": {"msat.mu": True},
    "constants": {
        "msat.alpha": 1.5,
        "msat.k_a": 0.4,
        "msat.k_i": 0.2,
        "msat.c": 0.5,
        "msat.tau_rd": 2.0,
    },
    "algorithm1": {"msat.variant": "algorithm1", "msat.g": 0.4},
    "bursts": {"neuron.gamma": 3},
    "gain": {"msat.gain": 3.0},
}


def sigmoid(u: float) -> float:
    return 1 / (1 + exp(-u))


def scalar_msat(
    zs: list[float], top: float, s: Msat, gamma: int = 1, initial: float = 0.0
) -> Iterator[tuple[float, float, float]]:
    """theta(t), n(t) and the post-reset U(t); top: Theta."""
    unit = top / s.gain
    u, after, sent, theta = initial * top, [], [], top
    for t, z in enumerate(zs):
        if s.variant == "algorithm1":
            theta = (
                top / 2 if t == 0 else max(theta + s.g * (sum(sent) / t - after[-1]), s.floor * top)
            )
        elif t > 0 and (s.dtt or s.det):
            mean = sum(after) / t / unit
            moved = after[-1] / unit - mean
            drive = (
                s.tau_mp * (s.alpha * moved - top / unit + s.k_a * log(1 + exp(moved / s.k_i)))
                if s.dtt
                else 0.0
            )
            if s.det:
                drive += s.tau_rd * (exp(-z / unit / s.c) + (exp(-abs(mean)) if s.mu else 0.0))
            theta = top * max(sigmoid(drive), s.floor)
        u += z
        n = max(0, min(floor(u / theta), gamma))
        u -= n * theta
        after.append(u)
        sent.append(n * theta)
        yield theta, n, u


def drive(layer: NeuronLayer, zs: list[float]) -> list[tuple[float, float, float]]:
    """theta(t), n(t), U(t) of one neuron; what it sends is n * theta(t)."""
    assert isinstance(layer, MsatIntegrateAndFire)
    steps = []
    for z in zs:
        before = layer.count.item() if steps else 0
        out = layer(torch.tensor([[z]], dtype=torch.float64)).item() * layer.theta.item()
        theta, n = layer.threshold.item(), layer.count.item() - before
        assert out == pytest.approx(n * theta, rel=1e-12)
        steps.append((theta, n, layer.potential.item()))
    return steps


VALUES = st.lists(st.integers(-64, 96).map(lambda n: n / 64), min_size=1, max_size=20)
