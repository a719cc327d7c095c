"""What pages share: small pictures and short numbers."""

import base64
import io

import numpy as np
import torch
from PIL import Image

from spiking_yolo.apps.page import as_bytes, rounded, small_map, sprite, thumbnails
from spiking_yolo.data.images import Placement
from spiking_yolo.draw.page import jpeg, photograph


def test_a_map_loses_its_letterbox_and_keeps_its_mean():
    rate = torch.zeros(8, 8)
    rate[2:6] = torch.tensor([[1.0, 3.0] * 4] * 4)
    # Two rows of grey above and below.
    placement = Placement((80, 40), (8, 4), (0, 2), (8, 8))
    small = small_map(rate, placement, 4)
    assert small.shape == (2, 4) and torch.equal(small, torch.full((2, 4), 2.0))
    tiles, low, high = as_bytes(torch.tensor([[[1.0, 2.0, 5.0]], [[3.0, 3.0, 3.0]]]))
    assert tiles.tolist() == [[[0, 64, 255]], [[0, 0, 0]]]
    assert (low, high) == ([1.0, 3.0], [5.0, 3.0])


def test_tiles_lie_where_the_page_looks_for_them():
    tiles = np.arange(300, dtype=np.uint8)[:, None, None].repeat(40, 1).repeat(3, 2)
    of = sprite(tiles)
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(of["sprite"].partition(",")[2]))))
    assert of["columns"] == 2 and image.shape == (150 * 40, 6)
    for k in (0, 1, 149, 299):
        assert image[k // 2 * 40 + 39, k % 2 * 3] == k % 256


def test_pictures_keep_to_their_budget():
    noise = np.random.default_rng(0).integers(0, 256, (900, 1400, 3), np.uint8)
    assert len(photograph(noise, 200_000)) <= 200_000 < len(photograph(noise, 10**7))
    frames = [jpeg(noise, 480, 70)] * 4
    assert sum(map(len, thumbnails(frames, 100_000))) <= 100_000
    assert sum(map(len, thumbnails(frames, 10**7))) > 100_000


def test_numbers_are_short():
    given = {"a": [1.23456, 1234567.0, float("nan")], "b": "x", "c": True}
    assert rounded(given) == {"a": [1.235, 1235000, None], "b": "x", "c": True}
