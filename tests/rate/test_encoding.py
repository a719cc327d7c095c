"""The input: analogue, or Poisson spikes that depend on the image and the step, and on
nothing else.
"""

import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from helpers.methods import points
from helpers.networks import images, spiking
from torch import Tensor

from spiking_yolo.rate.network import SILENT, image_keys, spike_weight, uniform
from spiking_yolo.recipe import Encoding, Recipe

POISSON = {"encoding.input": "poisson", "neuron.initial": 0.5}


def watch(settings: dict[str, Any], x: Tensor, T: int) -> Tensor:
    """What enters a network whose first layer is the identity: [T, N, 1, H, W]."""
    graph = points([([[1.0]], [0.0]), ([[1.0]], [0.0])])
    entered: list[Tensor] = []
    network = spiking(graph, x, Recipe("tested"), settings).simulator(observed=True)
    network.run(x, T, probes=[lambda name, t, layer, current: entered.append(current.clone())])
    return torch.stack(entered)


def grey(n: int = 2, seed: int = 0) -> Tensor:
    return images(n, seed)[:, :1]


def test_analogue_input_is_the_image_in_every_step():
    assert torch.equal(watch({}, grey(), 5), grey().expand(5, -1, -1, -1, -1))


def test_poisson_input_is_spikes_of_the_right_mean():
    """Within five standard deviations for every pixel, and half a percent over all of them."""
    x, T = grey(), 400
    entered = watch(POISSON, x, T)
    assert entered.unique().tolist() == [0, 1]
    deviation = (entered.mean(0) - x).abs() / (x * (1 - x) / T).sqrt()
    assert deviation.max() < 5 and deviation.mean() > 0.5
    assert entered.mean().item() == pytest.approx(x.mean().item(), rel=0.02)


def test_an_image_sends_the_same_spikes_in_any_batch():
    x = grey(3)
    together = watch(POISSON, x, 10)
    for i in range(3):
        assert torch.equal(watch(POISSON, x[i : i + 1], 10)[:, 0], together[:, i])
    assert torch.equal(watch(POISSON, x.flip(0), 10), together.flip(1))
    assert not torch.equal(together[:, 0], together[:, 1])


def test_a_stream_is_that_of_the_generator():
    """It depends on its keys alone; channels last, and no multiple of the four numbers of a draw."""
    keys = image_keys(images(3))
    assert len(set(keys)) == 3 and image_keys(images(3)[1:]) == keys[1:]
    like = torch.zeros(2, 3, 150, 151)
    drawn = uniform(like, 5, [7, 8], "conv", 3)
    for image, key in zip(drawn, (7, 8), strict=True):
        digest = hashlib.blake2b(f"5/{key}/conv/3".encode(), digest_size=7).digest()
        state = int.from_bytes(digest, "little")
        whole = np.random.SFC64(state).random_raw(16988).view("<u2")[: image.numel()]
        np.testing.assert_array_equal(image.movedim(0, -1).flatten().numpy() * 2**16, whole)


def test_a_layer_sends_in_its_own_steps_from_coarse_to_fine():
    e = Encoding(coarse=2)
    assert [spike_weight(e, t) for t in range(1, 5)] == [4, 2, 1, SILENT]
    assert [spike_weight(e, t, before=2) for t in range(1, 7)] == [SILENT] * 2 + [4, 2, 1, SILENT]
