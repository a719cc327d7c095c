"""Bootstrap confidence intervals over images: how much a score varies with the choice of photographs.

n images are drawn with replacement from n (Efron 1979); the interval holds the middle 95 % of the resampled scores.
Drawing an image m times gives its detections and objects the weight m. Matching happens within an image, so nothing
is matched or sorted again. A draw leaves classes without objects out of its mean, so with few images of rare classes
the interval is off-centre. Should it then miss the score itself, it is widened up to it: 95 % is the least it holds.

Frames of a video resemble their neighbours: drawn one by one they would feign many independent images. They are drawn
in blocks of consecutive frames (Kuensch 1989), which run on from the last frame to the first, so that every frame is
drawn equally often (Politis and Romano 1992).
"""

import warnings
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A score over all images, and the 2.5th and 97.5th percentiles of its resamplings, widened to hold the score."""

    value: float
    low: float
    high: float


class Resampled(Protocol):
    """Matched detections that can be scored under image weights; see metrics/resampled.py."""

    images: int
    figures: tuple[str, ...]

    def score(self, weights: np.ndarray) -> np.ndarray:
        """weights: int64 [m, images], how often each image was drawn. Returns [m, figures]."""
        ...


def draws(images: int, n: int, seed: int) -> np.ndarray:
    """n resamplings as image weights: int64 [n, images]; each row sums to `images`."""
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=n)


@dataclass(frozen=True)
class Blocks:
    """Blocks of consecutive frames, drawn from each video for itself.

    frames: of each video. length: frames in a block; at most a quarter of its video, since few blocks vary too little.
    """

    frames: tuple[int, ...]
    length: int = 15

    def draws(self, n: int, seed: int) -> np.ndarray:
        """n resamplings as weights of the frames of all videos in a row: int64 [n, frames].

        Each video keeps its number of frames, for which its last block is cut.
        """
        rng = np.random.default_rng(seed)
        return np.concatenate([self._of_video(frames, n, rng) for frames in self.frames], 1)

    def _of_video(self, frames: int, n: int, rng: np.random.Generator) -> np.ndarray:
        length = max(1, min(self.length, frames // 4))
        starts = rng.integers(0, max(frames, 1), (n, -(-frames // length), 1))
        drawn = (starts + np.arange(length)).reshape(n, -1)[:, :frames] % max(frames, 1)
        cells = drawn + frames * np.arange(n)[:, None]
        return np.bincount(cells.ravel(), minlength=n * frames).reshape(n, frames)


@dataclass(frozen=True, eq=False)
class Resampling:
    """What is kept of a measurement: its figures over all images, float [figures], and over n draws, [n, figures].

    images, seed, blocks: of the draws; only measurements that were scored on the same draws are subtracted.
    """

    figures: tuple[str, ...]
    images: int
    seed: int
    value: np.ndarray
    scores: np.ndarray
    blocks: Blocks | None = None

    @classmethod
    def of(cls, data: Resampled, n: int = 1000, seed: int = 0, blocks: Blocks | None = None) -> "Resampling":
        """n: 0 for the figures alone. blocks: for frames of videos; by default images are drawn one by one."""
        if blocks and sum(blocks.frames) != data.images:
            raise ValueError(f"blocks of {sum(blocks.frames)} frames do not fit {data.images} scored ones")
        value = data.score(np.ones((1, data.images), np.int64))[0]
        if not n:
            return cls(data.figures, data.images, seed, value, np.empty((0, len(value))), blocks)
        weights = blocks.draws(n, seed) if blocks else draws(data.images, n, seed)
        return cls(data.figures, data.images, seed, value, data.score(weights), blocks)

    def __sub__(self, other: "Resampling") -> "Resampling":
        """The paired difference. Raises ValueError unless figures, images and draws are the same."""
        if (self.images, self.figures) != (other.images, other.figures):
            raise ValueError(f"{self.images} and {other.images} images cannot be paired: score both on the same ones")
        if (self.seed, len(self.scores), self.blocks) != (other.seed, len(other.scores), other.blocks):
            raise ValueError("other draws cannot be paired: resample both as often, with the same seed and blocks")
        return replace(self, value=self.value - other.value, scores=self.scores - other.scores)

    def intervals(self) -> dict[str, Interval]:
        """The 95 % interval of each figure."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)  # without objects every draw is nan
            low, high = np.nanpercentile(self.scores, [2.5, 97.5], axis=0)
        low, high = np.fmin(low, self.value), np.fmax(high, self.value)
        rows = zip(self.figures, self.value, low, high, strict=True)
        return {name: Interval(*map(float, row)) for name, *row in rows}
