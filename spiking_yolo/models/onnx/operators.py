"""The ONNX operators of which constants and decoders are made, on tensors of PyTorch.

They fold constants, and they decode trial values, so that a head can be compared with what its
file computes. Sizes are known, on the meta device, before anything is allocated.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.models.onnx.file import OnnxNode

Results = tuple[Tensor, ...]
# Numbers in one value, and work on constants and on trial values in all: numbers computed, those of
# products as often as they are added up.
NUMBERS, CONSTANT_WORK, TRIAL_WORK = 1 << 26, 1 << 26, 1 << 33
# Of ONNX data types that shapes and decoders are cast to. Floating point is float32 here, whatever
# its width in the file.
FLOATS = (1, 10, 11, 16)
TYPES = {
    **dict.fromkeys(FLOATS, torch.float32),
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
}


class Unsupported(Exception):
    """An operator, or a way of using it, that is not known here."""


class Evaluator:
    """Computes nodes, up to an amount of work in all.

    Args:
        work: Numbers that may be computed.
    """

    def __init__(self, work: int) -> None:
        self.work = work

    def __call__(self, node: OnnxNode, args: Sequence[Tensor | None]) -> Results:
        """The outputs of a node.

        Args:
            node: The operation.
            args: Its inputs, None where one is left out. If one is on the meta device, which has
                shapes alone, so are the outputs.

        Raises:
            Unsupported: The operator is not known, its arguments do not fit, or it is more work
                than in any detector.
        """
        if node.op not in OPERATORS:
            raise Unsupported
        function, first_setting = OPERATORS[node.op]
        data = list(args[:first_setting])
        settings: list[Any] = []
        for value in args[first_setting:]:
            if value is not None and (value.is_meta or value.numel() > SETTINGS):
                raise Unsupported
            settings.append(None if value is None else value.tolist())
        shapes = [None if value is None else value.to("meta") for value in data]
        try:
            results = function(node.attrs, *shapes, *settings)
            numbers = [result.numel() for result in results]
            if max(numbers, default=0) > NUMBERS:
                raise Unsupported
            if any(value is not None and value.is_meta for value in data):
                return tuple([result.to("meta") for result in results])
            self.work -= sum(numbers) * _terms(node, data)
            if self.work < 0:
                raise Unsupported
            return function(node.attrs, *data, *settings)
        except ERRORS as error:
            raise Unsupported from error


# What PyTorch and Python raise for arguments that do not fit.
ERRORS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
# Numbers in a shape, or a list of axes or sizes, and in a row of a grid, at most.
SETTINGS, SIDE = 1000, 1 << 16


def _terms(node: OnnxNode, data: Sequence[Tensor | None]) -> int:
    """How many products are added up for each result."""
    x, weight = (*data, None, None)[:2]
    if node.op == "MatMul" and x is not None:
        return x.shape[-1]
    if node.op == "Conv" and weight is not None:
        return weight[0].numel()
    return 1


def _one(function: Callable[..., Tensor]) -> Callable[..., Results]:
    """An operator of one output."""
    return lambda attrs, *args: (function(attrs, *args),)


def _divide(a: Any, x: Tensor, y: Tensor) -> Tensor:
    return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


def _softmax(a: Any, x: Tensor) -> Tensor:
    axis = a["axis"] % x.ndim
    if a["joined"] and axis < x.ndim - 1:
        raise Unsupported
    return x.softmax(axis)


def _conv(a: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    pads = a.get("pads", [0, 0, 0, 0])
    if x.ndim != 4 or pads[:2] != pads[2:] or a.get("auto_pad", "NOTSET") != "NOTSET":
        raise Unsupported
    pair = [1, 1]
    strides = a.get("strides", pair)
    return F.conv2d(x, weight, bias, strides, pads[:2], a.get("dilations", pair), a.get("group", 1))


def _reshape(a: Any, x: Tensor, shape: list[int]) -> Tensor:
    if not a.get("allowzero"):
        shape = [x.shape[i] if side == 0 else side for i, side in enumerate(shape)]
    return x.reshape(shape)


def _flatten(a: Any, x: Tensor) -> Tensor:
    return x.reshape(math.prod(x.shape[: a.get("axis", 1)]), -1)


def _split(a: Any, x: Tensor, sizes: list[int] | None = None) -> Results:
    axis = a.get("axis", 0)
    sizes = sizes or a.get("split")
    return x.split(sizes or -(-x.shape[axis] // a["num_outputs"]), axis)


def _slice(
    a: Any,
    x: Tensor,
    starts: list[int],
    ends: list[int],
    axes: list[int] | None = None,
    steps: list[int] | None = None,
) -> Tensor:
    parts = [slice(None)] * x.ndim
    count = len(starts)
    for start, end, axis, step in zip(
        starts, ends, axes or range(count), steps or [1] * count, strict=True
    ):
        parts[axis] = slice(start, end, step)
    return x[tuple(parts)]


def _gather(a: Any, x: Tensor, index: Tensor) -> Tensor:
    axis = a.get("axis", 0) % x.ndim
    if not index.is_meta:
        index = torch.where(index < 0, index + x.shape[axis], index)
    parts = x.index_select(axis, index.flatten().to(x.device))
    return parts.reshape((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))


def _squeeze(a: Any, x: Tensor, axes: list[int] | None = None) -> Tensor:
    axes = axes or a.get("axes")
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def _unsqueeze(a: Any, x: Tensor, axes: list[int] | None = None) -> Tensor:
    new: list[int] = axes or a["axes"]
    rank = x.ndim + len(new)
    for axis in sorted([axis % rank for axis in new]):
        x = x.unsqueeze(axis)
    return x


def _expand(a: Any, x: Tensor, shape: list[int]) -> Tensor:
    return x.broadcast_to(torch.broadcast_shapes(x.shape, tuple(shape)))


def _range(a: Any, start: float, limit: float, step: float) -> Tensor:
    if step == 0 or (limit - start) / step > SIDE:
        raise Unsupported
    return torch.arange(start, limit, step)


def _filled(a: Any, shape: list[int]) -> Tensor:
    if math.prod(shape) > NUMBERS:
        raise Unsupported
    value = a.get("value", torch.zeros(1))
    return value.flatten()[0].expand(shape)


def _constant(a: Any) -> Tensor:
    for key in ("value", "value_float", "value_int", "value_floats", "value_ints"):
        if key in a:
            return torch.as_tensor(a[key])
    raise Unsupported


# Operator -> f(attributes, *inputs), and from which input on they are not data but shapes, axes and
# the like. Data of the others are tensors.
_DATA = 100
OPERATORS: dict[str, tuple[Callable[..., Results], int]] = {
    "Add": (_one(lambda a, x, y: x + y), _DATA),
    "Sub": (_one(lambda a, x, y: x - y), _DATA),
    "Mul": (_one(lambda a, x, y: x * y), _DATA),
    "Div": (_one(_divide), _DATA),
    "Mod": (_one(lambda a, x, y: torch.remainder(x, y)), _DATA),
    "Pow": (_one(lambda a, x, y: x**y), _DATA),
    "Exp": (_one(lambda a, x: x.exp()), _DATA),
    "Sqrt": (_one(lambda a, x: x.sqrt()), _DATA),
    "Neg": (_one(lambda a, x: -x), _DATA),
    "Floor": (_one(lambda a, x: x.floor()), _DATA),
    "Sigmoid": (_one(lambda a, x: x.sigmoid()), _DATA),
    "Softplus": (_one(lambda a, x: F.softplus(x)), _DATA),
    "Tanh": (_one(lambda a, x: x.tanh()), _DATA),
    "Softmax": (_one(_softmax), _DATA),
    "MatMul": (_one(lambda a, x, y: x @ y), _DATA),
    "Conv": (_one(_conv), _DATA),
    "Equal": (_one(lambda a, x, y: x == y), _DATA),
    "Where": (_one(lambda a, c, x, y: torch.where(c, x, y)), _DATA),
    "Cast": (_one(lambda a, x: x.to(TYPES[a["to"]])), _DATA),
    "Identity": (_one(lambda a, x: x), _DATA),
    "Dropout": (_one(lambda a, x, *_: x), 1),
    "Concat": (_one(lambda a, *xs: torch.cat(xs, a["axis"])), _DATA),
    "Transpose": (_one(lambda a, x: x.permute(a["perm"])), _DATA),
    "Gather": (_one(_gather), _DATA),
    "Shape": (_one(lambda a, x: torch.tensor(x.shape)[a.get("start", 0) : a.get("end")]), _DATA),
    "Reshape": (_one(_reshape), 1),
    "Flatten": (_one(_flatten), _DATA),
    "Squeeze": (_one(_squeeze), 1),
    "Unsqueeze": (_one(_unsqueeze), 1),
    "Expand": (_one(_expand), 1),
    "Split": (_split, 1),
    "Slice": (_one(_slice), 1),
    "Range": (_one(_range), 0),
    "ConstantOfShape": (_one(_filled), 0),
    "Constant": (_one(_constant), 0),
}
# Those that move values without changing them.
MOVES = {"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Split", "Slice", "Gather"}
