"""The best classes of an image off the logits of a classifier."""

from dataclasses import dataclass

import torch
from torch import Tensor

TOP = 5  # classes per image


@dataclass(frozen=True)
class TopClasses:
    """The best classes of one image, best first.

    class_id: int64 [n]; -1 for a class whose logit is nan. confidence: their softmax, float32 [n].
    """

    class_id: Tensor
    confidence: Tensor

    def __len__(self) -> int:
        return len(self.class_id)


def top_classes(logits: Tensor) -> list[TopClasses]:
    """The TOP best classes of each image of a batch, off the logits [N, classes]."""
    best = ranked(logits, TOP)
    confidence = logits.double().softmax(1).gather(1, best.clamp(min=0)).float()
    return [TopClasses(*of_image) for of_image in zip(best, confidence, strict=True)]


def ranked(logits: Tensor, k: int) -> Tensor:
    """The k classes with the largest logits, best first: int64 [n, min(k, classes)] from [n,
    classes].

    Ties go to the lower index. A nan logit counts as minus infinity, and its class is -1.
    """
    known = ~logits.isnan()
    ordered = torch.where(known, logits, -torch.inf).sort(dim=1, descending=True, stable=True)
    order = ordered.indices[:, :k]
    return torch.where(known.gather(1, order), order, -1)
