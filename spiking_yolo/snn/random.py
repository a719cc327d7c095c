"""Randomness that depends on (seed, image, layer, step) and on nothing else, such as the batch."""

import hashlib
import math
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from spiking_yolo.snn.backend.layout import beside

CHUNK = 2**16  # numbers that are drawn at once: a multiple of the four that a draw of 64 bits gives


def image_keys(x: Tensor) -> list[int]:
    """A fingerprint per image of [N, ...]."""
    return [zlib.crc32(image.contiguous().cpu().numpy().tobytes()) for image in x]


def uniform(like: Tensor, seed: int, keys: Sequence[int], layer: str, t: int) -> Tensor:
    """Uniform numbers in [0, 1), multiples of 2^-16, in the shape of `like`, [N, C, ...], one stream per image.

    A stream runs through the image with its channels last, the order in which a spiking network keeps its tensors.
    """
    numbers = np.empty((len(keys), like[0].numel()), np.float32)
    for part, drawn in _streams(numbers, seed, keys, layer, t):
        np.multiply(drawn, np.float32(2.0**-16), out=part)
    return _shaped(numbers, like).to(like.dtype)


def below(chance: float, like: Tensor, seed: int, keys: Sequence[int], layer: str, t: int) -> Tensor:
    """Where the numbers of `uniform` lie below `chance`: 1 there and 0 elsewhere, in uint8.

    That is a comparison of whole numbers, and PyTorch converts uint8 several times as fast as bool.
    """
    found = np.empty((len(keys), like[0].numel()), bool)
    for part, drawn in _streams(found, seed, keys, layer, t):
        np.less(drawn, math.ceil(chance * 2**16), out=part)
    return _shaped(found.view(np.uint8), like)


def _streams(out: np.ndarray, seed: int, keys: Sequence[int], layer: str, t: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Parts of `out`, a row per image, and for each as many whole numbers in [0, 2^16), few enough for the cache."""
    for row, key in zip(out, keys, strict=True):
        digest = hashlib.blake2b(f"{seed}/{key}/{layer}/{t}".encode(), digest_size=7).digest()
        generator = np.random.SFC64(int.from_bytes(digest, "little"))
        for start in range(0, len(row), CHUNK):
            part = row[start : start + CHUNK]
            yield part, generator.random_raw((len(part) + 3) // 4).view("<u2")[: len(part)]


def _shaped(values: np.ndarray, like: Tensor) -> Tensor:
    """[N, numbers of an image] in the shape of `like`, channels last, on its device."""
    found = torch.from_numpy(values).view(len(values), *like.shape[2:], like.shape[1])
    return beside(found.movedim(-1, 1), like, found.dtype)
