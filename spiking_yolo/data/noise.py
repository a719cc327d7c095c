"""Noise of a camera: measured on the first frames of a video, and averaged out of what stays."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# Noise is measured on so many frames, in squares of 8 x 8 of every second pixel.
FRAMES = 8
SIDE = 8
EVERY = 2
# The noise is measured in this share of the squares, those that change least: there nothing moves
# and nothing is to be seen.
PLAIN = 0.25
# The mean of |x| for a normal x with deviation 1. The median of pixels, which are whole numbers,
# would be too coarse.
MEAN = math.sqrt(2 / math.pi)
# A deviation below half a level of 8 bits is no noise.
LEAST = 0.5
# Where nothing moves, the deviation from frame to frame is at most so many times that within a
# frame, and after two frames so many times that after one.
WITHIN, LATER = 1.2, 1.25
# A pixel has moved if it differs by more than so many deviations from its mean.
FAR = 4.0
# Share of a frame in the mean of a pixel that has not moved.
SHARE = 0.25
# The mean is sent once it has changed by so many deviations.
STEP = 0.5


def noise_level(x: Tensor, before: Tensor, earlier: Tensor) -> Tensor:
    """The standard deviation of the noise in three consecutive frames [N, C, H, W]: [N, C, 1, 1],
    in levels, as pixels are.

    From frame to frame: the mean of |x - before| in each square of the picture, of which the
    quantile PLAIN over the squares counts, so that what moves has no part in it. Squares of one
    colour, such as padding, do not count. It is 0 where a codec leaves a quarter of the squares as
    they were, and where the camera moves: then a frame differs from the one before by more than
    noise that shows within the frame (after Immerkaer 1996), and still more from the one earlier.

    Example:
        >>> still = torch.full((1, 3, 64, 64), 128.0)
        >>> frames = [(still + 5 * torch.randn_like(still)).byte() for _ in range(3)]
        >>> noise_level(*frames).flatten()  # about 5
    """
    every = slice(None, None, EVERY)
    x, before, earlier = (frame[:, :, every, every].float() for frame in (x, before, earlier))
    squares = _squares(x)
    if not squares.shape[2]:
        return x.new_zeros(*x.shape[:2], 1, 1)
    padding = squares.amax(-1) == squares.amin(-1)
    level = _plain(x - before, padding) / math.sqrt(2)
    after_two = _plain(x - earlier, padding) / math.sqrt(2)
    # The mixed fourth difference, scaled so that noise keeps its deviation: planes and straight
    # edges vanish. At a distance of EVERY pixels, where noise that a resize has spread does not.
    bent = F.pad(x, (1, 1, 1, 1))
    bent = bent[:, :, 2:] - 2 * bent[:, :, 1:-1] + bent[:, :, :-2]
    bent = (bent[..., 2:] - 2 * bent[..., 1:-1] + bent[..., :-2]) / 6
    still = (level <= WITHIN * _plain(bent, padding)) & (after_two <= LATER * level)
    level = torch.where(still.all(1, keepdim=True) & (level >= LEAST), level, 0)
    return level[:, :, None, None]


def _plain(change: Tensor, padding: Tensor) -> Tensor:
    """The standard deviation of [N, C, H, W] in squares where there is least of it, [N, C]; nan
    where all is padding.
    """
    deviation = _squares(change).abs().mean(-1) / MEAN
    return torch.nanquantile(deviation.masked_fill_(padding, math.nan), PLAIN, -1)


def _squares(x: Tensor) -> Tensor:
    """[N, C, H, W] as [N, C, squares, pixels], without what is left over at right and bottom."""
    n, c, height, width = x.shape
    rows, columns = height // SIDE, width // SIDE
    tiled = x[:, :, : rows * SIDE, : columns * SIDE].reshape(n, c, rows, SIDE, columns, SIDE)
    return tiled.transpose(3, 4).reshape(n, c, rows * columns, SIDE * SIDE)


class NoiseFilter:
    """Recursive averaging over time: filter(x) -> the frame to send, uint8 [N, C, H, W].

    A pixel that stays within FAR deviations of its mean in all channels has not moved, and its mean
    takes SHARE of the new frame; otherwise the mean starts anew. What is sent follows the mean in
    steps of STEP deviations. Where there is no noise the frame itself is sent.

    Args:
        x: The first frame, which is sent as it is.

    Attributes:
        level: The deviation of the noise in levels as far as it is known, [N, C, 1, 1].
    """

    def __init__(self, x: Tensor):
        # The last two frames, while noise is measured.
        self._last = [x]
        self._levels: list[Tensor] = []
        # The mean and what was sent last, float32 [H, W, C] for each video.
        self._means: list[np.ndarray] = []
        self._sent: list[np.ndarray] = []
        self.level = torch.zeros(*x.shape[:2], 1, 1, device=x.device)

    def __call__(self, x: Tensor) -> Tensor:
        before = self._last[-1]
        if len(self._levels) < FRAMES:
            if len(self._last) == 2:
                self._levels.append(noise_level(x, *reversed(self._last)))
                self.level = torch.stack(self._levels).median(0).values
            self._last = [self._last[-1], x]
        if not self.level.any():
            return x
        if not self._means:
            self._means = [image.astype(np.float32) for image in _images(before)]
            self._sent = [mean.copy() for mean in self._means]
        levels = self.level.flatten(1).tolist()
        videos = zip(_images(x), self._means, self._sent, levels, strict=True)
        sent = np.stack([follow(*video).reshape(video[0].shape) for video in videos])
        return torch.from_numpy(sent).movedim(-1, 1).to(x.device)


def _images(x: Tensor) -> np.ndarray:
    """Return a batch as an array [N, H, W, C]."""
    return x.movedim(1, -1).contiguous().cpu().numpy()


def follow(image: np.ndarray, mean: np.ndarray, sent: np.ndarray, level: list[float]) -> np.ndarray:
    """Filter the next frame of a video, uint8. See NoiseFilter.

    Args:
        image: The frame, uint8 [H, W, C].
        mean, sent: Float32, changed in place.
        level: The deviation of the noise, for each channel.
    """
    still = _within(cv2.subtract(image, mean, dtype=cv2.CV_32F), level, FAR)
    cv2.accumulateWeighted(image, mean, SHARE, still)
    cv2.accumulateWeighted(image, mean, 1.0, cv2.bitwise_not(still))
    small = _within(cv2.subtract(mean, sent), level, STEP)
    cv2.copyTo(mean, cv2.bitwise_not(small), sent)
    return cv2.convertScaleAbs(sent)


def _within(change: np.ndarray, level: Sequence[float], deviations: float) -> np.ndarray:
    """255 where all channels have changed by at most so many deviations, uint8 [H, W]."""
    bound = [deviations * one for one in level]
    return cv2.inRange(change, tuple([-one for one in bound]), tuple(bound))
