"""Translators of what moves, joins or parts feature maps and computes at most a sum; see layers.py."""

from typing import Any

from spiking_yolo.graph.translate.call import Call, Split


def upsample(
    call: Call, x: str, size: Any = None, scale_factor: Any = None, mode: str = "nearest", **bilinear: Any
) -> str:
    scale = list(scale_factor) if isinstance(scale_factor, (tuple, list)) else [scale_factor] * 2
    if size is not None or mode != "nearest" or any(s is None or s != int(s) for s in scale):
        raise call.error("only nearest upsampling by a whole scale_factor can be converted")
    return call.emit("upsample", x, scale=[int(s) for s in scale])


def concat(call: Call, xs: list[str], dim: int = 0) -> str:
    if dim not in (1, -3):
        raise call.error(f"only concatenation of channels (dim 1) can be converted, not dim {dim}")
    return call.emit("concat", *xs)


def split(call: Call, x: str, *args: Any, **kwargs: Any) -> Split:
    dim = kwargs.get("dim", args[1] if len(args) > 1 else 0)
    if dim not in (1, -3):
        raise call.error(f"only channels (dim 1) can be split, not dim {dim}")
    widths = [part.shape[1] for part in call.node.meta["tensor_meta"]]
    ends = [sum(widths[: i + 1]) for i in range(len(widths))]
    return x, [(end - width, end) for end, width in zip(ends, widths, strict=True)]


def getitem(call: Call, source: str | Split | None, index: Any) -> str | None:
    if source is None:  # an element of a shape
        return None
    if isinstance(source, tuple):  # a part of a split
        return call.emit("slice", source[0], slices=[[*source[1][index], 1]])
    index = index if isinstance(index, tuple) else (index,)
    if any(not isinstance(i, slice) for i in index) or index[0] != slice(None):
        raise call.error("only slices that keep the batch dimension can be converted")
    return call.emit("slice", source, slices=[[s.start, s.stop, s.step] for s in index[1:]] or [[None] * 3])


def add(call: Call, x: Any, y: Any, alpha: float = 1) -> str:
    if not (isinstance(x, str) and isinstance(y, str)) or alpha != 1:
        raise call.error("only the plain sum of two feature maps can be converted")
    return call.emit("add", x, y)


def flatten(call: Call, x: str, start_dim: int = 0, end_dim: int = -1) -> str:
    if start_dim != 1 or end_dim != -1:
        raise call.error("flatten must keep the batch dimension and nothing else (start_dim=1)")
    return call.emit("flatten", x)


def reshape(call: Call, x: str, *shape: Any, **named: Any) -> str:
    before, after = call.shapes
    if len(after) != 2 or after[0] != before[0]:
        raise call.error("only flattening to [N, features] can be converted, not another reshape")
    return call.emit("flatten", x)


def pad(call: Call, x: str, pad: Any, mode: str = "constant", value: float | None = None) -> str:
    if mode != "constant" or value not in (0, None):
        raise call.error(f"only zero padding can be converted, not {mode} {value}")
    return call.emit("pad", x, padding=[int(p) for p in pad])


def identity(call: Call, x: str, *args: Any, **kwargs: Any) -> str:
    return x


def shape(call: Call, *args: Any, **kwargs: Any) -> None:
    """A number that is known from the example, and no feature map."""
