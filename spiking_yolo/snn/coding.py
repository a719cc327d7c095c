"""How the image enters and how values travel: codings, spike values, random streams."""

import hashlib
import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from spiking_yolo.recipe import Encoding, Recipe
from spiking_yolo.snn.counting import Counts
from spiking_yolo.snn.layout import channels_last


def image_keys(x: Tensor) -> list[int]:
    """A fingerprint of each image of [N, ...], which seeds its random numbers."""
    return [zlib.crc32(image.contiguous().cpu().numpy().tobytes()) for image in x]


def uniform(like: Tensor, seed: int, keys: Sequence[int], layer: str, t: int) -> Tensor:
    """Uniform random numbers in [0, 1), multiples of 2^-16, in the shape of `like`, [N, C, ...].

    They depend on (seed, image, layer, step) and on nothing else, such as the batch. Each image has
    a stream of its own, which runs through the image with its channels last, as tensors lie in
    memory here.
    """
    size = like[0].numel()
    numbers = np.empty((len(keys), size), np.float32)
    for row, key in zip(numbers, keys, strict=True):
        digest = hashlib.blake2b(f"{seed}/{key}/{layer}/{t}".encode(), digest_size=7).digest()
        bits = np.random.SFC64(int.from_bytes(digest, "little")).random_raw((size + 3) // 4)
        np.multiply(bits.view("<u2")[:size], np.float32(2.0**-16), out=row)
    values = torch.from_numpy(numbers).view(len(keys), *like.shape[2:], like.shape[1])
    return values.movedim(-1, 1).to(like)


# The value of a spike while a layer is silent: no neuron has half of it to send.
SILENT = 2.0**64


def spike_weight(e: Encoding, t: int, before: int = 0) -> float:
    """The value of a spike in step t, in thetas, of a layer behind `before` others.

    With `coarse` it is halved in each step down to 1, from the layer's first step on, and the layer
    starts one step after the one before it.
    """
    if not e.coarse:
        return 1.0
    step = t - before
    if not 1 <= step <= e.coarse + 1:
        return SILENT
    return 2.0 ** (e.coarse - step + 1)


def schedule_end(e: Encoding, before: int) -> int:
    """The step after which spikes keep their value in all layers, the last of which is behind
    `before` others.
    """
    if not e.coarse:
        return 0
    return e.coarse + before + 1


def poisson(x: Tensor, seed: int, keys: Sequence[int], name: str, t: int) -> tuple[Tensor, Tensor]:
    """Poisson spikes: a pixel fires with a probability proportional to its intensity.

    A spike has the largest magnitude of its image (at least 1).

    Args:
        x: Images, [N, C, H, W].
        keys: Their fingerprints.

    Returns:
        The values that travel, and where there was a spike (0 or 1).
    """
    top = x.abs().amax((1, 2, 3), keepdim=True).clamp(min=1)
    fired = (uniform(x, seed, keys, name, t) * top < x.abs()).to(x)
    return x.sign() * fired * top, fired


class ImageInput:
    """A batch of images, [N, C, H, W], as it enters the network.

    Attributes:
        keys: Fingerprints of the images, for all that is random.
    """

    def __init__(self, recipe: Recipe):
        self._settings, self._once = recipe.encoding, recipe.differential

    def start(self, x: Tensor) -> None:
        """Present new images and forget the former ones."""
        self.keys: list[int] = []
        if self._settings.input != "analogue":
            self.keys = image_keys(x)
        image = channels_last(x)
        # The caller may write to x later.
        if self._once and image.data_ptr() == x.data_ptr():
            image = image.clone()
        self._image = image
        self._fired: dict[str, Tensor] = {}

    def send(self, name: str, t: int) -> Tensor:
        """What the input node of this name sends in step t."""
        if self._once:
            return self._image if t == 1 else torch.zeros_like(self._image)
        if self._settings.input == "analogue":
            return self._image
        sent, fired = poisson(self._image, self._settings.seed, self.keys, name, t)
        self._fired[name] = self._fired.get(name, 0) + fired
        return sent

    def counts(self) -> dict[str, Counts]:
        """Spikes so far at each position, if the image sends spikes."""
        return {name: Counts.alike(fired) for name, fired in self._fired.items()}
