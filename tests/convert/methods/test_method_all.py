"""The contract of every method: it converts, comes close, counts, repeats, and refuses what it does
not read.
"""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from helpers.methods import neuron, record, relative_error, send
from helpers.networks import Pooled, TinyLeaky, images, make, spiking

from spiking_yolo.convert.load import Converted
from spiking_yolo.convert.methods import get_recipe, list_methods

METHODS = list(list_methods())
TRAINED = {name for name in METHODS if get_recipe(name).calibration.kind == "trained"}
# In one step.
COMPLETE = {"few-spikes", "sfn", *TRAINED}
POISSON = {name for name in METHODS if get_recipe(name).encoding.input == "poisson"}
FEW = {"calibration.T": 8}
# What one neuron sends, worked out by hand: method, settings, threshold, slope, currents, spikes.
GOLDEN: list[tuple[str, dict[str, Any], float, float, list[float], list[float]]] = [
    ("p-norm", {}, 1, 0, [3 / 8] * 8, [0, 0, 1, 0, 0, 1, 0, 1]),
    # A spike at equality, and no burst.
    ("p-norm", {}, 1, 0, [3, 0, 0, -5, 4.5], [1, 1, 1, 0, 0]),
    ("p-norm", {}, 1, 0, [3, 0, 0, -2, 3], [1, 1, 1, 0, 1]),
    ("channel-norm", {}, 1, 0.5, [-1, -1, -1, -1], [0, -1, 0, -1]),
    # The residual makes up for what a reset loses.
    ("rmp", {}, 1, 0, [0.75] * 4, [0, 1, 1, 1]),
    ("calibration-advanced", {"neuron.initial": 0.75}, 2, 0, [0.5] * 6, [1, 0, 0, 0, 1, 0]),
    ("ltb", {}, 1, 0, [0.25] * 6, [0, 1, 0, 0, 0, 1]),
    # 25 leaves in bursts of 5, 5 and 2, and one remains; debts are paid first.
    ("burst", {}, 2, 0, [25, 0, 0, 0], [5, 5, 2, 0]),
    ("burst", {}, 2, 0, [7.75, -9, 9, 4.25], [3, 0, 0, 3]),
    # alpha = 1/8: +1 at U >= 1, -1 only at U <= -8, which takes 8 off.
    ("channel-norm", {}, 1, 1 / 8, [-3] * 8, [0, 0, -1, 0, 0, -1, 0, -1]),
    ("channel-norm", {}, 1, 1 / 8, [0.5, 0.5, -7.5, -0.5], [0, 1, 0, -1]),
    # Each of four steps adds 1/8: U = 4/8, 8/8 - 1, 4/8, 8/8 - 1.
    ("opt", {"neuron.shift": 4}, 1, 0, [3 / 8] * 4, [0, 1, 0, 1]),
    ("opt", {"neuron.shift": 0}, 1, 0, [3 / 8] * 4, [0, 0, 1, 0]),
    # Reset to zero: U = 3/4, 6/4 -> 0.
    ("spike-norm", {}, 1, 0, [0.75] * 8, [0, 1, 0, 1, 0, 1, 0, 1]),
    ("spike-norm", {}, 1, 0, [7, 0, 0, 0.5], [1, 0, 0, 0]),
]


@cache
def converted(cls: type, name: str) -> Converted:
    """Calibrated on images(2), in few timesteps."""
    return spiking(make(cls), images(2), get_recipe(name), FEW)


def test_spikes_by_hand():
    for name, settings, theta, slope, currents, sent in GOLDEN:
        layer = neuron(get_recipe(name).with_settings(settings), theta, slope)
        assert send(layer, currents) == sent, name


@torch.no_grad()
@pytest.mark.parametrize("name", METHODS)
def test_it_comes_close_on_leaky_and_on_relu_networks(name: str):
    """With images that it was not calibrated on. Reset to zero never comes close; all others do,
    and keep doing so.
    """
    for cls in [TinyLeaky, Pooled]:
        x, steps = images(2, seed=7), [1, 8, 64]
        run = converted(cls, name).network().run(x, 64, steps)
        errors = [relative_error(run.snapshots[t].outputs, make(cls)(x)) for t in steps]
        last = run.snapshots[64]
        assert errors[2] < (0.4 if name == "spike-norm" else 0.15), errors
        assert errors[2] < errors[0] or (name in COMPLETE and errors[2] == errors[0]), errors
        assert all((count > 0).all() for count in last.spikes.values())
        assert (last.operations.spikes > 0).all() and run.neurons.keys() == last.spikes.keys()


@pytest.mark.parametrize("name", [name for name in METHODS if name not in COMPLETE])
def test_runs_repeat_and_do_not_depend_on_the_batch(name: str):
    """Repeated, bit by bit. In another batch, up to how a linear layer rounds its sums."""
    for cls in [TinyLeaky, Pooled]:
        x = images(3, seed=7)
        network = converted(cls, name).simulator(observed=True)
        together = record(network, x, 18)
        network.run(images(2, seed=8), 3)
        again = record(network, x, 18)
        alone = record(network, x[1:2], 18)
        for layer, sent in together.items():
            assert torch.equal(again[layer], sent)
            assert torch.allclose(alone[layer][:, 0], sent[:, 1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in COMPLETE | POISSON])
def test_scaled_input_and_biases_give_identical_spikes(name: str):
    """Times 2^5, calibrated again.

    A Poisson image is not scaled: its spikes come with a chance that is the intensity itself. Nor
    is an image of bytes.
    """
    plain = converted(TinyLeaky, name)
    tensors = {k: v * 32.0 if k.endswith(".bias") else v for k, v in plain.graph.tensors.items()}
    graph = replace(plain.graph, tensors=tensors)
    scaled = spiking(graph, images(2) * 32.0, get_recipe(name), FEW)
    x = images(2, seed=7)
    before = record(plain.simulator(observed=True), x, 20)
    after = record(scaled.simulator(observed=True), x * 32.0, 20)
    assert all(torch.equal(before[k], after[k]) and before[k].any() for k in before)
