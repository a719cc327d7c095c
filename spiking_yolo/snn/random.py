"""Randomness that depends on (seed, image, layer, step) and on nothing else, such as the batch."""

import hashlib
import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from spiking_yolo.snn.backend.layout import beside


def image_keys(x: Tensor) -> list[int]:
    """A fingerprint per image of [N, ...]."""
    return [zlib.crc32(image.contiguous().cpu().numpy().tobytes()) for image in x]


def uniform(like: Tensor, seed: int, keys: Sequence[int], layer: str, t: int) -> Tensor:
    """Uniform numbers in [0, 1), multiples of 2^-16, in the shape of `like`, [N, C, ...], one stream per image.

    A stream runs through the image with its channels last, the order in which a spiking network keeps its tensors.
    """
    size = like[0].numel()
    numbers = np.empty((len(keys), size), np.float32)
    for row, key in zip(numbers, keys, strict=True):
        digest = hashlib.blake2b(f"{seed}/{key}/{layer}/{t}".encode(), digest_size=7).digest()
        drawn = np.random.SFC64(int.from_bytes(digest, "little")).random_raw((size + 3) // 4)
        np.multiply(drawn.view("<u2")[:size], np.float32(2.0**-16), out=row)
    found = torch.from_numpy(numbers).view(len(keys), *like.shape[2:], like.shape[1])
    return beside(found.movedim(-1, 1), like, like.dtype)
