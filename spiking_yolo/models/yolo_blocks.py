"""The blocks of YOLOv5 and Ultralytics' detectors, built from the Records of a checkpoint.

Children keep their names in the checkpoint, so the layers of neurons have the same names whether
this package or Ultralytics opens it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from spiking_yolo.errors import UserError
from spiking_yolo.models.checkpoint_file import Record, tensor_of

# Of kernels, strides and paddings, at most.
SIDE = 64
State = Mapping[str, Any]
# Parameter or buffer -> its values in float32.
Numbers = Callable[[str], Tensor | None]
Children = Mapping[str, nn.Module]


def _geometry(state: State, *keys: str) -> dict[str, Any]:
    """Attributes that are integers or pairs of them. Raises ValueError for unreasonable ones."""
    geometry = {key: state[key] for key in keys}
    for value in geometry.values():
        sides = value if isinstance(value, tuple) else (value,)
        if not all(isinstance(side, int) and 0 <= side <= SIDE for side in sides):
            raise ValueError
    return geometry


def _conv(state: State, numbers: Numbers, children: Children) -> nn.Module:
    weight = numbers("weight")
    bias = numbers("bias")
    if weight is None or weight.ndim != 4 or not weight.numel() or state["padding_mode"] != "zeros":
        raise ValueError
    groups = int(state["groups"])
    conv = nn.Conv2d(
        weight.shape[1] * groups,
        len(weight),
        (weight.shape[2], weight.shape[3]),
        groups=groups,
        bias=bias is not None,
        device="meta",
        **_geometry(state, "stride", "padding", "dilation"),
    )
    parameters = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    conv.load_state_dict(parameters, assign=True)
    return conv


def _batch_norm(state: State, numbers: Numbers, children: Children) -> nn.Module:
    values: dict[str, Tensor] = {}
    for key in ("weight", "bias", "running_mean", "running_var"):
        value = numbers(key)
        if value is not None:
            values[key] = value
    norm = nn.BatchNorm2d(len(values["weight"]), eps=float(state["eps"]), device="meta")
    norm.load_state_dict({**values, "num_batches_tracked": torch.tensor(0)}, assign=True)
    return norm


def _max_pool(state: State, numbers: Numbers, children: Children) -> nn.Module:
    return nn.MaxPool2d(
        **_geometry(state, "kernel_size", "stride", "padding", "dilation"),
        ceil_mode=bool(state["ceil_mode"]),
    )


def _upsample(state: State, numbers: Numbers, children: Children) -> nn.Module:
    scale = float(state["scale_factor"])
    if state["mode"] != "nearest" or not 1 <= scale <= 8:
        raise ValueError
    return nn.Upsample(scale_factor=scale)


def _leaky(state: State, numbers: Numbers, children: Children) -> nn.Module:
    return nn.LeakyReLU(float(state["negative_slope"]))


def _pad(state: State, numbers: Numbers, children: Children) -> nn.Module:
    return nn.ZeroPad2d(_geometry(state, "padding")["padding"])


# class of torch.nn -> f(attributes, numbers, children)
LAYERS: dict[str, Callable[..., nn.Module]] = {
    "Conv2d": _conv,
    "BatchNorm2d": _batch_norm,
    "MaxPool2d": _max_pool,
    "Upsample": _upsample,
    "LeakyReLU": _leaky,
    "ZeroPad2d": _pad,
    "ReLU": lambda *_: nn.ReLU(),
    "ReLU6": lambda *_: nn.ReLU6(),
    "SiLU": lambda *_: nn.SiLU(),
    "Identity": lambda *_: nn.Identity(),
    "Sequential": lambda state, numbers, children: nn.Sequential(*children.values()),
    "ModuleList": lambda state, numbers, children: nn.ModuleList(children.values()),
}

# At most: modules in all, modules inside one another, poolings of SPPF.
MODULES, DEPTH, POOLS = 5000, 12, 8
# What a layer's constructor raises for attributes that are missing or unusual.
DAMAGE = (LookupError, TypeError, ValueError, RuntimeError, AttributeError, ArithmeticError)
FAMILIES = "give a detector of YOLOv5, or of Ultralytics' v3u, v5u and v8"
OTHERS = "if you trust its source, --trust-weights (trust=True) lets Ultralytics open it"


class Block(nn.Module):
    """A module with the children of a record, and the numbers that its forward pass needs."""

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
        # To iterate over them cannot be traced.
        y = [halves[0], halves[1]]
        for layer in self.m.children():
            y.append(layer(y[-1]))
        return self.cv2(torch.cat(y, 1))


class SPPF(Block):
    def forward(self, x: Tensor) -> Tensor:
        y = [self.cv1(x)]
        for _ in range(self.numbers.get("n", 3)):
            y.append(self.m(y[-1]))
        out = self.cv2(torch.cat(y, 1))
        return out + x if self.numbers.get("add") else out


class SPP(Block):
    def forward(self, x: Tensor) -> Tensor:
        y = self.cv1(x)
        return self.cv2(torch.cat([y, *(pool(y) for pool in self.m.children())], 1))


class Focus(Block):
    """A convolution over space-to-depth channels, as one of twice the side, stride and padding.

    The pixels of each 2 x 2 square become channels in the order above left, below left, above
    right, below right.
    """

    def __init__(self, children: Mapping[str, nn.Module], numbers: Mapping[str, Any]) -> None:
        super().__init__(children, numbers)
        conv: Any = children["conv"].get_submodule("conv")
        w = conv.weight.detach().unflatten(1, (4, -1))
        height, width = conv.kernel_size
        if conv.groups != 1 or conv.dilation != (1, 1):
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
    """A head's last convolutions on its k-th map: one in YOLOv5, two branches without anchors."""
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


