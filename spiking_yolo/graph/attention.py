"""The two products of attention (Vaswani et al., "Attention is all you need", 2017, Eq. 1).

Queries, keys and values are feature maps, and the tokens are their T = H x W positions, row by row.
With areas (Tian et al., "YOLOv12", 2025) each token attends to the tokens of its own area, one of
as many runs of T / areas tokens. Both products are linear in either operand.
"""

from torch import Tensor


def attention_scores(q: Tensor, k: Tensor, heads: int, areas: int) -> Tensor:
    """Products of queries and keys, without a scale: S[h, i, j] = sum over d of q[h, d, i] k[h, d,
    j], for the j-th token of the area of token i.

    Args:
        q, k: [N, heads * D, H, W].
        heads: Each takes D consecutive channels.
        areas: Into which the tokens are split, in order.

    Returns:
        [N, heads, T, T / areas].

    Raises:
        RuntimeError: The shapes do not fit.

    Example:
        >>> attention_scores(torch.ones(1, 6, 2, 4), torch.ones(1, 6, 2, 4), heads=2, areas=4).shape
        torch.Size([1, 2, 8, 2])
    """
    q, k = (x.flatten(2).unflatten(1, (heads, -1)).unflatten(3, (areas, -1)) for x in (q, k))
    # [N, heads, D, areas, tokens] each.
    scores = q.permute(0, 1, 3, 4, 2) @ k.permute(0, 1, 3, 2, 4)
    return scores.flatten(2, 3)


def attend(weights: Tensor, v: Tensor, heads: int, areas: int) -> Tensor:
    """Sums of values: O[h, d, i] = sum over j of weights[h, i, j] v[h, d, j], j in the area of i.

    Args:
        weights: Of attention, [N, heads, T, T / areas].
        v: [N, heads * D, H, W] with T = H * W.
        heads, areas: See `attention_scores`.

    Returns:
        [N, heads * D, H, W].

    Raises:
        RuntimeError: The shapes do not fit.

    Example:
        >>> attend(torch.ones(1, 2, 8, 2) / 2, torch.ones(1, 6, 2, 4), heads=2, areas=4).shape
        torch.Size([1, 6, 2, 4])
    """
    by_area = v.flatten(2).unflatten(1, (heads, -1)).unflatten(3, (areas, -1))
    # [N, heads, areas, tokens, tokens] @ [N, heads, areas, tokens, D].
    output = weights.unflatten(2, (areas, -1)) @ by_area.permute(0, 1, 3, 4, 2)
    return output.flatten(2, 3).transpose(2, 3).reshape(v.shape)
