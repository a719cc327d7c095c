"""Pictures and short clips without labels, put together at random: crops, mirrors, mosaics, and
photographs whose parts move.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor

from spiking_yolo.data.images import Picture, preprocess, read_image
from spiking_yolo.data.mot import VideoSequence
from spiking_yolo.errors import UserError

if TYPE_CHECKING:
    from spiking_yolo.models.spec import Spec

# The smallest sides of a crop, as shares of the picture's, for detectors and classifiers.
SMALLEST_CROP = {"detect": 0.5, "classify": 0.8}
# Shares of a detector's pictures that are cropped, or made of four, so that small objects become
# common.
CROPPED, MOSAIC = 0.6, 0.5


def random_crop(image: np.ndarray, rng: np.random.Generator, least: float) -> np.ndarray:
    """A part of an image [H, W, 3] whose sides are between `least` and 1 of the image's."""
    share = rng.uniform(least, 1)
    height, width = (max(1, round(side * share)) for side in image.shape[:2])
    top = rng.integers(image.shape[0] - height + 1)
    left = rng.integers(image.shape[1] - width + 1)
    return image[top : top + height, left : left + width]


def mirrored(image: np.ndarray) -> np.ndarray:
    """An image [H, W, 3] with left and right exchanged."""
    return np.ascontiguousarray(image[:, ::-1])


