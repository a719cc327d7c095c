"""Modules built from the Records of a checkpoint: layers of torch.nn, and the trainers' blocks."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from spiking_yolo.errors import UserError
from spiking_yolo.models.checkpoint_file import Record, tensor_of
from spiking_yolo.models.yolo_blocks import BLOCKS, scaling

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
    parameters = {"weight": weight}
    if bias is not None:
        parameters["bias"] = bias
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
    "Mish": lambda *_: nn.Mish(),
    "Identity": lambda *_: nn.Identity(),
    "Sequential": lambda state, numbers, children: nn.Sequential(*children.values()),
    "ModuleList": lambda state, numbers, children: nn.ModuleList(children.values()),
}

# At most: modules in all, poolings of SPPF.
MODULES, POOLS = 5000, 8
# What a layer's constructor raises for attributes that are missing or unusual.
DAMAGE = (LookupError, TypeError, ValueError, RuntimeError, AttributeError, ArithmeticError)
FAMILIES = (
    "give a detector of YOLOv5, or of Ultralytics' v3u, v5u, v8, v9 (t, s, m, c), v10, 11, 12 or 26"
)
OTHERS = "if you trust its source, --trust-weights (trust=True) lets Ultralytics open it"
# YOLOv5's own classes that are not known here: any other is of a fork of it.
YOLOV5 = {
    *("BottleneckCSP", "C3Ghost", "C3SPP", "C3TR", "C3x", "Classify", "Contract", "CrossConv"),
    *("DWConvTranspose2d", "Expand", "GhostBottleneck", "GhostConv", "MixConv2d", "Model"),
    *("Proto", "Segment", "Sum", "TransformerBlock", "TransformerLayer"),
}
# Where the trainers' blocks come from.
SOURCES = ("models.common.", "models.yolo.", "ultralytics.nn.modules.", "ultralytics.nn.tasks.")


class Builder:
    """Builds modules from Records.

    Args:
        foreign: Gives modules of records that are of unknown classes, or unlike those known here;
            None: they are errors.
    """

    def __init__(self, foreign: Callable[[Record], nn.Module] | None = None) -> None:
        self.foreign = foreign
        self.count = 0

    def build(self, record: Any, name: str) -> nn.Module:
        """The module of a record, which is called `name` in the network.

        Raises:
            UserError: The record is of an unknown class, or damaged.
        """
        try:
            return self._build(record, name)
        except UserError:
            if self.foreign is None:
                raise
            return self.foreign(record)

    def _build(self, record: Any, name: str) -> nn.Module:
        self.count += 1
        if self.count > MODULES:
            raise UserError(f"node {name!r}: more modules than any detector has; {FAMILIES}")
        kind, state = described(record, name)
        origin = "torch.nn.modules." if kind in LAYERS else SOURCES
        if not (kind in LAYERS or kind in BLOCKS) or not record.name.startswith(origin):
            raise unknown(record, name)
        children: dict[str, nn.Module] = {}
        for key, child in state["_modules"].items():
            # Fusing leaves None behind.
            if child is not None:
                children[key] = self.build(child, f"{name}.{key}")
        try:
            if kind in LAYERS:
                return LAYERS[kind](state, lambda key: tensor(state, key, name), children)
            block, variants = BLOCKS[kind]
            if (gamma := tensor(state, "gamma", name)) is not None:
                children["gamma"] = scaling(gamma)
            ordered = _in_order(children, variants)
            if ordered is None:
                # A fork may have a block of this name that computes something else.
                needed = ", ".join(variants[0].split()) or "none"
                raise unknown(record, name, f"does not have the children {needed}")
            return block(ordered, _numbers(state))
        except UserError:
            raise
        except DAMAGE as error:
            raise UserError(f"node {name!r} ({kind}) is damaged or unusual: {FAMILIES}") from error


def tensor(state: Mapping[str, Any], key: str, name: str) -> Tensor | None:
    """A parameter or buffer in float32, None where there is none."""
    value = {**state["_buffers"], **state["_parameters"]}.get(key)
    if value is None:
        return None
    return tensor_of(value, f"{name}.{key}")


def is_of_fork(record: Record) -> bool:
    """Whether the class lies where those of YOLOv5 do, but is none of them."""
    kind = record.name.rsplit(".", 1)[-1]
    return record.name.startswith("models.") and kind not in {*YOLOV5, *BLOCKS}


def unknown(record: Record, name: str, problem: str = "is not known here") -> UserError:
    """The error for a module that cannot be built, with the way out that can help.

    Args:
        record: The module.
        name: Its name in the network.
        problem: What is wrong with it.
    """
    kind = record.name.rsplit(".", 1)[-1]
    if is_of_fork(record):
        problem = "is no layer of YOLOv5 but of a fork of it, which cannot be opened"
    way_out = FAMILIES
    if record.name.startswith("ultralytics."):
        way_out = f"{FAMILIES}; {OTHERS}"
    return UserError(f"node {name!r} ({kind}) {problem}: {way_out}")


def described(record: Any, name: str) -> tuple[str, dict[str, Any]]:
    """Class, without its package, and attributes of a module. Raises UserError for no module."""
    state = record.state if isinstance(record, Record) else None
    parts = ("_modules", "_parameters", "_buffers")
    if not isinstance(state, dict) or not all(isinstance(state.get(part), dict) for part in parts):
        raise UserError(
            f"node {name!r} is no module: give a checkpoint of YOLOv5's or Ultralytics' trainer"
        )
    return record.name.rsplit(".", 1)[-1], state


def _in_order(
    children: Mapping[str, nn.Module], variants: tuple[str, ...]
) -> dict[str, nn.Module] | None:
    """The children in the order of the variant of a block that has just these; None: none has."""
    for variant in variants:
        names = variant.split()
        if set(children) == set(names):
            return {name: children[name] for name in names}
    return None


def _numbers(state: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers that a block's forward pass needs. Raises ValueError for unreasonable ones."""
    keys = ("add", "d", "n", "num_heads", "area")
    numbers: dict[str, Any] = {key: state[key] for key in keys if key in state}
    if not all(isinstance(value, int) for value in numbers.values()):
        raise ValueError
    if "scale" in state:
        numbers["scale"] = float(state["scale"])
        if not 0 < numbers["scale"] < 1e6:
            raise ValueError
    if not 0 < numbers.get("n", 3) <= POOLS:
        raise ValueError
    return numbers
