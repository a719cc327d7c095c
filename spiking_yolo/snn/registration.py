"""How a camera has moved, to a fraction of a pixel, and pictures between their pixels."""

from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

# Points that are tracked; how many of them, and what share, must agree to within so many pixels.
POINTS, LEAST, SHARE, AGREE = 300, 12, 0.3, 0.5
# Of the strongest corner, and pixels between two corners.
QUALITY, APART = 0.002, 10


def displacement(reference: Tensor, frame: Tensor) -> tuple[float, float] | None:
    """How far what `reference` shows has moved in `frame`, (x, y) in pixels.

    Corners all over the reference (Shi and Tomasi 1994) are found again in the frame by their
    gradients, from coarse to fine (Lucas and Kanade 1981, Bouguet 2000), beginning at the shift of
    the whole picture (phase correlation, Kuglin and Hines 1975); all three are OpenCV's. What the
    largest group of them agrees on is the camera's motion, whatever moves in the scene.

    Args:
        reference: A picture, [C, H, W].
        frame: Another one of that size.

    Returns:
        The displacement, or None where too few corners agree: in the dark, at a cut, or where
        everything moves.
    """
    a, b = _grey(reference, reference), _grey(frame, reference)
    # None without a corner, which the types of OpenCV do not say.
    corners: Any = cv2.goodFeaturesToTrack(a, POINTS, QUALITY, APART)
    if corners is None or len(corners) < LEAST:
        return None
    points = np.asarray(corners, np.float32)
    guess = points + _shift(a, b)
    found, status, _ = cv2.calcOpticalFlowPyrLK(
        a, b, points, guess, flags=cv2.OPTFLOW_USE_INITIAL_FLOW
    )
    flow = (found - points)[status == 1]
    if len(flow) < LEAST:
        return None
    # Of each point, whether each other one has moved alike.
    alike = np.abs(flow[:, None] - flow).max(2) < AGREE
    votes = alike.sum(1)
    if votes.max() < max(LEAST, SHARE * len(flow)):
        return None
    x, y = flow[alike[votes.argmax()]].mean(0)
    return float(x), float(y)


def _shift(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of a whole picture, (x, y), to a pixel or two: at half its resolution."""
    size = max(a.shape[1] // 2, 1), max(a.shape[0] // 2, 1)
    small = [cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in (a, b)]
    before, after = (p.astype(np.float32) for p in small)
    shift, _ = cv2.phaseCorrelate(before, after, cv2.createHanningWindow(size, cv2.CV_32F))
    return 2 * np.array(shift, np.float32)


def resampled(frame: Tensor, x: float, y: float) -> Tensor:
    """A picture [C, H, W] between its pixels: at (i, j) what it shows at (i + y, j + x).

    By Lanczos' kernel of 8 x 8, within the range of the picture; borders are repeated.
    """
    if not (x or y):
        return frame
    pixels = np.ascontiguousarray(frame.cpu().numpy().transpose(1, 2, 0), np.float32)
    back = np.array([[1, 0, -x], [0, 1, -y]], np.float64)
    moved = cv2.warpAffine(
        pixels,
        back,
        pixels.shape[1::-1],
        flags=cv2.INTER_LANCZOS4,
        borderMode=cv2.BORDER_REPLICATE,
    )
    moved = torch.from_numpy(moved.transpose(2, 0, 1))
    return moved.to(frame).clamp(frame.min(), frame.max())


def _grey(picture: Tensor, reference: Tensor) -> np.ndarray:
    """uint8, in the range of the reference."""
    low, high = float(reference.min()), float(reference.max())
    grey = (picture.float().mean(0).cpu().numpy() - low) / max(high - low, 1e-6)
    return np.rint(255 * grey.clip(0, 1)).astype(np.uint8)
