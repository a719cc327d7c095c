"""Memory and open files over long runs in one process: `python -m tests.soak --photographs 2000
--frames 10000`.

By default a network of a few weights looks at smooth blobs; --weights, --images and --video name
others. Memory is the resident set after a garbage collection. Exit status 1 when it grows by more
than 2 % from the first hundred images to the last ones, or when a file stays open.
"""

import argparse
import gc
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from itertools import cycle, islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

from helpers.tiny import photo, write_tiny
from helpers.video import walk, write_frames

from spiking_yolo import SpikingYOLO
from spiking_yolo.apps.detect.run import DetectRun
from spiking_yolo.cli.main import call

# Images before memory counts, and between two looks at it; its growth.
FIRST, EVERY, MOST = 100, 20, 0.02
SIZES = ((80, 48), (64, 64), (200, 120), (333, 500), (640, 360), (61, 127), (1280, 720))
# A random network finds a hundred.
CHOICE = {"conf": 0.3, "max_det": 8}
LOOK = ("--T", "2", "--conf", "0.3", "--max-det", "8", "--save-txt", "--save-json", "--exist-ok")
# Photographs per one that is drawn with heat maps and an animation, which takes a second each.
FIGURES = 5


class Meter:
    """MB of this process after every EVERY images beyond the first hundred."""

    def __init__(self) -> None:
        self.count, self.seen = 0, []

    def __call__(self) -> None:
        self.count += 1
        if self.count >= FIRST and self.count % EVERY == 0:
            gc.collect()
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.seen.append(pages * resource.getpagesize() / 1e6)

    @property
    def growth(self) -> float:
        """From the first tenth of what was seen to the last."""
        part = max(1, len(self.seen) // 10)
        return float(np.median(self.seen[-part:]) / np.median(self.seen[:part]) - 1)


def open_files() -> Counter[str]:
    """What this process has open, but for the fonts, which matplotlib opens once and keeps."""
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return Counter(
        os.readlink(link)
        for link in links
        if os.path.islink(link) and ".ttf" not in os.readlink(link)
    )


def photographs(options: argparse.Namespace, place: Path) -> list[Path]:
    if options.images:
        found = sorted(
            path for path in options.images.iterdir() if path.suffix.lower() in (".jpg", ".png")
        )
    else:
        (place / "images").mkdir()
        found = [
            photo(place / "images" / f"{i:04d}.png", i, *size) for i, size in enumerate(5 * SIZES)
        ]
    return list(islice(cycle(found), options.photographs))


def video(options: argparse.Namespace, place: Path) -> Path:
    return options.video or write_frames(
        place / "v.mp4", list(islice(cycle(walk(15)), options.frames))
    )


def by_calls(weights: Path, images: list[Path], place: Path, meter: Meter) -> None:
    """SpikingYOLO in Python, of files, with everything that a result can be asked for."""
    detector = SpikingYOLO(weights)
    for path in images:
        result = detector(str(path), T=2, steps=[1], maps=True, **CHOICE)
        result.save(place / "drawn.jpg")
        result.to_json()
        meter()


def by_stream(weights: Path, clip: Path, frames: int, meter: Meter) -> None:
    detector = SpikingYOLO(weights)
    for result in islice(detector.stream(str(clip), maps=True, **CHOICE), frames):
        result.plot()
        meter()


def by_command(meter: Meter, *argv: object) -> None:
    """`spiking-yolo detect`, watched where it has a result in hand."""
    original = DetectRun.results

    def watched(self: DetectRun, *args: Any) -> Iterator[Any]:
        for seen in original(self, *args):
            meter()
            yield seen

    with (
        patch.object(DetectRun, "results", watched),
        open(os.devnull, "w") as nowhere,
        redirect_stdout(nowhere),
    ):
        assert call(["detect", *map(str, argv)]) == 0


def runs(options: argparse.Namespace, place: Path) -> Iterator[tuple[str, Callable[[Meter], None]]]:
    """What is measured, by name."""
    weights = options.weights or write_tiny(place)
    images, clip = photographs(options, place), video(options, place)
    listed, drawn = place / "all.txt", place / "some.txt"
    listed.write_text("\n".join(str(path.absolute()) for path in images))
    drawn.write_text("\n".join(str(path.absolute()) for path in images[: len(images) // FIGURES]))
    common = ("--weights", weights, "--project", place / "out", *LOOK)
    films = ("--save-mot", "--timeline", "--overlay", "--max-frames", options.frames)
    yield "photographs in Python", lambda meter: by_calls(weights, images, place, meter)
    yield "stream in Python", lambda meter: by_stream(weights, clip, options.frames, meter)
    yield "detect LIST", lambda meter: by_command(meter, listed, *common, "--ann", "--steps", "1")
    yield (
        "detect LIST --overlay --gif",
        lambda meter: by_command(meter, drawn, *common, "--overlay"),
    )
    yield "detect VIDEO", lambda meter: by_command(meter, clip, *common, *films)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument(
        "--photographs", type=int, default=2000, help="of each run over photographs"
    )
    parser.add_argument("--frames", type=int, default=10000, help="of each run over a video")
    parser.add_argument("--weights", type=Path, help="a network, with its statistics beside it")
    parser.add_argument(
        "--images", type=Path, help="a folder of photographs, taken again when they are too few"
    )
    parser.add_argument("--video", type=Path, help="a video")
    parser.add_argument("--only", action="append", help="a run by its name, or several")
    options = parser.parse_args()
    torch.set_num_threads(1)
    failed = False
    print(
        f"{'run':30}{'images':>8}{'first':>9}{'last':>9}{'most':>9}{'growth':>9}{'files':>7}{'seconds':>9}"
    )
    with tempfile.TemporaryDirectory() as place:
        for name, run in runs(options, Path(place)):
            if options.only and name not in options.only:
                continue
            meter, before, start = Meter(), open_files(), time.monotonic()
            run(meter)
            gc.collect()
            left = (open_files() - before).total()
            row = f"{name:30}{meter.count:8}{meter.seen[0]:7.0f}MB{meter.seen[-1]:7.0f}MB{max(meter.seen):7.0f}MB"
            print(f"{row}{meter.growth:9.1%}{left:7}{time.monotonic() - start:9.0f}", flush=True)
            failed |= meter.growth > MOST or left > 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
