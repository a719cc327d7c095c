"""Score spiking networks on videos, whose state stays from frame to frame: boxes, operations and
energy per frame.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from spiking_yolo.apps.evaluate import EnergyOptions
from spiking_yolo.arguments import BOXES, COMMAS, OUTPUT, WORDS, at_least, within
from spiking_yolo.draw import FigureOptions
from spiking_yolo.errors import UserError
from spiking_yolo.options import DetectionOptions, MethodOptions, ResumableOptions

MODES = ("ann", "reset", "stream", "delta")


@dataclass(frozen=True, kw_only=True)
class VideoOptions(MethodOptions, DetectionOptions, EnergyOptions, FigureOptions, ResumableOptions):
    """Which videos, which networks, and what of them is measured."""

    data: Annotated[tuple[Path, ...], WORDS]
    """Folders of MOTChallenge sequences (NAME/img1/*.jpg or NAME/NAME.mp4, gt.txt), and video
    files.
    """
    modes: Annotated[tuple[str, ...], COMMAS] = MODES
    """Ann: the original network in each frame; reset: the spiking one, anew in each; stream:
    with its state kept; delta: graded changes above a threshold are sent, without spikes
    (EvNets).
    """
    T: Annotated[int, at_least(1)] = 1
    """Timesteps per frame."""
    limit_frames: Annotated[int | None, at_least(1)] = None
    """At most N frames of each video."""
    every: Annotated[int, at_least(1)] = 1
    """Every N-th frame."""
    refresh: Annotated[int, at_least(0)] = 0
    """Of stream: start anew after N frames; 0: only at the first and at a cut."""
    delta_threshold: Annotated[float | None, within(0, 1e9)] = None
    """Of delta: what a change must exceed to be sent (default: 0.5 + neuron.hysteresis, in
    theta).
    """
    delta_unit: Literal["theta", "absolute"] = "theta"
    """Of --delta-threshold: the spiking neurons' thresholds, with encoding.tau for the image;
    or absolute, for all.
    """
    bootstrap: Annotated[int, within(0, 100000)] = 1000
    """95 % intervals by N resamplings of blocks of 15 frames; 0: none."""
    conf: Annotated[float, within(0, 1), BOXES] = 0.001
    """Smallest confidence."""
    max_det: Annotated[int, at_least(1), BOXES] = 100
    """Boxes per image."""
    project: Annotated[Path, OUTPUT] = Path("runs/video")
    """Folder of all runs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.data and self.modes):
            raise UserError("--data and --modes need at least one value each")
        if self.delta_unit == "absolute" and self.delta_threshold is None:
            raise UserError("--delta-unit absolute has no default: give --delta-threshold too")
        if unknown := [mode for mode in self.modes if mode not in MODES]:
            raise UserError(f"--modes: no mode {unknown[0]!r}; choose from {', '.join(MODES)}")
        object.__setattr__(self, "modes", tuple(mode for mode in MODES if mode in self.modes))


def main(options: VideoOptions) -> None:
    """Score spiking networks on videos, whose state stays from frame to frame: boxes, operations
    and energy per frame.

    ```
    spiking-yolo eval-video --data TUD-Campus TUD-Stadtmitte
    spiking-yolo eval-video --data clip.mp4 --modes ann,stream --set encoding.tau=0.04
    spiking-yolo eval-video --data MOT16/train --limit-frames 100 --resume latest
    ```

    A sequence is a folder as MOTChallenge has it: img1/*.jpg or NAME.mp4, and people in gt/gt.txt
    or gt.txt; boxes with flag 0 and of other classes are not scored. A bare clip is scored by its
    agreement with the ANN alone.
    PROJECT/NAME gets results.json, results.csv, a timeline of each sequence, and what each network
    found in each frame, from which --resume goes on.
    """
    from spiking_yolo.apps.console import Bars, write
    from spiking_yolo.apps.video.evaluation import KEPT, evaluate, open_data
    from spiking_yolo.apps.video.modes import Bench
    from spiking_yolo.io.distributed import usable_device
    from spiking_yolo.options import load, study_folder

    sequences, device = open_data(options.data), usable_device(options.device)
    bench = Bench.of(load(options), device, options)
    folder, bars = study_folder(options, KEPT), Bars()
    try:
        evaluation = evaluate(bench, sequences, folder, bars)
    except KeyboardInterrupt:
        if any(folder.glob(KEPT)):
            write(
                f"finished sequences and modes are kept: go on with --resume {folder}",
                file=sys.stderr,
            )
        raise
    finally:
        bars.close()
    print(evaluation.text())
    evaluation.save(folder)
    print(f"results saved to {folder}")
