"""Operations that ONNX computes otherwise than PyTorch.

Each is an operator of torch.library, which PyTorch's exporter leaves whole, and a function that
builds it of ONNX operators; TRANSLATIONS has the pairs. In onnxruntime on a processor Where, Gather
and Mod cost ten to forty times as much as arithmetic, so none of them is used on whole maps.
"""

from collections.abc import Callable
from typing import Any

import torch
from onnx import TensorProto, helper
from onnxscript import opset18
from torch import Tensor

from spiking_yolo.snn import counting

# 17 lacks the bitwise operators. Its types are wider than those of what is built here.
OPSET = 18
op: Any = opset18
# The numbers 0..15 of which counting.MORE is 1, and -1, as bits. OpenVINO 2026.4 shifts numbers of
# up to 24 bits only.
_MORE = sum(1 << last for last, more in enumerate(counting.MORE) if more > 0)
_LESS = sum(1 << last for last, more in enumerate(counting.MORE) if more < 0)


@torch.library.custom_op("spiking_yolo::count_events", mutates_args=())
def count_events(spikes: Tensor, binary: bool, by_channel: bool) -> Tensor:
    """Spikes, digits and messages at each position.

    Args:
        spikes: Spikes of each neuron, whole numbers >= 0, [N, C, ...].
        binary: Whether they travel as binary digits.
        by_channel: Whether each channel is counted.

    Returns:
        The three Counts, [N, 3, ...], or [N, 3 C, ...] by channel.
    """
    digits = counting.count_digits
    if binary:
        digits = counting.count_binary_digits
    counts = counting.Counts(spikes, digits(spikes), spikes.clamp(max=1))
    if not by_channel:
        counts = counting.Counts.of(lambda count: count.sum(1, keepdim=True), counts)
    return torch.cat(counts, 1)


@torch.library.custom_op("spiking_yolo::digit_saving_round", mutates_args=())
def digit_saving_round(x: Tensor, slack: float) -> Tensor:
    """counting.digit_saving_round."""
    return counting.digit_saving_round(x, slack)


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


@count_events.register_fake
def _counted(spikes: Tensor, binary: bool, by_channel: bool) -> Tensor:
    channels = 3
    if by_channel:
        channels *= spikes.shape[1]
    return spikes.new_empty((spikes.shape[0], channels, *spikes.shape[2:]))


@digit_saving_round.register_fake
def _rounded(x: Tensor, slack: float) -> Tensor:
    return torch.empty_like(x)


@suppress.register_fake
def _suppressed(boxes: Tensor, scores: Tensor, conf: float, iou: float, max_det: int) -> Tensor:
    return boxes.new_empty((torch.library.get_ctx().new_dynamic_size(), 3), dtype=torch.int64)


def _uint32(value: int) -> Any:
    return op.Constant(value=helper.make_tensor("", TensorProto.UINT32, [], [value]))


def _number(value: float) -> Any:
    return op.Constant(value_float=value)


def _onnx_count_events(spikes: Any, binary: bool, by_channel: bool) -> Any:
    x = op.Cast(spikes, to=TensorProto.UINT32)
    if not binary:
        # As in counting.count_digits.
        x = op.BitwiseXor(x, op.Mul(x, _uint32(3)))
    counts = [spikes, _ones(x), op.Min(spikes, _number(1.0))]
    if not by_channel:
        channels = op.Constant(value_ints=[1])
        counts = [op.ReduceSum(count, channels) for count in counts]
    return op.Concat(*counts, axis=1)


def _ones(x: Any) -> Any:
    """How many bits are 1, as in counting."""
    x = op.Sub(x, op.BitwiseAnd(_shifted(x, 1), _uint32(0x55555555)))
    pairs = _uint32(0x33333333)
    x = op.Add(op.BitwiseAnd(x, pairs), op.BitwiseAnd(_shifted(x, 2), pairs))
    x = op.BitwiseAnd(op.Add(x, _shifted(x, 4)), _uint32(0x0F0F0F0F))
    return op.Cast(_shifted(op.Mul(x, _uint32(0x01010101)), 24), to=TensorProto.FLOAT)


def _shifted(x: Any, bits: int) -> Any:
    return op.BitShift(x, _uint32(bits), direction="RIGHT")


def _onnx_digit_saving_round(x: Any, slack: float) -> Any:
    """floor(x + 1 - cut) with cut = 1/2 + slack * MORE[floor(x) mod 16]."""
    if not slack:
        return op.Floor(op.Add(x, _number(0.5)))
    low = op.Floor(x)
    last = op.Sub(low, op.Mul(op.Floor(op.Mul(low, _number(1 / 16))), _number(16.0)))
    last = op.Cast(last, to=TensorProto.UINT32)
    more = op.Sub(_bit(_MORE, last), _bit(_LESS, last))
    return op.Floor(op.Sub(op.Add(x, _number(0.5)), op.Mul(more, _number(slack))))


def _bit(table: int, k: Any) -> Any:
    """Bit k of a number, as 0.0 or 1.0."""
    bit = op.BitwiseAnd(op.BitShift(_uint32(table), k, direction="RIGHT"), _uint32(1))
    return op.Cast(bit, to=TensorProto.FLOAT)


def _onnx_suppress(boxes: Any, scores: Any, conf: float, iou: float, max_det: int) -> Any:
    most = op.Constant(value_int=max_det)
    return op.NonMaxSuppression(boxes, scores, most, _number(iou), _number(conf))


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.spiking_yolo.count_events.default: _onnx_count_events,
    torch.ops.spiking_yolo.digit_saving_round.default: _onnx_digit_saving_round,
    torch.ops.spiking_yolo.suppress.default: _onnx_suppress,
}
