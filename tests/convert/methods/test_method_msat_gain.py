"""MSAT's gain: the one for all layers with the smallest error of the output, against trying all of
them.
"""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from helpers.networks import Pooled, TinyLeaky, images, make, spiking

from spiking_yolo.convert.calibrate import GAINS
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.graph import forward
from spiking_yolo.snn.network import SpikingNetwork

MSAT = get_recipe("msat")


def error(cls: Any, gains: Mapping[str, float], T: int) -> float:
    """Sum over the images of |SNN - ANN| / |ANN|, over all outputs of an image together."""
    converted = spiking(make(cls), images(2), MSAT, {"msat.gain": 1})
    every = converted.neurons.items()
    neurons = {name: {**own, "gain": torch.tensor(gains[name])} for name, own in every}
    network = SpikingNetwork(converted.graph, neurons, MSAT)
    total = 0.0
    for image in images(2).split(1):
        expected = torch.cat([o.flatten() for o in forward(converted.graph, image)])
        got = torch.cat([o.flatten() for o in network.run(image, T).snapshots[T].outputs])
        total += ((got - expected).norm() / expected.norm()).item()
    return total


@torch.no_grad()
@pytest.mark.parametrize("cls", [Pooled, TinyLeaky])
def test_k_is_the_best_of_all_and_then_layers_move(cls: Any):
    T = 4
    chosen = spiking(make(cls), images(2), MSAT, {"calibration.T": T})
    errors = {k: error(cls, dict.fromkeys(chosen.neurons, k), T) for k in GAINS}
    assert len({round(e, 6) for e in errors.values()}) > 3, "k does not matter here"
    k = min(k for k in GAINS if errors[k] <= 1.03 * min(errors.values()))
    gains, best = dict.fromkeys(chosen.neurons, k), errors[k]
    for node in chosen.graph.activations:
        for factor in (0.8, 1.25):
            trial = {**gains, node.name: k * factor}
            if error(cls, trial, T) < 0.995 * best:
                gains, best = trial, error(cls, trial, T)
                break
    found = {name: own["gain"].item() for name, own in chosen.neurons.items()}
    assert found == pytest.approx(gains)
