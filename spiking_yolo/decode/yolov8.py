"""The head of Ultralytics' detectors without anchors (v8, and v3u, v5u): distributions over distances, class scores.

Source: Li et al., Generalized Focal Loss, NeurIPS 2020, Eq. 4 (a side of a box is the mean of a distribution over whole
numbers of grid cells); Ultralytics YOLOv8, 2023.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spiking_yolo.models.spec import HeadSpec


def yolov8(x: Tensor, head: HeadSpec) -> tuple[Tensor, Tensor]:
    """Boxes [N, H W, 4], xyxy as fractions of the network input, and scores [N, H W, C]; cells run row, column.

    x: [N, 4 bins + C, H, W]: the logits of the distances from the cell's centre to left, top, right and bottom, then
    the classes' logits.
    """
    height, width = x.shape[-2:]
    distances, classes = x.flatten(2).transpose(1, 2).split([4 * head.bins, head.classes], 2)
    cells = torch.arange(head.bins, dtype=x.dtype, device=x.device)
    left, top, right, bottom = (distances.unflatten(2, (4, head.bins)).softmax(3) @ cells).unbind(2)
    row, column = torch.meshgrid(
        torch.arange(height, dtype=x.dtype, device=x.device),
        torch.arange(width, dtype=x.dtype, device=x.device),
        indexing="ij",
    )
    cx, cy = column.flatten() + 0.5, row.flatten() + 0.5
    corners = (cx - left) / width, (cy - top) / height, (cx + right) / width, (cy + bottom) / height
    return torch.stack(corners, 2), classes.sigmoid()
