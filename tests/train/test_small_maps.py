"""Convolutions as matrix products against PyTorch's own, values and gradients in float64."""

from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

from spiking_yolo.train import detect as small_maps
from spiking_yolo.train.detect import SmallMaps


def with_gradients(conv: nn.Module, x: Tensor) -> list[Tensor]:
    """Output, and the gradients of a weighted sum of it by input, kernel and bias."""
    x = x.clone().requires_grad_()
    y = conv(x)
    weights = torch.arange(y.numel(), dtype=y.dtype).reshape(y.shape).sin()
    return [y, *torch.autograd.grad((y * weights).sum(), [x, *conv.parameters()])]


@pytest.mark.parametrize("kernel", [1, 3, 5, (3, 5)])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (4, 4), (2, 5)])
def test_values_and_gradients_are_those_of_a_plain_convolution(
    kernel: int | tuple[int, int], size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    padding = (kernel[0] // 2, kernel[1] // 2) if isinstance(kernel, tuple) else kernel // 2
    conv = nn.Conv2d(3, 5, kernel, padding=padding).double()
    x = torch.randn(4, 3, *size, dtype=torch.float64)
    plain = with_gradients(conv, x)
    with (
        patch.object(small_maps, "by_patches", wraps=small_maps.by_patches) as product,
        SmallMaps(),
    ):
        ours = with_gradients(conv, x)
    assert product.call_count == 1
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("conv", "shape"),
    [
        (nn.Conv2d(4, 4, 3, padding=1), (2, 4, 8, 8)),  # large maps
        (nn.Conv2d(4, 4, 3, padding=1, stride=2), (2, 4, 4, 4)),
        (nn.Conv2d(4, 4, 3, padding=1, groups=2), (2, 4, 4, 4)),
        (nn.Conv2d(4, 4, 3, padding=2, dilation=2), (2, 4, 4, 4)),
        (nn.Conv2d(4, 4, 3), (2, 4, 4, 4)),
        (nn.Conv2d(4, 4, 3, padding="same"), (2, 4, 4, 4)),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), (2, 4, 4, 4)),
    ],
)
def test_other_convolutions_are_left_to_pytorch(conv: nn.Conv2d, shape: tuple[int, ...]) -> None:
    with patch.object(small_maps, "by_patches") as product, SmallMaps():
        conv(torch.randn(shape))
    product.assert_not_called()
