"""Score spiking networks on videos, whose state stays from frame to frame: boxes, operations and
energy per frame.

    spiking-yolo eval-video --data TUD-Campus TUD-Stadtmitte
    spiking-yolo eval-video --data clip.mp4 --modes ann,stream --set encoding.tau=0.04
    spiking-yolo eval-video --data MOT16/train --limit-frames 100 --resume latest

A sequence is a folder as MOTChallenge has it: img1/*.jpg or NAME.mp4, and people in gt/gt.txt or
gt.txt; boxes with flag 0 and of other classes are not scored. A bare clip is scored by its
agreement with the ANN alone. PROJECT/NAME gets results.json, results.csv, a timeline of each
sequence, and what each network found in each frame, from which --resume goes on.
"""

import sys

from spiking_yolo.apps.video import VideoOptions

OPTIONS = VideoOptions


def main(options: VideoOptions) -> None:
    """Evaluate, print and save."""
    from spiking_yolo.apps.video.modes import Bench
    from spiking_yolo.apps.video.run import KEPT, evaluate, open_data
    from spiking_yolo.cli.main import Bars, write
    from spiking_yolo.io.distributed import usable_device
    from spiking_yolo.options import load, simulation, study_folder

    sequences, device = open_data(options.data), usable_device(options.device)
    bench = Bench.of(load(options), device, simulation(options, options.device), options)
    folder, bars = study_folder(options, KEPT), Bars()
    try:
        found = evaluate(bench, sequences, folder, bars)
    except KeyboardInterrupt:
        if any(folder.glob(KEPT)):
            write(
                f"finished sequences and modes are kept: go on with --resume {folder}",
                file=sys.stderr,
            )
        raise
    finally:
        bars.close()
    print(found.text())
    found.save(folder)
    print(f"results saved to {folder}")
