"""Score spiking networks on videos, whose state stays from frame to frame: boxes, operations and
energy per frame.

    spiking-yolo eval-video --data TUD-Campus TUD-Stadtmitte
    spiking-yolo eval-video --data clip.mp4 --modes ann,stream --set encoding.tau=0.04
    spiking-yolo eval-video --data MOT16/train --limit-frames 100 --resume latest

A sequence is a folder as MOTChallenge has it: img1/*.jpg or NAME.mp4, and people in gt/gt.txt or
gt.txt; boxes with flag 0 and of other classes are not scored. A bare clip is scored by its
agreement with the ANN alone.
PROJECT/NAME gets results.json, results.csv, a timeline of each sequence, and what each network
found in each frame, from which --resume goes on.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spiking_yolo.apps.evaluate import EnergyOptions
from spiking_yolo.draw import FigureOptions
from spiking_yolo.errors import UserError
from spiking_yolo.options import ComputeOptions, DetectionOptions, MethodOptions, ResumableOptions
from spiking_yolo.settings import setting

MODES = ("ann", "reset", "stream", "delta")


@dataclass(frozen=True, kw_only=True)
class VideoOptions(
    MethodOptions, ComputeOptions, DetectionOptions, EnergyOptions, FigureOptions, ResumableOptions
):
    """Which videos, which networks, and what of them is measured."""

    title = "options"

    data: tuple[Path, ...] = setting(
        doc=(
            "folders of MOTChallenge sequences (NAME/img1/*.jpg or NAME/NAME.mp4, gt.txt), and"
            " video files"
        )
    )
    modes: tuple[str, ...] = setting(
        MODES,
        "ann: the original network in each frame; reset: the spiking one, anew in each; stream:"
        " with its state kept; delta: graded changes above a threshold are sent, without spikes"
        " (EvNets)",
    )
    T: int = setting(1, "timesteps per frame", 1)
    limit_frames: int | None = setting(None, "at most N frames of each video", 1)
    every: int = setting(1, "every N-th frame", 1)
    refresh: int = setting(
        0, "of stream: start anew after N frames; 0: only at the first and at a cut", 0
    )
    delta_threshold: float | None = setting(
        None,
        "of delta: what a change must exceed to be sent (default: 0.5 + neuron.hysteresis, in"
        " theta)",
        0,
    )
    delta_unit: Literal["theta", "absolute"] = setting(
        "theta",
        "of --delta-threshold: the spiking neurons' thresholds, with encoding.tau for the image; or"
        " absolute, for all",
    )
    bootstrap: int = setting(
        1000, "95 % intervals by N resamplings of blocks of 15 frames; 0: none", 0, 100_000
    )
    conf: float = setting(0.001)
    max_det: int = setting(100)
    project: Path = setting(Path("runs/video"))

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
    """Evaluate, print and save."""
    from spiking_yolo.apps.console import Bars, write
    from spiking_yolo.apps.video.evaluation import KEPT, evaluate, open_data
    from spiking_yolo.apps.video.modes import Bench
    from spiking_yolo.io.distributed import usable_device
    from spiking_yolo.options import load, simulation, study_folder

    sequences, device = open_data(options.data), usable_device(options.device)
    bench = Bench.of(load(options), device, simulation(options, options.device), options)
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
