"""Blocks of checkpoints that no shipped network has, against what their papers and trainers
compute.
"""

import torch
from torch import Tensor, nn

from spiking_yolo.models.yolo_blocks import A2C2f, Attention, Chain, scaling


def conv(inputs: int, outputs: int, kernel: int) -> Chain:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    return Chain({"conv": conv, "act": nn.SiLU()}, {})


def linear(inputs: int, outputs: int, kernel: int) -> Chain:
    """A convolution and a batch norm whose numbers all matter."""
    norm = nn.BatchNorm2d(outputs).eval()
    for name, tensor in norm.state_dict().items():
        if name != "num_batches_tracked":
            nn.init.uniform_(tensor, 0.5, 1.5)
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return Chain({"conv": layer, "bn": norm, "act": nn.Identity()}, {})


def plain_attention(q: Tensor, k: Tensor, v: Tensor, areas: int) -> Tensor:
    """Of one head, [D, T] each, as in the papers: queries are rows, and the scale is 1 / sqrt(D)."""
    results: list[Tensor] = []
    parts = zip(q.chunk(areas, 1), k.chunk(areas, 1), v.chunk(areas, 1), strict=True)
    for queries, keys, values in parts:
        weights = torch.softmax(queries.T @ keys / len(keys) ** 0.5, 1)
        results.append((weights @ values.T).T)
    return torch.cat(results, 1)


@torch.no_grad()
def test_area_attention():
    """One convolution holds queries, keys and values of each head together."""
    for areas in [1, 2, 4]:
        torch.manual_seed(areas)
        heads, size = 3, 4
        channels = heads * size
        children: dict[str, nn.Module] = {"proj": linear(channels, channels, 1)}
        children["pe"] = linear(channels, channels, 5)
        x = torch.randn(1, channels, 4, 6)
        children["qkv"] = linear(channels, 3 * channels, 1)
        by_head = children["qkv"](x)[0].view(heads, 3, size, 24)
        outputs = [plain_attention(q, k, v, areas) for q, k, v in by_head]
        values = by_head[:, 2].reshape(1, channels, 4, 6)
        expected = children["proj"](torch.cat(outputs).view(x.shape) + children["pe"](values))
        found = Attention(children, {"num_heads": heads, "area": areas})(x)
        torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_the_shortcut_of_a_large_scale_has_a_factor_for_each_channel():
    torch.manual_seed(0)
    first, last, inner = conv(4, 2, 1), conv(4, 4, 1), conv(2, 2, 3)
    factors, x = torch.tensor([0.5, 0.0, -1.0, 2.0]), torch.randn(1, 4, 5, 5)
    y = first(x)
    joined = last(torch.cat([y, inner(y)], 1))
    children = {"cv1": first, "cv2": last, "m": nn.ModuleList([inner])}
    torch.testing.assert_close(A2C2f(children, {})(x), joined)
    children["gamma"] = scaling(factors)
    expected = x + factors.view(1, 4, 1, 1) * joined
    torch.testing.assert_close(A2C2f(children, {})(x), expected)
