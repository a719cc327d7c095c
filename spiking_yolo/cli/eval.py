"""Score spiking networks: accuracy, spikes, operations and energy at every timestep, from one pass
per method.

    spiking-yolo eval  # five sample photographs, a smoke run
    spiking-yolo eval --data coco --T 256 --steps 16,32,64,128,256 --method channel-norm
    spiking-yolo eval --data mine.json --images photos/            # any file of COCO's format
    spiking-yolo eval --data VOCdevkit --year 2012 --limit 200 --bootstrap 1000
    spiking-yolo eval --data mine/data.yaml --metric voc           # labels as Ultralytics has them
    spiking-yolo eval --data cifar10_jpeg.tar.xz --weights W --method all --steps 8,16,32,64
    torchrun --nproc-per-node 4 tools/eval_coco.py --data coco

Detectors are scored by mAP of COCO, or of VOC: mAP_07 is the 11-point rule of 2007, mAP_area the
rule of 2010 and later. Classifiers are scored by top-1 and top-5 on a folder, or a tar file, with
test/CLASS/ or val/CLASS/ inside, or on the folder that holds cifar-100-python/. A network trained
on other data is scored by the names of its classes. PROJECT/NAME gets results.json, results.csv,
predictions and plots, with --report also one page to look at; several methods get a folder each,
beside one table and plots of methods x T. --resume goes on after an interruption and gives the same
figures.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from spiking_yolo.apps.evaluate import EvalOptions

if TYPE_CHECKING:
    from spiking_yolo.apps.evaluate.evaluation import Evaluation

OPTIONS = EvalOptions


def main(options: EvalOptions) -> None:
    """Evaluate, print and save; under torchrun the first process prints."""
    from spiking_yolo.apps.evaluate.comparison import COMPARISON
    from spiking_yolo.apps.evaluate.evaluation import RESULTS
    from spiking_yolo.apps.evaluate.run import compare, notes, open_inputs
    from spiking_yolo.apps.report.evaluation import evaluation_page
    from spiking_yolo.cli.following import following
    from spiking_yolo.cli.main import Bars, write
    from spiking_yolo.data.detection import DetectionSet
    from spiking_yolo.io.distributed import processes
    from spiking_yolo.options import simulation, study_folder

    with processes(options.device) as ranks:
        networks, dataset, statistics, options = open_inputs(options)
        several = len(networks) > 1
        lines = notes(next(iter(networks.values())).spec, dataset, options)
        if options.data is None:
            lines.insert(
                0,
                "no --data: the five sample photographs, which show that it runs and measure"
                " nothing",
            )
        if ranks.first:
            print("".join(f"{line}\n" for line in lines), end="")
        log, last = ("*/records-*.jsonl", COMPARISON) if several else ("records-*.jsonl", RESULTS)
        folder = Path(ranks.broadcast(str(study_folder(options, log, last)) if ranks.first else ""))

        def finished(name: str, evaluation: Evaluation) -> None:
            own = folder / name if several else folder
            evaluation.save(own, options.figures)
            if options.report:
                evaluation_page(evaluation).save(own / "report.html")
            if not several:
                print(f"\n{evaluation.text(options.per_class)}\nresults saved to {folder}")
                if isinstance(dataset, DetectionSet):
                    print(following("analyze", options, method=next(iter(options.methods), None)))

        try:
            comparison = compare(
                networks,
                dataset,
                options,
                statistics=statistics,
                simulation=simulation(options, options.device),
                folder=folder,
                ranks=ranks,
                progress=Bars() if ranks.first else lambda *_: None,
                finished=finished,
            )
        except KeyboardInterrupt:
            write(f"finished images are kept: go on with --resume {folder}", file=sys.stderr)
            raise
        if several and ranks.first:
            print(f"\n{comparison.text()}")
            comparison.save(folder, options.figures)
            print(f"results saved to {folder}")
