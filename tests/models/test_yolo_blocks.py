"""Blocks of checkpoints that no shipped network has, against what their papers and trainers
compute.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spiking_yolo.models.yolo_blocks import SPP, Chain, Focus


def conv(inputs: int, outputs: int, kernel: int) -> Chain:
    return Chain(
        {"conv": nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), "act": nn.SiLU()}, {}
    )


@pytest.mark.parametrize("kernel", [1, 3])
@torch.no_grad()
def test_focus_reads_every_second_pixel_as_a_channel(kernel: int):
    torch.manual_seed(kernel)
    inner, x = conv(12, 5, kernel), torch.randn(2, 3, 8, 10)
    squares = [x[..., row::2, column::2] for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))]
    expected = inner(torch.cat(squares, 1))
    # Which changes the convolution.
    torch.testing.assert_close(Focus({"conv": inner}, {})(x), expected)


@torch.no_grad()
def test_spp_joins_poolings_of_its_first_convolution():
    torch.manual_seed(0)
    first, last, pools = (
        conv(4, 2, 1),
        conv(8, 3, 1),
        nn.ModuleList(nn.MaxPool2d(k, 1, k // 2) for k in (5, 9, 13)),
    )
    x = torch.randn(1, 4, 16, 16)
    y: Tensor = first(x)
    joined = [y, *(F.max_pool2d(y, k, 1, k // 2) for k in (5, 9, 13))]
    torch.testing.assert_close(
        SPP({"cv1": first, "cv2": last, "m": pools}, {})(x), last(torch.cat(joined, 1))
    )
