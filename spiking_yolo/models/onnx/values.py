"""What the values of an ONNX file are while its nodes are translated into a Graph."""

from dataclasses import dataclass

import torch
from torch import Tensor

from spiking_yolo.models.onnx.file import OnnxNode


@dataclass(frozen=True)
class Feature:
    """A feature map [1, C, H, W]: the output of a node of the Graph."""

    node: str
    shape: torch.Size

    @property
    def places(self) -> Tensor:
        """The number of each of its values, in its shape."""
        return torch.arange(self.shape.numel(), dtype=torch.int32).view(self.shape)


@dataclass(frozen=True)
class Layout:
    """Values of a feature map in another shape or order, times a factor.

    Attributes:
        source: The map.
        index: Which of its values, flattened, stands where.
        scale: The factor.
    """

    source: Feature
    index: Tensor
    scale: float = 1.0


@dataclass(frozen=True)
class Scores:
    """Products of queries and keys, [..., T, T], which become a node once their scale is complete.

    Attributes:
        queries, keys: By head, the channels of the source, one after the other.
        leading: Head and area of each matrix, in order.
        tokens: T.
        shape: Of all; some join the axes before the last.
    """

    source: tuple[Feature, Feature]
    queries: list[int]
    keys: list[int]
    leading: list[tuple[int, int]]
    tokens: int
    shape: torch.Size
    scale: float = 1.0


@dataclass(frozen=True)
class Weights:
    """The softmax of Scores, a node of the Graph; transposed: with the queries last."""

    node: str
    scores: Scores
    shape: torch.Size
    transposed: bool = False


@dataclass(frozen=True)
class Unresolved:
    """The result of a node that has no counterpart in a Graph: a part of an activation function,
    or of the decoding behind the network.

    Attributes:
        node, args: The operation and its inputs.
        part: Which of its outputs this is.
        meta: Its shape, on the meta device; None where it is not known.
    """

    node: OnnxNode
    args: tuple["Value | None", ...]
    part: int
    meta: Tensor | None


Value = Tensor | Feature | Layout | Scores | Weights | Unresolved


def meta_of(value: "Value | None") -> Tensor | None:
    """A constant as it is, anything else as its shape; None where that is not known."""
    match value:
        case Tensor():
            return value
        case Feature(shape=shape) | Scores(shape=shape) | Weights(shape=shape):
            return torch.empty(shape, device="meta")
        case Layout(index=index):
            return torch.empty(index.shape, device="meta")
        case Unresolved(meta=meta):
            return meta
    return None
