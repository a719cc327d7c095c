"""Randomness that depends on (seed, image, layer, step) and on nothing else, such as the batch."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor


def image_keys(x: Tensor) -> list[int]:
    """A fingerprint per image of [N, ...]."""
    return [zlib.crc32(image.contiguous().cpu().numpy().tobytes()) for image in x]


def uniform(like: Tensor, seed: int, keys: Sequence[int], layer: str, t: int) -> Tensor:
    """Uniform numbers in [0, 1) in the shape of `like`, [N, ...], one stream per image."""
    rows = []
    for key in keys:
        digest = hashlib.blake2b(f"{seed}/{key}/{layer}/{t}".encode(), digest_size=7).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
        rows.append(torch.rand(like.shape[1:], generator=generator))
    return torch.stack(rows).to(like)