def mosaic(images: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """Four images [H, W, 3] side by side in two rows, each stretched to a quarter of the result."""
    size = (width // 2, height // 2)
    tiles = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images]
    rows = [np.concatenate(tiles[k : k + 2], 1) for k in (0, 2)]
    return np.concatenate(rows, 0)


@dataclass
class RandomPictures:
    """Batches of random pictures. A batch follows from the seed and its number alone.

    Each picture comes from a folder drawn alike, whatever their sizes.

    Attributes:
        folders: The pictures of each folder.
        spec: Interface of the network.
        batch: Pictures of a batch; may change.
        seed: Seed of all choices.

    Example:
        >>> pictures = RandomPictures([[Picture.file("a.jpg"), Picture.file("b.jpg")]], spec, 4)
        >>> pictures(0).shape
        torch.Size([4, 3, 416, 416])
    """

    folders: Sequence[Sequence[Picture]]
    spec: "Spec"
    batch: int
    seed: int = 0

    def __call__(self, number: int) -> Tensor:
        """Batch `number` as the ANN takes it, [N, 3, H, W], of clips [N, K, 3, H, W]."""
        samples: list[Tensor] = []
        for k in range(self.batch):
            samples.append(self.sample(np.random.default_rng((self.seed, number, k))))
        return self.spec.normalised(torch.stack(samples))

    def sample(self, rng: np.random.Generator) -> Tensor:
        """A random picture as bytes, uint8 [3, H, W]."""
        return preprocess(self.picture(rng), self.spec)[0]

    def first(self, count: int) -> list[Tensor]:
        """The first batches, of so many pictures or more."""
        return list(map(self, range(-(-count // self.batch))))

    def picture(self, rng: np.random.Generator) -> np.ndarray:
        """A random picture, [H, W, 3]."""
        least = SMALLEST_CROP[self.spec.task]
        if self.spec.task == "detect" and rng.random() < MOSAIC:
            tiles = [random_crop(self._read(rng), rng, least) for _ in range(4)]
            image = mosaic(tiles, self.spec.height, self.spec.width)
        else:
            image = self._read(rng)
            if rng.random() < CROPPED:
                image = random_crop(image, rng, least)
        if rng.random() < 0.5:
            image = mirrored(image)
        return image

    def _read(self, rng: np.random.Generator) -> np.ndarray:
        """A random picture as it is. Raises UserError if it cannot be read."""
        folder = self.folders[int(rng.integers(len(self.folders)))]
        return read_image(folder[int(rng.integers(len(folder)))].source)


# Frames, uint8 [H, W, 3] each.
Clip = list[np.ndarray]
# Largest sides of a clip's frames, in pixels: more clips teach more than larger ones.
SIDE = 320
# Longest time between two frames, in frames.
LONGEST = 8
# The most clips that are kept of a video.
MOST_CLIPS = 64
# The most parts that move; their smallest and largest sides, and the deviations of their speed
# and of a camera's per frame, are shares of the picture's longer side.
MOST_PARTS, SMALLEST, LARGEST, SPEED, PAN = 5, 0.05, 0.5, 0.008, 0.003
# The share of the cameras that move, and the deviations of their zoom and of the light per frame.
MOVING, ZOOM, LIGHT = 0.3, 0.003, 1e-3
# The largest noise, of 255, and the side of a codec's blocks in pixels.
NOISE, BLOCK = 4, 16


@dataclass
class RandomClips(RandomPictures):
    """Batches of short clips, made of random pictures as RandomPictures has them.

    Parts of one picture move over another; a third of the cameras move too, and zoom. Light
    changes, and there is noise, of which a codec leaves most blocks as they were. The last two
    frames follow each other; the time between those before is longer, so that a few frames change
    as much as many. Clips of videos are drawn from as those of a folder are. Of each clip the
    network sees a part, as large as a whole one would show it.

    Attributes:
        frames: Frames of a clip.
        videos: Clips of each video, see `clips_of`.

    Example:
        >>> clips = RandomClips(folders, spec, 4, frames=5)
        >>> clips(0).shape
        torch.Size([4, 5, 3, 320, 320])
    """

    frames: int = 5
    videos: Sequence[Sequence[Clip]] = ()

    @property
    def part(self) -> "Spec":
        """Interface of a network that sees a part."""
        height, width = (min(SIDE, side) for side in (self.spec.height, self.spec.width))
        return replace(self.spec, height=height, width=width)

    def sample(self, rng: np.random.Generator) -> Tensor:
        """A part of a random clip as bytes, uint8 [K, 3, H, W]."""
        height, width = self.part.height, self.part.width
        clip = torch.stack([preprocess(frame, self.spec)[0] for frame in self._clip(rng)])
        top = int(rng.integers(self.spec.height - height + 1))
        left = int(rng.integers(self.spec.width - width + 1))
        return clip[..., top : top + height, left : left + width]

    def _clip(self, rng: np.random.Generator) -> Iterable[np.ndarray]:
        share = len(self.videos) / (len(self.videos) + len(self.folders))
        if not self.videos or rng.random() >= share:
            return moving(self.picture(rng), self.picture(rng), frame_times(self.frames), rng)
        video = self.videos[int(rng.integers(len(self.videos)))]
        clip = video[int(rng.integers(len(video)))]
        if rng.random() < 0.5:
            clip = list(map(mirrored, clip))
        return clip


def frame_times(frames: int) -> list[int]:
    """Choose when frames are shown: the time between them grows by one from the last pair
    backwards, up to LONGEST.
    """
    steps = [min(k, LONGEST) for k in range(frames - 1, 0, -1)]
    return [0, *np.cumsum(steps).tolist()]


def clips_of(video: VideoSequence, times: Sequence[int], side: int) -> list[Clip]:
    """Clips of a video at equal distances, at most MOST_CLIPS.

    times: When their frames are shown, after the first. side: Longer side of the frames, at most.

    Raises:
        UserError: It cannot be read, or is shorter than a clip.
    """
    stride = max(times[-1] + 1, (video.length or 0) // MOST_CLIPS)
    clips: list[Clip] = []
    for number, frame in enumerate(islice(video.frames(), MOST_CLIPS * stride)):
        if number % stride == 0:
            clips.append([])
        if number % stride in times:
            factor = side / max(frame.shape[:2])
            if factor < 1:
                frame = cv2.resize(frame, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            clips[-1].append(frame)
    whole = [clip for clip in clips if len(clip) == len(times)]
    if not whole:
        raise UserError(f"{video.name} has fewer than {times[-1] + 1} frames: give a longer video")
    return whole


def moving(
    still: np.ndarray, other: np.ndarray, times: Sequence[int], rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Frames [H, W, 3] in which parts of another picture move over a still one.

    times: When each is shown. Sizes and speeds are in shares of the picture's longer side.
    """
    height, width = still.shape[:2]
    side = max(height, width)
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for _ in range(rng.integers(1, MOST_PARTS + 1)):
        size = np.rint(rng.uniform(SMALLEST, LARGEST, 2) * side).astype(int)
        y, x = (rng.integers(max(1, other.shape[k] - size[k])) for k in (0, 1))
        part = other[y : y + size[0], x : x + size[1]]
        start = rng.uniform(-0.5, 1, 2) * (width, height)
        parts.append((part, start, rng.normal(0, SPEED * side, 2) * (1, 0.3)))
    camera = rng.normal(0, (PAN * side, PAN * side, ZOOM)) * (rng.random() < MOVING)
    light, noise = rng.normal(0, LIGHT), rng.uniform(0, NOISE)
    renewed = rng.uniform(0, 1)
    grain = np.zeros_like(still, np.float32)
    for t in times:
        frame = _from_camera(still, camera * t)
        for part, start, speed in parts:
            _paste(frame, part, np.rint(start + speed * t).astype(int))
        sample = rng.standard_normal(still.shape, np.float32)
        fresh = cv2.GaussianBlur(noise * sample, (3, 3), 0)
        blocks = rng.random((-(-height // BLOCK), -(-width // BLOCK))) < renewed
        where = blocks.repeat(BLOCK, 0).repeat(BLOCK, 1)[:height, :width]
        grain[where] = fresh[where]
        yield np.rint((frame * (1 + light * t) + grain).clip(0, 255)).astype(np.uint8)


def _paste(frame: np.ndarray, part: np.ndarray, corner: np.ndarray) -> None:
    """Lay a part over a frame, its corner at (x, y); what is outside is cut."""
    (left, top), (height, width) = corner, part.shape[:2]
    x, y = max(left, 0), max(top, 0)
    inside = frame[y : max(top + height, 0), x : max(left + width, 0)]
    inside[:] = part[y - top :, x - left :][: inside.shape[0], : inside.shape[1]]


def _from_camera(image: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """Show an image to a camera that has moved by (x, y) pixels and come closer by log zoom."""
    if not motion.any():
        return image.copy()
    height, width = image.shape[:2]
    zoom = math.exp(motion[2])
    centre = np.array([width, height]) / 2
    x, y = centre - zoom * (centre + motion[:2])
    matrix = np.array([[zoom, 0, x], [0, zoom, y]])
    return cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
