"""Accuracy of a classifier."""

from __future__ import annotations

import torch
from torch import Tensor


def topk_correct(logits: Tensor, labels: Tensor, k: int = 1) -> Tensor:
    """Whether the label is among the k largest logits: bool [n] from [n, classes] and [n].

    A label is found when fewer than k classes are ahead of it; of equal logits the lower index is ahead, so
    that the answer does not depend on a sort. A row whose label has the logit nan is never correct.
    """
    own = logits.gather(1, labels[:, None])
    index = torch.arange(logits.shape[1], device=logits.device)
    ahead = (logits > own) | ((logits == own) & (index < labels[:, None]))
    return (ahead.sum(1) < k) & ~own[:, 0].isnan()
