"""Checkpoints of torch.save read as data, and the modules that their records describe.

torch's safe unpickler accepts only classes that it was told about. It is told about inert
stand-ins for every class that the file names, so nothing of the file can run.
"""

import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from spiking_yolo.errors import UserError
from spiking_yolo.io.names import label, reason
from spiking_yolo.models.yolo_blocks import BLOCKS, scaling

FAMILIES = (
    "give a detector of YOLOv5, or of Ultralytics' v3u, v5u, v8, v9 (t, s, m, c), v10, 11, 12 or"
    " 26, or its .onnx"
)
# At most: modules in all, poolings of SPPF.
MODULES, POOLS = 5000, 8


class Record:
    """Stand-in for an object of a checkpoint: data, whatever the object's class would do.

    Attributes:
        name: Full name of the class, such as "torch.nn.modules.conv.Conv2d".
        args: What the class or function would have been called with.
        state: The object's attributes, usually a dict.
    """

    name: ClassVar[str] = ""
    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any) -> Self:
        record = object.__new__(cls)
        record.args = args
        record.state = None
        return record

    def __setstate__(self, state: Any) -> None:
        self.state = state


def read_objects(path: Path) -> Any:
    """What torch.save wrote, with Records in place of objects other than tensors and containers.

    Raises:
        UserError: The file is damaged, or no file of torch.save.
    """
    # Classes that other code of this process has declared safe would be called, not replaced.
    declared = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        with zipfile.ZipFile(path) as file:
            size = sum([entry.file_size for entry in file.infolist()])
        # torch.save compresses nothing. Compressed and overlapping entries could become terabytes.
        if size > path.stat().st_size:
            raise ValueError("its entries are larger than the file")
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        stand_ins: list[Any] = [(type("Record", (Record,), {"name": one}), one) for one in names]
        # torch warns of some damages before it raises.
        with warnings.catch_warnings(), torch.serialization.safe_globals(stand_ins):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the damage leads to
        cause = reason(str(error).split("WeightsUnpickler error: ")[-1])
        if cause.startswith("Weights only load failed"):
            # What follows is torch's advice to load the file unsafely.
            cause = "it uses what no detector needs"
        raise UserError(
            f"it is no whole file of torch.save ({cause}): fetch it again, or save it again"
        ) from error
    finally:
        torch.serialization.add_safe_globals(declared)


def tensor_of(value: Any, name: str) -> Tensor:
    """A value of a file as a float32 tensor of its own memory.

    Raises:
        UserError: `name` is no tensor, or claims more numbers than the file holds.
    """
    if type(value) not in (Tensor, torch.nn.Parameter) or value.is_complex():
        raise UserError(f"{name} is no tensor: give another checkpoint")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise UserError(f"{name} has more numbers than the file holds: give another checkpoint")
    return value.detach().to(torch.float32, copy=True)


State = Mapping[str, Any]
# A module's parameters and buffers.
Numbers = Mapping[str, Tensor]
Children = Mapping[str, nn.Module]


def _geometry(state: State, *keys: str) -> dict[str, Any]:
    return {key: state[key] for key in keys}


def _conv(state: State, numbers: Numbers, children: Children) -> nn.Module:
    weight = numbers["weight"]
    groups = int(state["groups"])
    if state["padding_mode"] != "zeros":
        raise ValueError("its padding is not of zeros")
    conv = nn.Conv2d(
        weight.shape[1] * groups,
        len(weight),
        (weight.shape[2], weight.shape[3]),
        groups=groups,
        bias="bias" in numbers,
        device="meta",
        **_geometry(state, "stride", "padding", "dilation"),
    )
    conv.load_state_dict(numbers, assign=True)
    return conv


def _batch_norm(state: State, numbers: Numbers, children: Children) -> nn.Module:
    norm = nn.BatchNorm2d(len(numbers["weight"]), eps=float(state["eps"]), device="meta")
    norm.load_state_dict({**numbers, "num_batches_tracked": torch.tensor(0)}, assign=True)
    return norm


# class of torch.nn -> f(attributes, numbers, children)
LAYERS: dict[str, Callable[..., nn.Module]] = {
    "Conv2d": _conv,
    "BatchNorm2d": _batch_norm,
    "MaxPool2d": lambda state, *_: nn.MaxPool2d(
        **_geometry(state, "kernel_size", "stride", "padding", "dilation", "ceil_mode")
    ),
    "Upsample": lambda state, *_: nn.Upsample(**_geometry(state, "scale_factor", "mode")),
    "LeakyReLU": lambda state, *_: nn.LeakyReLU(float(state["negative_slope"])),
    "ZeroPad2d": lambda state, *_: nn.ZeroPad2d(state["padding"]),
    "ReLU": lambda *_: nn.ReLU(),
    "ReLU6": lambda *_: nn.ReLU6(),
    "SiLU": lambda *_: nn.SiLU(),
    "Mish": lambda *_: nn.Mish(),
    "Identity": lambda *_: nn.Identity(),
    "Sequential": lambda state, numbers, children: nn.Sequential(*children.values()),
    "ModuleList": lambda state, numbers, children: nn.ModuleList(children.values()),
}


class Builder:
    """Builds modules from Records."""

    def __init__(self) -> None:
        self.count = 0

    def build(self, record: Any, name: str) -> nn.Module:
        """The module of a record, which is called `name` in the network.

        Raises:
            UserError: The record is of an unknown class.
            Exception: It is damaged: whatever a layer's constructor raises.
        """
        self.count += 1
        if self.count > MODULES:
            raise UserError(f"it has more modules than any detector: {FAMILIES}")
        kind = record.name.rsplit(".", 1)[-1]
        state = record.state
        children: dict[str, nn.Module] = {}
        if kind in LAYERS or kind in BLOCKS:
            for key, child in state["_modules"].items():
                # Fusing leaves None behind.
                if child is not None:
                    children[key] = self.build(child, f"{name}.{key}")
        numbers = _numbers(state, name)
        if kind in LAYERS:
            return LAYERS[kind](state, numbers, children)
        if "gamma" in numbers:
            children["gamma"] = scaling(numbers["gamma"])
        for names in map(str.split, BLOCKS.get(kind, (None, ()))[1]):
            # A fork may have a block of this name that computes something else.
            if set(children) == set(names):
                ordered = {key: children[key] for key in names}
                return BLOCKS[kind][0](ordered, _options(state))
        raise UserError(f"node {label(name)!r} ({label(kind)}) is not known here: {FAMILIES}")


def _numbers(state: State, name: str) -> dict[str, Tensor]:
    """Parameters and buffers in float32, without those that are None, and without counters."""
    numbers: dict[str, Tensor] = {}
    for key, value in {**state["_parameters"], **state["_buffers"]}.items():
        if value is not None and key != "num_batches_tracked":
            numbers[key] = tensor_of(value, f"{name}.{key}")
    return numbers


def _options(state: State) -> dict[str, Any]:
    """The numbers that a block's forward pass needs."""
    keys = ("add", "d", "n", "num_heads", "area", "scale")
    options = {key: state[key] for key in keys if key in state}
    if not 0 < options.get("n", 3) <= POOLS:
        raise ValueError(f"{options['n']} poolings")
    return options
