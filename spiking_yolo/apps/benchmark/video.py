"""A later frame of a video, of which only what changes is sent, beside a forward pass of the ANN.

The goals are at most .35 of a pass in a room, .7 on a road, and never above 1.3, with a moving
camera: limits.json has what the clips that come with the package must keep to, and
docs/performance.md what was measured.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from statistics import mean, quantiles
from typing import Any

import numpy as np
from torch import Tensor

from spiking_yolo.apps.benchmark import BenchmarkOptions
from spiking_yolo.apps.benchmark.cases import Case, ann_pass, photograph_paths
from spiking_yolo.apps.benchmark.timing import Stopwatch, interleaved, seconds
from spiking_yolo.data.images import preprocess, read_image
from spiking_yolo.data.video import frames_of
from spiking_yolo.errors import UserError
from spiking_yolo.io.assets import sample_clip
from spiking_yolo.models.load import Ann
from spiking_yolo.snn.stream import FrameRun, Stream

# Frames that build what the later ones use.
WARM = 3
# Pixels of a photograph per frame.
PAN = 4


def clips(options: BenchmarkOptions) -> dict[str, Iterable[np.ndarray]]:
    """Name -> frames, uint8 [H, W, 3]: the videos, a camera that stands still and one that pans
    over a photograph.

    Raises UserError for a video that cannot be opened.
    """
    videos = {str(path): path for path in options.video} or {"sample clip": sample_clip()}
    photograph = read_image(photograph_paths(options)[0])
    found: dict[str, Iterable[np.ndarray]] = {
        name: frames_of(path).images for name, path in videos.items()
    }
    still = (photograph for _ in range(options.frames))
    return found | {"still camera": still, "moving camera": panned(photograph, options.frames)}


def panned(photograph: np.ndarray, n: int) -> Iterator[np.ndarray]:
    """n windows of three quarters of its width, PAN pixels apart, to the right and back again."""
    reach = max(photograph.shape[1] // 4, 1)
    for k in range(n):
        left = reach - abs(reach - k * PAN % (2 * reach))
        yield photograph[:, left : left + photograph.shape[1] - reach]


def video(ann: Ann, options: BenchmarkOptions, progress: Callable[[str], Any]) -> dict[str, Any]:
    """By clip: "mean", a later frame as a multiple of a pass, of "frames" of them; "ratios" of
    each; where time goes.

    Raises UserError for a clip that is too short.
    """
    rows, converted = {}, Case("default").convert(ann)
    for name, images in clips(options).items():
        x = [
            preprocess(image, ann.spec)[0][None].to(options.device)
            for image in islice(images, options.frames)
        ]
        if len(x) < WARM + 3:
            raise UserError(f"{name} has {len(x)} frames: give a video of {WARM + 3} or more")
        progress(name)
        once = ann_pass(ann, x[0])
        rows[name] = timed_frames(Stream(converted.network(options.device)), x, once)
        rows[name]["ms_by_kind"] = frame_shares(Stream(converted.network(options.device)), x)
    return rows


def timed_frames(
    stream: Callable[[Tensor], FrameRun], x: list[Tensor], reference: Callable[[], None]
) -> dict[str, Any]:
    """Every frame but the first WARM + 1, each between two calls of the reference; see `video`."""
    later, fresh = iter(x[WARM:]), []
    for frame in x[:WARM]:
        stream(frame)

    def run() -> int:
        fresh.append(stream(next(later)).fresh)
        return 1

    timing = interleaved({"": run}, reference, len(x) - WARM - 1, x[0].device, calls=1)[""]
    tenths = quantiles(timing.ratios, n=10, method="inclusive")
    return {
        "mean": mean(timing.seconds) / mean(timing.reference),
        "ratio": timing.ratio,
        "tenths": [tenths[0], tenths[-1]],
        "ratios": timing.ratios,
        "ms": 1e3 * mean(timing.seconds),
        "ann_ms": 1e3 * mean(timing.reference),
        "frames": len(timing.seconds),
        "cuts": sum(fresh),
    }


def frame_shares(stream: Stream, x: list[Tensor]) -> dict[str, float]:
    """Milliseconds of a later frame by kind; see shares.py."""
    device, stopwatch = x[0].device, Stopwatch(stream.network, x[0].device)
    for frame in x[:WARM]:
        stream(frame)
    stopwatch.clear()
    whole = sum(seconds(lambda frame=frame: stream(frame), device)[0] for frame in x[WARM:])
    return stopwatch.kinds(whole, len(x) - WARM)
