"""A layer of ours against Intel's fixed-point models, Lava: 8-bit weights, sums in 24 bits.

LAVA_PYTHON names a Python 3.10 with lava-nc, which .ci/simulators installs.
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from spiking_yolo.graph import Activation
from spiking_yolo.integer.convolution import WholeConvolution
from spiking_yolo.integer.neuron import WholeLayer, fire
from spiking_yolo.recipe import Neuron

STEPS, CHANNELS, OUTPUTS, SIZE = 8, 2, 4, 12
GEOMETRY = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
LAVA = os.environ.get("LAVA_PYTHON", "")


@pytest.mark.skipif(not LAVA, reason="LAVA_PYTHON names no Python 3.10 with lava-nc")
def test_a_convolution_and_its_neurons_send_what_lava_sends(tmp_path: Path):
    draw = np.random.default_rng(0)
    levels = draw.normal(0, 6, (OUTPUTS, CHANNELS, 3, 3)).round()
    levels[0, 0, 0, 0], levels[1, 1, 2, 1] = -127, 60
    bias = draw.integers(-9, 10, OUTPUTS)
    frames = draw.integers(0, 2, (STEPS, CHANNELS, SIZE, SIZE))
    # Two thirds of the picture stay as they were.
    for k in range(1, STEPS):
        stays = draw.random((CHANNELS, SIZE, SIZE)) < 2 / 3
        frames[k] = np.where(stays, frames[k - 1], frames[k])
    changes = np.diff(frames, axis=0, prepend=0)
    threshold = 3
    given, found = tmp_path / "layer.npz", tmp_path / "events.npy"
    np.savez(given, changes=changes, levels=levels, bias=bias, vth=threshold)
    program = Path(__file__).parents[1] / "helpers" / "lava_layer.py"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([LAVA, program, given, found], env=environment, check=True)
    # In the step before the first sums arrive, there are biases.
    biases, *events = np.load(found)

    convolution = WholeConvolution(torch.from_numpy(levels), GEOMETRY, 1)
    ones, zeros = torch.ones(OUTPUTS), torch.zeros(OUTPUTS)
    settings = Neuron(kind="sigma-delta", events="digits")
    offset = torch.from_numpy(bias).float()
    layer = WholeLayer(Activation(0.0), settings, (ones,), offset, ones, zeros, None)
    sent = torch.from_numpy(biases.copy()).float()[None]
    first = np.where(bias >= threshold, bias, 0)[:, None, None]
    assert np.array_equal(biases, np.broadcast_to(first, biases.shape))
    for frame, theirs in zip(frames, events, strict=True):
        sums = convolution(torch.from_numpy(frame).float()[None])
        before, sent = sent, fire([sums], layer, sent, dead_zone=threshold - 0.5)
        assert sent.abs().max() < 127
        assert np.array_equal((sent - before)[0].numpy(), theirs)
    assert len(np.unique(events)) > 50
