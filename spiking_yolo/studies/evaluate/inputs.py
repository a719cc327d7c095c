"""What an evaluation needs from the disk: converted networks, a dataset, and statistics for the quantised ANN."""

from dataclasses import replace

from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.pipeline import load_statistics
from spiking_yolo.convert.statistics import Statistics
from spiking_yolo.datasets.detection import DetectionSet
from spiking_yolo.datasets.labelled import LabelledSet
from spiking_yolo.datasets.open import UNPACKED, open_classification, open_detection, voc_years
from spiking_yolo.errors import UserError
from spiking_yolo.io.assets import samples_folder
from spiking_yolo.studies.evaluate.options import EvalOptions
from spiking_yolo.studies.options import load_all, load_ann

Inputs = tuple[dict[str, Converted], DetectionSet | LabelledSet, Statistics | None, EvalOptions]


def open_inputs(options: EvalOptions) -> Inputs:
    """What `compare` takes: networks, dataset, statistics, and options with the metric that "auto" stands for.

    Everything is read before the first run. Raises UserError for files that are missing, damaged or do not fit.
    """
    data, metric = options.data or samples_folder(), options.metric
    if not data.exists():  # said before the networks are converted, which takes its time
        raise UserError(f"{data} does not exist; check --data")
    networks = load_all(options)
    if metric == "auto" and next(iter(networks.values())).spec.task == "classify":
        metric = "accuracy"
    if metric == "accuracy":
        dataset = open_classification(data, options.split, options.project.parent / UNPACKED)
    else:
        dataset = open_detection(data, options.split, options.images, options.year)
    if metric == "auto":
        metric = "voc" if voc_years(data) else "coco"
    statistics = load_statistics(load_ann(options), options.statistics) if options.baseline else None
    return networks, dataset, statistics, replace(options, metric=metric)
