"""`eval`: accuracy, spikes, operations and energy at every timestep."""

import sys
from pathlib import Path

from spiking_yolo.errors import UserError
from spiking_yolo.evaluate import EvalOptions


def main(options: EvalOptions = EvalOptions()) -> None:
    """Score spiking networks: accuracy, spikes, operations and energy at every timestep, from one
    pass per method.

    ```
    spiking-yolo eval  # five sample photographs, a smoke run
    spiking-yolo eval --data coco --T 256 --steps 16,32,64,128,256 --method p-norm,msat
    spiking-yolo eval --data mine.json --images photos/  # any file of COCO's format
    spiking-yolo eval --data VOCdevkit --year 2012 --limit 200 --bootstrap 1000
    spiking-yolo eval --data mine/data.yaml --metric voc  # labels as Ultralytics has them
    spiking-yolo eval --data cifar10 --weights W --method all --steps 8,16,32,64
    spiking-yolo eval --data MOT16/train --limit 100  # videos, people and tracks
    torchrun --nproc-per-node 4 tools/eval_coco.py --data coco
    ```

    The data decide. Photographs with boxes are scored by mAP of COCO, or of VOC: mAP_07 is the
    11-point rule of 2007, mAP_area the rule of 2010 and later. Images of a class each, in
    test/CLASS/ or val/CLASS/ of a folder, by top-1 and top-5.
    Videos are scored with the state kept from frame to frame and, for comparison, anew in each:
    AP50 of people, and MOTA, IDF1 and HOTA of their tracks, where MOTChallenge's gt/gt.txt or
    gt.txt is, and the agreement with the ANN. A network trained on other data is scored by the
    names of its classes. PROJECT/NAME gets results.csv, results.json, predictions and plots;
    --resume goes on after an interruption and gives the same figures.
    """
    from spiking_yolo.apps.console import Bars, write
    from spiking_yolo.convert.load import load_statistics
    from spiking_yolo.evaluate.run import Setup, evaluate, is_video, open_scorer
    from spiking_yolo.integer.video import check_lossless
    from spiking_yolo.io.distributed import processes
    from spiking_yolo.io.files import run_directory, samples_folder, silent
    from spiking_yolo.options import load_all, load_ann

    data = options.data or samples_folder()
    if (data / "instances.json").is_file():
        data /= "instances.json"
    with processes(options.device) as ranks:
        networks = load_all(options, is_video(data) and not options.lossless)
        if options.lossless and is_video(data):
            for network in networks.values():
                check_lossless(network.recipe)
        scorer = open_scorer(data, next(iter(networks.values())).spec, options)
        statistics = None
        if options.baseline:
            statistics = load_statistics(load_ann(options), options.statistics)
        folder = Path()
        if ranks.first:
            print("".join(f"note: {line}\n" for line in scorer.notes), end="")
            folder = options.resume or run_directory(options.project, options.name)
            if options.resume and not any(folder.glob("records-*.jsonl")):
                raise UserError(f"{folder} holds no run of this command: leave --resume out")
        folder = Path(ranks.broadcast(str(folder)))
        setup = Setup(folder=folder, ranks=ranks, progress=Bars() if ranks.first else silent)
        try:
            table = evaluate(networks, scorer, options, setup, statistics)
        except (KeyboardInterrupt, OSError):
            write(f"finished images are kept: go on with --resume {folder}", file=sys.stderr)
            raise
    if table is not None:
        print(f"{table.text()}\n")
        table.save(folder)
        print(f"results saved to {folder}")
