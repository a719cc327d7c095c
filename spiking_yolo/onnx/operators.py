"""Operations that ONNX computes otherwise than PyTorch, to the same bits.

Each is an operator of torch.library (see `counting.operator`), which PyTorch's exporter leaves
whole, and a function that builds it of ONNX operators; TRANSLATIONS has the pairs. In onnxruntime
on a processor Where, Gather and Mod cost ten to forty times as much as arithmetic, so none of them
is used on whole maps.
"""

from collections.abc import Callable
from typing import Any

import torch
from onnx import TensorProto, helper
from onnxscript import opset18
from torch import Tensor

from spiking_yolo.integer.neuron import power_of_two
from spiking_yolo.spikes import counting

# Opset 17 lacks the bitwise operators.
OPSET = 18
op: Any = opset18
# The numbers 0..15 of which counting.MORE is 1, and -1, as bits. OpenVINO 2026.4 shifts numbers of
# up to 24 bits only.
_MORE = sum(1 << last for last, more in enumerate(counting.MORE) if more > 0)
_LESS = sum(1 << last for last, more in enumerate(counting.MORE) if more < 0)


@torch.library.custom_op("spiking_yolo::suppress", mutates_args=())
def suppress(boxes: Tensor, scores: Tensor, conf: float, iou: float, max_det: int) -> Tensor:
    """Greedy suppression within each class: [D, 3], the image, class and box of each that stays.

    Args:
        boxes: [N, K, 4], corners.
        scores: [N, C, K].
        conf: Boxes above this count.
        iou: Boxes that overlap a better one by more are suppressed.
        max_det: Most boxes of one class in one image.
    """
    from torchvision.ops import nms

    chosen: list[tuple[int, int, int]] = []
    for image in range(scores.shape[0]):
        for label in range(scores.shape[1]):
            (above,) = (scores[image, label] > conf).nonzero(as_tuple=True)
            kept = nms(boxes[image, above], scores[image, label, above], iou)[:max_det]
            chosen += [(image, label, k) for k in above[kept].tolist()]
    return torch.tensor(chosen, dtype=torch.int64).reshape(-1, 3)


@suppress.register_fake
def _suppressed(boxes: Tensor, scores: Tensor, conf: float, iou: float, max_det: int) -> Tensor:
    return boxes.new_empty((torch.library.get_ctx().new_dynamic_size(), 3), dtype=torch.int64)


def _unsigned(value: int, to: int = TensorProto.UINT32) -> Any:
    return op.Constant(value=helper.make_tensor("", to, [], [value]))


def _number(value: float) -> Any:
    return op.Constant(value_float=value)


def _onnx_count_digits(n: Any) -> Any:
    x = op.Cast(op.Abs(n), to=TensorProto.UINT32)
    return _ones(op.BitwiseXor(x, op.Mul(x, _unsigned(3))))


def _onnx_count_binary_digits(n: Any) -> Any:
    return _ones(op.Cast(n, to=TensorProto.UINT32))


def _ones(x: Any) -> Any:
    """Count the bits that are 1, as in counting."""
    x = op.Sub(x, op.BitwiseAnd(_shifted(x, 1), _unsigned(0x55555555)))
    pairs = _unsigned(0x33333333)
    x = op.Add(op.BitwiseAnd(x, pairs), op.BitwiseAnd(_shifted(x, 2), pairs))
    x = op.BitwiseAnd(op.Add(x, _shifted(x, 4)), _unsigned(0x0F0F0F0F))
    return op.Cast(_shifted(op.Mul(x, _unsigned(0x01010101)), 24), to=TensorProto.FLOAT)


def _shifted(x: Any, bits: int) -> Any:
    return op.BitShift(x, _unsigned(bits), direction="RIGHT")


def _onnx_digit_saving_round(x: Any, slack: float) -> Any:
    """low + (x - low >= cut), with low = floor(x) and cut = 1/2 + slack * MORE[low mod 16]."""
    low = op.Floor(x)
    cut = _number(0.5)
    if slack:
        last = op.Sub(low, op.Mul(op.Floor(op.Mul(low, _number(1 / 16))), _number(16.0)))
        last = op.Cast(last, to=TensorProto.UINT32)
        more = op.Sub(_bit(_MORE, last), _bit(_LESS, last))
        cut = op.Add(op.Mul(more, _number(slack)), cut)
    up = op.GreaterOrEqual(op.Sub(x, low), cut)
    return op.Add(low, op.Cast(up, to=TensorProto.FLOAT))


def _bit(table: int, k: Any) -> Any:
    """Bit k of a number, as 0.0 or 1.0."""
    bit = op.BitwiseAnd(op.BitShift(_unsigned(table), k, direction="RIGHT"), _unsigned(1))
    return op.Cast(bit, to=TensorProto.FLOAT)


def _onnx_power_of_two(n: Any) -> Any:
    """2^n of -126 <= n <= 0, as 2^-a * 2^-b with a and b of at most 63: ONNX does not see the bits
    of floats.
    """
    n = op.Neg(n)
    a = op.Min(n, _number(63.0))
    return op.Mul(_inverse_power(a), _inverse_power(op.Sub(n, a)))


def _inverse_power(a: Any) -> Any:
    """2^-a of 0 <= a <= 63."""
    whole, highest = op.Cast(a, to=TensorProto.UINT64), _unsigned(1 << 63, TensorProto.UINT64)
    power = op.Cast(op.BitShift(highest, whole, direction="RIGHT"), to=TensorProto.FLOAT)
    return op.Mul(power, _number(2.0**-63))


def _onnx_suppress(boxes: Any, scores: Any, conf: float, iou: float, max_det: int) -> Any:
    most = op.Constant(value_int=max_det)
    return op.NonMaxSuppression(boxes, scores, most, _number(iou), _number(conf))


def _exported(function: Callable[..., Tensor]) -> Callable[..., Any]:
    """The operator that stands for a function in exported graphs, see `counting.operator`."""
    return getattr(torch.ops.spiking_yolo, function.__name__).default


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    _exported(counting.count_digits): _onnx_count_digits,
    _exported(counting.count_binary_digits): _onnx_count_binary_digits,
    _exported(counting.digit_saving_round): _onnx_digit_saving_round,
    _exported(power_of_two): _onnx_power_of_two,
    torch.ops.spiking_yolo.suppress.default: _onnx_suppress,
}
