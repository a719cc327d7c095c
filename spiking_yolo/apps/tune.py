"""Tune a network without labels, so that it takes far fewer operations.

    spiking-yolo tune --images train2017 VOCdevkit  # to 0.41 operations per MAC
    spiking-yolo tune --images train2017 VOCdevkit --set calibration.operations=0.3
    spiking-yolo tune --method signed-digits-video --images train2017 --videos camera.mp4
    spiking-yolo tune --weights W --data cifar10_jpeg.tar.xz  # a classifier

The spiking network learns to answer as the ANN does, on photographs that nobody has annotated,
within the operations of the goal. Weights, thresholds and biases move. Each batch is drawn from all
folders of --images alike; its pictures are cropped, mirrored and put together at random. Tuning
starts from thresholds of equal slopes, or from the default method's (`calibrate`), whichever are
nearer to the ANN at the goal.

The result is the calibration file of the method signed-digits-tuned, with kernels of 8 bits, where
every verb finds it: detect --method signed-digits-tuned. Tables that show it say "weights tuned
without labels", and compare with the original ANN. PROJECT/NAME gets card.json, curve.csv, and
error.png and operations.png, also of pictures that are held back; --resume goes on after an
interruption, with the same result. --set calibration.weights=false tunes the neurons alone.

--method signed-digits-video trains neurons alone too, for the later frames of videos: on clips in
which parts of one picture move over another, and on those of --videos, which need no labels either.
What counts is the last frame of a clip, its error and its operations. It starts from neurons tuned
on pictures, where there are any.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from spiking_yolo.convert.methods import TUNED, VIDEO
from spiking_yolo.draw import FigureOptions
from spiking_yolo.options import LearningOptions, ResumableOptions
from spiking_yolo.settings import setting


@dataclass(frozen=True, kw_only=True)
class TuneOptions(LearningOptions, ResumableOptions, FigureOptions):
    """What is tuned, on which pictures, how long, and where the result goes."""

    title = "options"

    method: str = setting(
        TUNED, f"{TUNED}, {VIDEO}, or a recipe.json that moves weights or learns from clips"
    )
    images: tuple[Path, ...] = setting(
        (), "folders of photographs without labels, each drawn from alike; 500 or more are good"
    )
    videos: tuple[Path, ...] = setting(
        (), "videos without labels, or folders of them, for methods that learn from clips"
    )
    settings: Mapping[str, Any] = setting(
        {}, "change a setting: calibration.operations is the goal, calibration.steps how long"
    )
    hold_back: int = setting(48, "pictures on which states are compared, not trained on", 8)
    batch: int | None = setting(None, "pictures of a step (default: 4, or more where small)", 1)
    lr: float = setting(
        1e-3, "learning rate of the kernels, in units of their root mean square", above=0
    )
    seed: int = setting(0, "of everything that is random", 0)
    device: str = setting("auto", "auto, cpu, cuda, cuda:1, ...")
    bf16: Literal["auto", "on", "off"] = setting(
        "auto", "multiply in bfloat16 (auto: where it is faster)"
    )
    save_every: float = setting(5.0, "minutes between checkpoints; 0: after every step", 0)
    project: Path = setting(Path("runs/tune"))


# Seconds between lines of progress where stderr is a file.
LINES = 30.0


def main(options: TuneOptions) -> int:
    """Tune and print; exit status 1 when pictures could not be read."""
    from spiking_yolo.apps.console import Bars, next_command, write
    from spiking_yolo.apps.detect import DetectOptions
    from spiking_yolo.apps.tune_run import tune
    from spiking_yolo.io.assets import sample_photograph

    bars = Bars(lines=LINES)
    try:
        outcome = tune(options, bars, write)
    finally:
        bars.close()
    for reason in outcome.unreadable:
        print(f"skipped: {reason}", file=sys.stderr)
    print(outcome.text())
    print(
        next_command("detect", DetectOptions, options, sample_photograph(), method=options.method)
    )
    return int(bool(outcome.unreadable))
