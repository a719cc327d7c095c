"""Tune a network without labels, so that it takes far fewer operations."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from spiking_yolo.arguments import OUTPUT, WORDS, Settings, above, at_least, within
from spiking_yolo.convert.methods import TUNED
from spiking_yolo.draw import FigureOptions
from spiking_yolo.options import LearningOptions, ResumableOptions


@dataclass(frozen=True, kw_only=True)
class TuneOptions(LearningOptions, ResumableOptions, FigureOptions):
    """What is tuned, on which pictures, how long, and where the result goes."""

    method: str = TUNED
    """Signed-digits-tuned, signed-digits-video, or a recipe.json that moves weights or learns
    from clips.
    """
    images: Annotated[tuple[Path, ...], WORDS] = ()
    """Folders of photographs without labels, each drawn from alike; 500 or more are good."""
    videos: Annotated[tuple[Path, ...], WORDS] = ()
    """Videos without labels, or folders of them, for methods that learn from clips."""
    settings: Settings = field(default_factory=dict)
    """Change a setting: calibration.operations is the goal, calibration.steps how long."""
    hold_back: Annotated[int, at_least(8)] = 48
    """Pictures on which states are compared, not trained on."""
    batch: Annotated[int | None, at_least(1)] = None
    """Pictures of a step (default: 4, or more where small)."""
    lr: Annotated[float, above(0)] = 0.001
    """Learning rate of the kernels, in units of their root mean square."""
    seed: Annotated[int, at_least(0)] = 0
    """Of everything that is random."""
    device: str = "auto"
    """Auto, cpu, cuda, cuda:1, ..."""
    bf16: Literal["auto", "on", "off"] = "auto"
    """Multiply in bfloat16 (auto: where it is faster)."""
    save_every: Annotated[float, within(0, 1e9)] = 5.0
    """Minutes between checkpoints; 0: after every step."""
    project: Annotated[Path, OUTPUT] = Path("runs/tune")
    """Folder of all runs."""


# Seconds between lines of progress where stderr is a file.
LINES = 30.0


def main(options: TuneOptions = TuneOptions()) -> int:
    """Tune a network without labels, so that it takes far fewer operations.

    ```
    spiking-yolo tune --images train2017 VOCdevkit  # to 0.41 operations per MAC
    spiking-yolo tune --images train2017 VOCdevkit --set calibration.operations=0.3
    spiking-yolo tune --method signed-digits-video --images train2017 --videos camera.mp4
    spiking-yolo tune --weights W --data cifar10_jpeg.tar.xz  # a classifier
    ```

    The spiking network learns to answer as the ANN does, on photographs that nobody has annotated,
    within the operations of the goal. Weights, thresholds and biases move. Each batch is drawn from
    all folders of --images alike; its pictures are cropped, mirrored and put together at random.
    Tuning starts from thresholds of equal slopes, or from the default method's (`calibrate`),
    whichever are nearer to the ANN at the goal.

    The result is the calibration file of the method signed-digits-tuned, with kernels of 8 bits,
    where every verb finds it: detect --method signed-digits-tuned. Tables that show it say "weights
    tuned without labels", and compare with the original ANN. PROJECT/NAME gets card.json,
    curve.csv, and error.png and operations.png, also of pictures that are held back; --resume goes
    on after an interruption, with the same result. --set calibration.weights=false tunes the
    neurons alone.

    --method signed-digits-video trains neurons alone too, for the later frames of videos: on clips
    in which parts of one picture move over another, and on those of --videos, which need no labels
    either. What counts is the last frame of a clip, its error and its operations. It starts from
    neurons tuned on pictures, where there are any.
    """
    from spiking_yolo.apps.console import Bars, write
    from spiking_yolo.apps.tune_run import tune

    options.check_images()
    bars = Bars(lines=LINES)
    try:
        outcome = tune(options, bars, write)
    finally:
        bars.close()
    for reason in outcome.unreadable:
        print(f"skipped: {reason}", file=sys.stderr)
    print(outcome.text())
    return int(bool(outcome.unreadable))
