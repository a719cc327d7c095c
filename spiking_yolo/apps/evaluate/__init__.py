"""`eval`: accuracy, spikes, operations and energy at every timestep."""

import sys
from pathlib import Path

from spiking_yolo.apps.evaluate.options import EvalOptions
from spiking_yolo.errors import UserError


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
    spiking-yolo eval --predictions dt.json --data instances_val2017.json
    torchrun --nproc-per-node 4 tools/eval_coco.py --data coco
    ```

    The data decide. Photographs with boxes are scored by mAP of COCO, or of VOC: mAP_07 is the
    11-point rule of 2007, mAP_area the rule of 2010 and later. Images of a class each, in
    test/CLASS/ or val/CLASS/ of a folder or in cifar-100-python/, by top-1 and top-5.
    Videos are scored with the state kept from frame to frame and, for comparison, anew in each:
    AP50 of people, and MOTA, IDF1 and HOTA of their tracks, where MOTChallenge's gt/gt.txt or
    gt.txt is, and the agreement with the ANN. --predictions scores boxes of whatever detector; no
    network is needed. A network trained on other data is scored by the names of its classes.
    PROJECT/NAME gets results.csv, results.json, predictions and plots; --resume goes on after an
    interruption and gives the same figures.
    """
    from spiking_yolo.apps.console import Bars, write
    from spiking_yolo.apps.evaluate.plots import save_plots
    from spiking_yolo.apps.evaluate.run import Setup, evaluate, open_scorer, score_predictions
    from spiking_yolo.apps.evaluate.table import TABLE
    from spiking_yolo.convert.load import load_statistics
    from spiking_yolo.io.assets import samples_folder
    from spiking_yolo.io.distributed import processes
    from spiking_yolo.options import load_all, load_ann, silent, study_folder

    if options.predictions:
        table = score_predictions(options)
        folder = study_folder(options, TABLE, TABLE)
        print("\n".join([*table.facts["notes"], "", table.text(options.per_class)]))
        table.save(folder)
        print(f"\nresults saved to {folder}")
        return
    data = options.data or samples_folder()
    if not data.exists():  # said before the networks are converted, which takes its time
        raise UserError(f"{data} does not exist; check --data")
    with processes(options.device) as ranks:
        networks = load_all(options)
        scorer = open_scorer(data, next(iter(networks.values())).spec, options)
        statistics = None
        if options.baseline:
            statistics = load_statistics(load_ann(options), options.statistics)
        folder = ""
        if ranks.first:
            print("".join(f"note: {line}\n" for line in scorer.notes), end="")
            folder = str(study_folder(options, "records-*.jsonl", TABLE))
        folder = Path(ranks.broadcast(folder))
        setup = Setup(
            folder=folder,
            ranks=ranks,
            progress=Bars() if ranks.first else silent,
        )
        try:
            table = evaluate(networks, scorer, options, setup, statistics)
        except KeyboardInterrupt:
            write(f"finished images are kept: go on with --resume {folder}", file=sys.stderr)
            raise
    if table is not None:
        print(table.text(options.per_class))
        save_plots(table, folder, options.figures)
        table.save(folder)
        print(f"\nresults saved to {folder}")
