"""The blocks of YOLOv5 and Ultralytics' detectors.

Children keep their names in the checkpoint, so the layers of neurons have the same names whether
this package or Ultralytics opens it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from spiking_yolo.graph import modules


class Block(nn.Module):
    """A module with the children of a record, and the numbers that its forward pass needs."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, children: Mapping[str, nn.Module], numbers: Mapping[str, Any]) -> None:
        super().__init__()
        self.numbers = numbers
        for name, child in children.items():
            self.add_module(name, child)


class Chain(Block):
    """Layers one behind the other, beside a shortcut where the numbers say so."""

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self.children():
            y = layer(y)
        if self.numbers.get("add"):
            y = x + y
        return y


class C3(Block):
    """Two branches of half the channels, one of them with bottlenecks."""

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


def _joined(y: Sequence[Tensor], chain: Iterable[nn.Module]) -> Tensor:
    """Maps, and what each layer of a chain makes of the last of them, as one map."""
    maps = list(y)
    for layer in chain:
        maps.append(layer(maps[-1]))
    return torch.cat(maps, 1)


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """Both halves of the channels."""
    halves = x.chunk(2, 1)
    # A loop over them cannot be traced.
    return halves[0], halves[1]


class C2(Block):
    """Bottlenecks for half the channels."""

    def forward(self, x: Tensor) -> Tensor:
        left, right = _halves(self.cv1(x))
        return self.cv2(torch.cat((self.m(left), right), 1))


class C2PSA(Block):
    """Blocks with attention for half the channels."""

    def forward(self, x: Tensor) -> Tensor:
        left, right = _halves(self.cv1(x))
        return self.cv2(torch.cat((left, self.m(right)), 1))


class C2f(Block):
    """Aggregation of a chain of bottlenecks (C2f, C3k2, C2fCIB), as in ELAN."""

    def forward(self, x: Tensor) -> Tensor:
        return self.cv2(_joined(_halves(self.cv1(x)), self.m.children()))


class ELAN(Block):
    """Efficient layer aggregation (Wang et al. 2022): all layers but the last are a chain."""

    def forward(self, x: Tensor) -> Tensor:
        first, *chain, last = self.children()
        return last(_joined(_halves(first(x)), chain))


