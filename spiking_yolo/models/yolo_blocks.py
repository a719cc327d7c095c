"""The blocks of YOLOv5 and Ultralytics' detectors, built from what a checkpoint records of them.

Children keep the names that they have there, so that the layers of neurons are called the same whoever opens the file.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from spiking_yolo.errors import UserError
from spiking_yolo.models.pickled import Record
from spiking_yolo.models.torch_file import TorchFile
from spiking_yolo.models.torch_layers import LAYERS

MODULES, DEPTH, POOLS = 5000, 12, 8  # at most: modules in all, in one another; poolings of SPPF
FAMILIES = "give a detector of YOLOv5, or of Ultralytics' v3u, v5u and v8"
OTHERS = "if you trust its source, --trust-weights (trust=True) lets Ultralytics open it"


class Block(nn.Module):
    """A module of these children. numbers: of the record, by name."""

    cv1: nn.Module
    cv2: nn.Module
    cv3: nn.Module
    m: nn.Module

    def __init__(self, children: Mapping[str, nn.Module], numbers: Mapping[str, Any]) -> None:
        super().__init__()
        self.numbers = numbers
        for name, child in children.items():
            self.add_module(name, child)


class Conv(Block):
    """Convolution, batch norm unless it is folded already, activation."""

    def forward(self, x: Tensor) -> Tensor:
        children = dict(self.named_children())
        for name in ("conv", "bn", "act"):
            x = children[name](x) if name in children else x
        return x


class Bottleneck(Block):
    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.numbers.get("add") else y


class C3(Block):
    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class C2f(Block):
    def forward(self, x: Tensor) -> Tensor:
        halves = self.cv1(x).split((self.numbers["c"],) * 2, 1)
        y = [halves[0], halves[1]]  # to iterate over them cannot be traced
        for layer in self.m.children():
            y.append(layer(y[-1]))
        return self.cv2(torch.cat(y, 1))


class SPPF(Block):
    def forward(self, x: Tensor) -> Tensor:
        y = [self.cv1(x)]
        for _ in range(self.numbers.get("n", 3)):
            y.append(self.m(y[-1]))
        return self.cv2(torch.cat(y, 1)) + x if self.numbers.get("add") else self.cv2(torch.cat(y, 1))


class SPP(Block):
    def forward(self, x: Tensor) -> Tensor:
        y = self.cv1(x)
        return self.cv2(torch.cat([y, *(pool(y) for pool in self.m.children())], 1))


class Focus(Block):
    """A convolution that reads the pixels of each 2 x 2 square as channels: one of twice its side, stride and padding.

    The channels of the pixels above left come first, then those below left, above right, below right.
    """

    def __init__(self, children: Mapping[str, nn.Module], numbers: Mapping[str, Any]) -> None:
        super().__init__(children, numbers)
        conv: Any = children["conv"].get_submodule("conv")
        w = conv.weight.detach().unflatten(1, (4, -1))
        (height, width), groups = conv.kernel_size, conv.groups
        if groups != 1 or conv.dilation != (1, 1):
            raise ValueError
        spread = w.new_zeros(len(w), w.shape[2], 2 * height, 2 * width)
        for k in range(4):
            spread[:, :, k % 2 :: 2, k // 2 :: 2] = w[:, k]
        conv.weight = nn.Parameter(spread)
        conv.in_channels //= 4
        for name in ("kernel_size", "stride", "padding"):
            setattr(conv, name, tuple(2 * side for side in getattr(conv, name)))

    def forward(self, x: Tensor) -> Tensor:
        return dict(self.named_children())["conv"](x)


class Concat(Block):
    def forward(self, x: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(x), self.numbers.get("d", 1))


def raw_head(head: nn.Module, x: Tensor, k: int) -> Tensor:
    """A head's last convolutions on its k-th map: YOLOv5's has one, the one without anchors two branches."""
    children = dict(head.named_children())
    if "m" in children:
        return children["m"].get_submodule(str(k))(x)
    return torch.cat([children[branch].get_submodule(str(k))(x) for branch in ("cv2", "cv3")], 1)


# last part of a module's name -> the children that it must have
BLOCKS: dict[str, tuple[type[Block], tuple[str, ...]]] = {
    **dict.fromkeys(["Conv", "DWConv"], (Conv, ("conv", "act"))),
    "Bottleneck": (Bottleneck, ("cv1", "cv2")),
    "C3": (C3, ("cv1", "cv2", "cv3", "m")),
    "C2f": (C2f, ("cv1", "cv2", "m")),
    "SPPF": (SPPF, ("cv1", "cv2", "m")),
    "SPP": (SPP, ("cv1", "cv2", "m")),
    "Focus": (Focus, ("conv",)),
    "Concat": (Concat, ()),
    "Detect": (Block, ()),
}
SOURCES = ("models.common.", "models.yolo.", "ultralytics.nn.modules.", "ultralytics.nn.tasks.")


@dataclass
class Builder:
    """Makes modules of records, with the numbers of an open file. count: made so far."""

    file: TorchFile
    count: int = 0

    def build(self, record: Any, name: str, depth: int = 0) -> nn.Module:
        """The module of a record. Raises UserError, with the record's `name` in the network, for an unknown one."""
        self.count += 1
        if self.count > MODULES or depth > DEPTH:
            raise UserError(f"node {name!r}: more modules than any detector has; {FAMILIES}")
        kind, state = described(record, name)
        origin = "torch.nn.modules." if kind in LAYERS else SOURCES
        if kind not in (*LAYERS, *BLOCKS) or not record.name.startswith(origin):
            way_out = f"{FAMILIES}; {OTHERS}" if record.name.startswith("ultralytics.") else FAMILIES
            raise UserError(f"node {name!r} ({kind}) is not known here: {way_out}")
        inner = state["_modules"]
        if kind == "Detect":
            inner = {key: inner[key] for key in ("m", "cv2", "cv3") if key in inner}  # the rest is decoding
        children = {key: self.build(child, f"{name}.{key}", depth + 1) for key, child in inner.items()}
        try:
            if kind in LAYERS:
                return LAYERS[kind](state, lambda key: self.tensor(state, key, name), children)
            block, needed = BLOCKS[kind]
            if needed and children.keys() - {"bn"} != set(needed):  # a fork's, which may compute something else
                raise UserError(f"node {name!r} ({kind}) has not the children {', '.join(needed)}: {FAMILIES}")
            return block(children, _numbers(state))
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, ArithmeticError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"node {name!r} ({kind}) is damaged or unusual: {FAMILIES}") from error

    def tensor(self, state: Mapping[str, Any], key: str, name: str) -> Tensor | None:
        """A parameter or buffer in float32, None where there is none."""
        record = {**state["_buffers"], **state["_parameters"]}.get(key)
        return None if record is None else self.file.tensor(record, f"{name}.{key}").float()