class Builder:
    """Builds modules from Records.

    Args:
        budget: How many numbers the modules may hold in all, so that a file cannot use the same
            tensor thousands of times.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.count = 0

    def build(self, record: Any, name: str, depth: int = 0) -> nn.Module:
        """The module of a record, which is called `name` in the network.

        Raises:
            UserError: The record is of an unknown class, or damaged.
        """
        self.count += 1
        if self.count > MODULES or depth > DEPTH:
            raise UserError(f"node {name!r}: more modules than any detector has; {FAMILIES}")
        kind, state = described(record, name)
        _check_known(record, kind, name)
        inner = state["_modules"]
        if kind == "Detect":
            # The rest is decoding.
            inner = {key: inner[key] for key in ("m", "cv2", "cv3") if key in inner}
        children: dict[str, nn.Module] = {}
        for key, child in inner.items():
            children[key] = self.build(child, f"{name}.{key}", depth + 1)
        try:
            if kind in LAYERS:
                return LAYERS[kind](state, lambda key: self.tensor(state, key, name), children)
            block, needed = BLOCKS[kind]
            # A fork may have a block of this name that computes something else.
            if needed and children.keys() - {"bn"} != set(needed):
                raise UserError(
                    f"node {name!r} ({kind}) does not have the children {', '.join(needed)}:"
                    f" {FAMILIES}"
                )
            return block(children, _numbers(state))
        except UserError:
            raise
        except DAMAGE as error:
            raise UserError(f"node {name!r} ({kind}) is damaged or unusual: {FAMILIES}") from error

    def tensor(self, state: Mapping[str, Any], key: str, name: str) -> Tensor | None:
        """A parameter or buffer in float32, None where there is none."""
        value = {**state["_buffers"], **state["_parameters"]}.get(key)
        if value is None:
            return None
        tensor = tensor_of(value, f"{name}.{key}")
        self.budget -= tensor.numel()
        if self.budget < 0:
            raise UserError(f"{name}.{key} is used too often: give another checkpoint")
        return tensor


def _check_known(record: Record, kind: str, name: str) -> None:
    """Raise UserError for a class that is neither one of torch.nn nor a block of the trainers."""
    origin = "torch.nn.modules." if kind in LAYERS else SOURCES
    if (kind in LAYERS or kind in BLOCKS) and record.name.startswith(origin):
        return
    way_out = FAMILIES
    if record.name.startswith("ultralytics."):
        way_out = f"{FAMILIES}; {OTHERS}"
    raise UserError(f"node {name!r} ({kind}) is not known here: {way_out}")


def described(record: Any, name: str) -> tuple[str, dict[str, Any]]:
    """Class, without its package, and attributes of a module. Raises UserError for no module."""
    state = record.state if isinstance(record, Record) else None
    parts = ("_modules", "_parameters", "_buffers")
    if not isinstance(state, dict) or not all(isinstance(state.get(part), dict) for part in parts):
        raise UserError(
            f"node {name!r} is no module: give a checkpoint of YOLOv5's or Ultralytics' trainer"
        )
    return record.name.rsplit(".", 1)[-1], state


def refuse_attention(kind: str, name: str) -> None:
    """Raise UserError, naming the node, for a class of attention modules."""
    if "Attention" in kind or "Attn" in kind:
        raise UserError(
            f"node {name!r} ({kind}) cannot be converted to a spiking network: it is attention, a"
            f" softmax over products of feature maps; {FAMILIES}"
        )


def all_modules(record: Any, name: str) -> Iterator[tuple[str, str]]:
    """Name and class of a module and of those inside it; MODULES at most."""
    waiting = [(name, record)]
    for _ in range(MODULES):
        if not waiting:
            return
        name, record = waiting.pop()
        kind, state = described(record, name)
        yield name, kind
        inner = (
            (f"{name}.{key}", child)
            for key, child in state["_modules"].items()
            if isinstance(child, Record)
        )
        waiting += islice(inner, MODULES - len(waiting))


def _numbers(state: Mapping[str, Any]) -> dict[str, int]:
    """The numbers that a block's forward pass needs. Raises ValueError for unreasonable ones."""
    numbers = {key: state[key] for key in ("add", "c", "d", "n") if key in state}
    if not all(isinstance(value, int) for value in numbers.values()):
        raise ValueError
    if not 0 < numbers.get("n", 3) <= POOLS:
        raise ValueError
    return numbers
