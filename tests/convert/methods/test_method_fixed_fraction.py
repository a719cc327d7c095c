"""Fixed fraction: the one c for all layers with the smallest error of the output, against trying
all of them.
"""

from typing import Any

import pytest
import torch
from helpers.methods import method, points
from helpers.networks import Pooled, TinyLeaky, images, make, spiking

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.convert.output_error import FRACTIONS
from spiking_yolo.graph import Graph, forward

FIXED = get_recipe("fixed-fraction")


def error(graph: Graph, c: float, T: int) -> float:
    """Sum over the images of |SNN - ANN| / |ANN|, over all outputs of an image together."""
    network = spiking(
        graph, images(2), FIXED, {"calibration.kind": "none", "threshold.scale": c}
    ).network()
    total = 0.0
    for image in images(2).split(1):
        expected = torch.cat([o.flatten() for o in forward(graph, image)])
        got = torch.cat([o.flatten() for o in network.run(image, T).snapshots[T].outputs])
        total += ((got - expected).norm() / expected.norm()).item()
    return total


@pytest.mark.parametrize(("cls", "T"), [(Pooled, 4), (TinyLeaky, 4), (TinyLeaky, 32)])
def test_c_is_the_best_of_all(cls: Any, T: int):
    whole = spiking(make(cls), images(2), FIXED, {"calibration.kind": "none"})
    errors = {k / 10: error(whole.graph, k / 10, T) for k in range(1, 11)}
    assert len({round(e, 6) for e in errors.values()}) > 3, "c does not matter here"
    chosen = spiking(whole.graph, images(2), FIXED, {"calibration.T": T})
    for name, site in chosen.neurons.items():
        for key in {"theta", "theta_off"} & set(site):
            torch.testing.assert_close(
                site[key], min(errors, key=errors.__getitem__) * whole.neurons[name][key]
            )
        assert site["initial"] == 0


def test_a_short_run_wants_a_smaller_fraction():
    """A threshold far above the usual activation is silent for long; by hand: one neuron at 1, many
    at 1/8, T = 4.

    At c = 1 the many send nothing in four steps. c = 0.1 sends 0.1 of the 1/8, but clips the one; c
    lies between.
    """
    graph = points([([[1.0]], [0.0]), ([[1.0]], [0.0])])
    x = torch.full((1, 1, 8, 16), 0.125, dtype=torch.float64)
    x[0, 0, 0, 0] = 1.0
    short, long = (
        spiking(graph, x, FIXED, {"calibration.T": T}).neurons["act1"]["theta"].item()
        for T in (4, 256)
    )
    assert short == pytest.approx(0.5) and long == 1.0


def test_the_fraction_multiplies_the_maximum_of_the_layer():
    model, converted = method(Pooled, "fixed-fraction")
    with torch.no_grad():
        top = model.body[0](images(2)).max().float()  # type: ignore[index, operator]
    fraction = (converted.neurons["body_1"]["theta"] / top).unique()
    assert fraction.numel() == 1 and min(abs(fraction.item() - c) for c in FRACTIONS) < 1e-6
