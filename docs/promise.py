"""The rows of "A promise" in docs/results/video.md: what `--keep 98` holds in harder scenes.

python docs/promise.py VIDEOS [WEIGHTS] prints a row per clip, of frames of the second half: its
agreement by box with a new start in every frame, fixed and kept; with the ANN, that of new starts,
fixed and kept; and digits per MAC of later frames, fixed and kept.
"""

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from spiking_yolo import Result, SpikingYOLO
from spiking_yolo.data.video import open_video
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.metrics.video import agreement

# Frames of each change.
CAMPUS = {"": 36, "noise 4": 36, "noise 8": 36, "half": 36, "double": 36, "third": 36}
STADTMITTE = {"": 90, "noise 4": 60, "noise 8": 60, "half": 40, "double": 40, "third": 60}
OTHERS = {"": 100, "noise 4": 40, "noise 8": 40, "half": 40, "double": 40}
# File, first frame, changes.
CLIPS = (
    ("TUD-Campus/TUD-Campus.mp4", 35, CAMPUS),
    ("TUD-Stadtmitte/TUD-Stadtmitte.mp4", 89, STADTMITTE),
    ("car-detection.mp4", 200, OTHERS),
    ("bottle-detection.mp4", 600, OTHERS),
    ("one-by-one-person-detection.mp4", 700, OTHERS),
)
GREY = 114


def changed(frames: list[np.ndarray], change: str) -> Iterator[np.ndarray]:
    """Frames with normal noise of that deviation, of 255; with half or double the light from the
    middle on; or each at a third of its size on grey.
    """
    rng = np.random.default_rng(0)
    for number, frame in enumerate(frames):
        late = number >= len(frames) // 2
        if change.startswith("noise"):
            frame = frame + rng.normal(0, int(change.split()[1]), frame.shape)
        elif change in ("half", "double") and late:
            frame = frame * {"half": 0.5, "double": 2.0}[change]
        elif change == "third":
            height, width = frame.shape[0] // 3, frame.shape[1] // 3
            small = np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BOX))
            frame = np.full_like(frame, GREY)
            frame[height : 2 * height, width : 2 * width] = small
        yield np.rint(frame).clip(0, 255).astype(np.uint8)


def agreed(found: Iterable[Detections], truth: Iterable[Detections]) -> float:
    """Agreement by box, in percent."""
    result = agreement([list(found)], [list(truth)], n=0)
    return 100 * float(result.value[result.figures.index("AP50")])


def later(results: list[Result]) -> float:
    """Digits per MAC, the mean of all frames but the first."""
    return float(np.mean([result.operations_per_mac for result in results[1:]]))


def row(detector: SpikingYOLO, frames: list[np.ndarray]) -> str:
    """The cells of a row."""
    ann = [detector.detect_ann(frame, conf=0.001).detections for frame in frames]
    anew = [detector.detect(frame, T=1, conf=0.001).detections for frame in frames]
    fixed = list(detector.stream(frames, conf=0.001))
    kept = list(detector.stream(frames, conf=0.001, keep=98))
    boxes = [[result.detections for result in results] for results in (fixed, kept)]
    with_anew = ", ".join(f"{agreed(found, anew):.1f}" for found in boxes)
    with_ann = ", ".join(f"{agreed(found, ann):.1f}" for found in (anew, *boxes))
    return f"{with_anew} | {with_ann} | {later(fixed):.3f}, {later(kept):.3f}"


def main(videos: Path, weights: str | None = None) -> None:
    """Print the rows as they come."""
    detector = SpikingYOLO(weights)
    for file, first, changes in CLIPS:
        for change, count in changes.items():
            with open_video(str(videos / file)) as video:
                frames = list(islice(video.frames(), first, first + count))
            cells = row(detector, list(changed(frames, change)))
            clip = f"{Path(file).stem} {change}".rstrip()
            print(f"| {clip}, {count} | {cells} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