class Attention(Block):
    """Attention between the cells of a map (Vaswani et al. 2017), or of each of its areas (Tian et
    al., "YOLOv12", 2025), with an encoding of their places by a convolution of the values.

    The convolution that computes queries, keys and values becomes three, so that each has neurons
    of its own. The scale of the scores is in that of the queries.
    """

    def __init__(self, children: Mapping[str, nn.Module], numbers: Mapping[str, Any]) -> None:
        super().__init__({name: children[name] for name in ("proj", "pe")}, numbers)
        heads = numbers["num_heads"]
        values = self.pe.conv.weight.shape[0] // heads
        weight, bias = _folded(children["qkv"])
        keys = (len(weight) // heads - values) // 2
        by_head = torch.arange(len(weight)).unflatten(0, (heads, -1))
        for name, of_name in zip("qkv", by_head.split([keys, keys, values], 1), strict=True):
            scale = 1.0
            if name == "q":
                scale = numbers.get("scale", keys**-0.5)
            own = of_name.flatten()
            self.add_module(name, conv_of(weight[own] * scale, bias[own] * scale))
        self.attention = modules.Attention(heads, numbers.get("area", 1))

    def forward(self, x: Tensor) -> Tensor:
        v = self.v(x)
        return self.proj(self.attention(self.q(x), self.k(x), v) + self.pe(v))


def _folded(block: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a 1 x 1 convolution, its batch norm included.

    Raises:
        ValueError: It is another convolution, or has an activation.
    """
    parts: dict[str, Any] = dict(block.named_children())
    conv = parts["conv"]
    linear = isinstance(parts["act"], nn.Identity) and conv.groups == 1
    if not linear or (conv.kernel_size, conv.stride, conv.padding) != ((1, 1), (1, 1), (0, 0)):
        raise ValueError
    if "bn" in parts:
        conv = fuse_conv_bn_eval(conv.eval(), parts["bn"].eval())
    bias = conv.bias
    if bias is None:
        bias = conv.weight.new_zeros(len(conv.weight))
    return conv.weight.detach(), bias.detach()


def conv_of(weight: Tensor, bias: Tensor | None, groups: int = 1, **geometry: Any) -> nn.Conv2d:
    """A convolution with these numbers."""
    size = weight.shape[2], weight.shape[3]
    how = {"groups": groups, "bias": bias is not None, "device": "meta", **geometry}
    conv = nn.Conv2d(weight.shape[1] * groups, len(weight), size, **how)
    numbers = {"weight": weight, "bias": bias}
    if bias is None:
        del numbers["bias"]
    conv.load_state_dict(numbers, assign=True)
    return conv


class PSABlock(Block):
    """Attention, then convolutions, each beside a shortcut."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            y = layer(x)
            x = x + y if self.numbers.get("add", True) else y
        return x


class PSA(Block):
    """Attention and convolutions, each beside a shortcut, for half the channels."""

    def forward(self, x: Tensor) -> Tensor:
        left, right = _halves(self.cv1(x))
        for layer in (self.attn, self.ffn):
            right = right + layer(right)
        return self.cv2(torch.cat((left, right), 1))


class A2C2f(Block):
    """Aggregation of a chain of blocks with area attention; large scales add a scaled shortcut."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(_joined([self.cv1(x)], self.m.children()))
        if hasattr(self, "gamma"):
            y = x + self.gamma(y)
        return y


class SPPF(Block):
    """Spatial pyramid pooling by repeated poolings."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(_joined([self.cv1(x)], [self.m] * self.numbers.get("n", 3)))
        if self.numbers.get("add"):
            y = y + x
        return y


class SPPELAN(Block):
    """Spatial pyramid pooling by poolings that are all layers but the first and the last."""

    def forward(self, x: Tensor) -> Tensor:
        first, *chain, last = self.children()
        return last(_joined([first(x)], chain))


class RepConv(Block):
    """The sum of convolutions of one map, and an activation (RepVGG, Ding et al. 2021)."""

    def forward(self, x: Tensor) -> Tensor:
        first, *others, activation = self.children()
        y = first(x)
        for conv in others:
            y = y + conv(x)
        return activation(y)


class AConv(Block):
    """Average pooling, which keeps the size but for one row and column, then a convolution."""

    def forward(self, x: Tensor) -> Tensor:
        return self.cv1(F.avg_pool2d(x, 2, 1))


class ADown(Block):
    """AConv for half the channels; max pooling and a convolution for the others."""

    def forward(self, x: Tensor) -> Tensor:
        left, right = _halves(F.avg_pool2d(x, 2, 1))
        return torch.cat((self.cv1(left), self.cv2(F.max_pool2d(right, 3, 2, 1))), 1)


class Concat(Block):
    def forward(self, x: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(x), self.numbers.get("d", 1))


class Head(Block):
    """The layers of a detection head up to its last convolutions, which the children hold by map.

    YOLOv5 has one branch, heads without anchors one for boxes and one for classes.
    """

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        outputs: list[Tensor] = []
        for k, x in enumerate(maps):
            parts = [branch.get_submodule(str(k))(x) for branch in self.children()]
            if len(parts) > 1:
                parts = [torch.cat(parts, 1)]
            outputs += parts
        return outputs


_C3, _C2F, _ELAN = "cv1 cv2 cv3 m", "cv1 cv2 m", "cv1 cv2 cv3 cv4"
# Last part of a module's name -> its class, and the children that it must have, in their order;
# several where versions differ, or where fusing leaves fewer.
BLOCKS: dict[str, tuple[type[Block], tuple[str, ...]]] = {
    **dict.fromkeys(["Conv", "DWConv"], (Chain, ("conv bn act", "conv act"))),
    **dict.fromkeys(["Bottleneck", "RepBottleneck", "SCDown"], (Chain, ("cv1 cv2",))),
    "CIB": (Chain, ("cv1",)),
    **dict.fromkeys(["C3", "C3k", "RepCSP"], (C3, (_C3,))),
    "C2": (C2, (_C2F,)),
    "C2PSA": (C2PSA, (_C2F,)),
    **dict.fromkeys(["C2f", "C3k2", "C2fCIB", "C2fPSA"], (C2f, (_C2F,))),
    **dict.fromkeys(["RepNCSPELAN4", "ELAN1"], (ELAN, (_ELAN,))),
    "A2C2f": (A2C2f, (_C2F, f"{_C2F} gamma")),
    **dict.fromkeys(["Attention", "AAttn"], (Attention, ("qkv proj pe",))),
    "PSABlock": (PSABlock, ("attn ffn",)),
    "ABlock": (PSABlock, ("attn mlp",)),
    "PSA": (PSA, ("cv1 cv2 attn ffn",)),
    "SPPF": (SPPF, (_C2F,)),
    "SPPELAN": (SPPELAN, ("cv1 cv2 cv3 cv4 cv5",)),
    "RepConv": (RepConv, ("conv1 conv2 act", "conv act")),
    "RepVGGDW": (RepConv, ("conv conv1 act", "conv act")),
    "AConv": (AConv, ("cv1",)),
    "ADown": (ADown, ("cv1 cv2",)),
    "Concat": (Concat, ("",)),
}