def described(record: Any, name: str) -> tuple[str, dict[str, Any]]:
    """The last part of the name of a module's class, and its attributes. Raises UserError for what is no module."""
    state = record.state if isinstance(record, Record) else None
    parts = ("_modules", "_parameters", "_buffers")
    if not isinstance(state, dict) or not all(isinstance(state.get(part), dict) for part in parts):
        raise UserError(f"node {name!r} is no module: give a checkpoint of YOLOv5's or Ultralytics' trainer")
    return record.name.rsplit(".", 1)[-1], state


def refuse_attention(kind: str, name: str) -> None:
    """Raise UserError, naming the node, for a class of modules of which no spiking network can be made."""
    if "Attention" in kind or "Attn" in kind:
        raise UserError(
            f"node {name!r} ({kind}) cannot be converted to a spiking network: it is attention, a softmax over "
            f"products of feature maps; {FAMILIES}"
        )


def all_modules(record: Any, name: str) -> Iterator[tuple[str, str]]:
    """Name, and last part of the class, of a module and of those inside it, as far as recorded; MODULES at most."""
    waiting = [(name, record)]
    for _ in range(MODULES):
        if not waiting:
            return
        name, record = waiting.pop()
        kind, state = described(record, name)
        yield name, kind
        inner = ((f"{name}.{key}", child) for key, child in state["_modules"].items() if isinstance(child, Record))
        waiting += islice(inner, MODULES - len(waiting))


def _numbers(state: Mapping[str, Any]) -> dict[str, int]:
    """What a block's forward pass asks for. Raises ValueError for unreasonable values."""
    found = {key: state[key] for key in ("add", "c", "d", "n") if key in state}
    if not all(isinstance(value, int) for value in found.values()) or not 0 < found.get("n", 3) <= POOLS:
        raise ValueError
    return found
