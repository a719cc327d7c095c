"""What an evaluation needs from the disk: converted networks, a dataset, and statistics for the
quantised ANN.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from spiking_yolo.apps.evaluate import EvalOptions, EvaluationOptions
from spiking_yolo.apps.evaluate.comparison import Comparison
from spiking_yolo.apps.evaluate.evaluation import Evaluation
from spiking_yolo.apps.evaluate.quantised import bits_of, quantised_ann
from spiking_yolo.apps.evaluate.records import observe_images
from spiking_yolo.apps.evaluate.scoring import (
    ClassificationScorer,
    ClassificationTask,
    CocoScorer,
    DetectionTask,
    Scorer,
    VocScorer,
)
from spiking_yolo.apps.evaluate.tables import Table, differences
from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.load import load_statistics
from spiking_yolo.convert.statistics import Statistics
from spiking_yolo.data.classification import LabelledSet
from spiking_yolo.data.detection import DetectionSet
from spiking_yolo.data.formats import open_classification, open_detection
from spiking_yolo.decode.selection import Selection
from spiking_yolo.errors import UserError
from spiking_yolo.io.assets import samples_folder
from spiking_yolo.io.distributed import Ranks
from spiking_yolo.metrics.bootstrap import Resampling
from spiking_yolo.models.spec import Spec
from spiking_yolo.observe import Forward
from spiking_yolo.options import load_all, load_ann

Inputs = tuple[dict[str, Converted], DetectionSet | LabelledSet, Statistics | None, EvalOptions]


def open_inputs(options: EvalOptions) -> Inputs:
    """What `compare` takes: networks, dataset, statistics, and options with the metric that "auto"
    stands for.

    Everything is read before the first run. Raises UserError for files that are missing, damaged or
    do not fit.
    """
    data, metric = options.data or samples_folder(), options.metric
    if not data.exists():  # said before the networks are converted, which takes its time
        raise UserError(f"{data} does not exist; check --data")
    networks = load_all(options)
    if metric == "auto" and next(iter(networks.values())).spec.task == "classify":
        metric = "accuracy"
    if metric == "accuracy":
        dataset = open_classification(data, options.split)
    else:
        dataset = open_detection(data, options.split, options.images, options.year)
        if metric == "auto":
            metric = dataset.metric
    statistics = (
        load_statistics(load_ann(options), options.statistics) if options.baseline else None
    )
    return networks, dataset, statistics, replace(options, metric=metric)


# method, images that are done, images in all.
Progress = Callable[[str, int, int], Any]
# Of a quantised ANN that is worth a row.
MOST_BITS = 12
# Of a dataset are shown; all are in results.json.
NOTES = 5


def evaluate(
    network: Converted,
    dataset: DetectionSet | LabelledSet,
    options: EvaluationOptions = EvaluationOptions(),
    *,
    statistics: Statistics | None = None,
    scorer: Scorer | None = None,
    device: str | torch.device = "cpu",
    folder: Path | None = None,
    progress: Progress = lambda method, done, total: None,
) -> Evaluation:
    """The ANN and the spiking network at every timestep of the options; for the parameters see
    `compare`.
    """
    results: list[Evaluation] = []
    compare(
        {network.recipe.name: network},
        dataset,
        options,
        statistics=statistics,
        scorer=scorer,
        folder=folder,
        ranks=Ranks(device=device),
        progress=progress,
        finished=lambda name, evaluation: results.append(evaluation),
    )
    return results[0]


def compare(
    networks: Mapping[str, Converted],
    dataset: DetectionSet | LabelledSet,
    options: EvaluationOptions = EvaluationOptions(),
    *,
    statistics: Statistics | None = None,
    scorer: Scorer | None = None,
    folder: Path | None = None,
    ranks: Ranks = Ranks(),
    progress: Progress = lambda method, done, total: None,
    finished: Callable[[str, Evaluation], Any] = lambda method, evaluation: None,
) -> Comparison:
    """Evaluate conversions of one network, one after the other.

    networks: by method; all converted before the first run, so that a missing calibration is found
    at once. statistics: of the activations; with them there are rows of the quantised ANN, the
    rival of a spiking network. scorer: by default as the dataset and `options.metric` say. folder:
    keeps the records of finished images, and goes on with those of an interrupted call; of several
    networks each has a folder inside, by its name. ranks: this process among those of torchrun, and
    its device; in all but the first the tables stay empty. progress(method, done, total) is called
    after each batch. finished(method, evaluation) is called after each method: an evaluation, which
    holds all predictions, is not kept, nor is what its table scored. Raises UserError when network,
    data and options do not fit.
    """
    listed = len(dataset)
    if options.limit is not None:
        dataset = dataset.subset(options.limit, options.seed)
    scorer = scorer or scorer_of(dataset, options)
    tables: dict[str, Table] = {}
    resamplings: dict[str, Mapping[str, Resampling]] = {}
    for name, network in networks.items():
        task = task_of(network.spec, dataset, options)
        rivals = quantised_rivals(network, statistics, options) if statistics else {}
        folder_of_method = folder / name if folder and len(networks) > 1 else folder
        records = observe_images(
            network,
            task,
            options,
            rivals,
            folder_of_method,
            ranks,
            partial(progress, name),
        )
        if ranks.first:
            evaluation = Evaluation.of(records, network, dataset, scorer, options, listed)
            finished(name, evaluation)
            tables[name] = replace(evaluation.table, scored={})
            resamplings[name] = evaluation.resamplings
    recipes = {name: network.recipe for name, network in networks.items()}
    minus = differences(resamplings) if options.bootstrap else {}
    return Comparison(dataset, recipes, tables, scorer.main[0], minus)


def quantised_rivals(
    network: Converted, statistics: Statistics, options: EvaluationOptions
) -> dict[int, Forward]:
    """Bits -> the quantised ANN: of 8 bits, and of as many as hold what a neuron sends until each
    step.
    """
    gamma = network.recipe.neuron.gamma
    bits = {8, *(bits_of(gamma, t) for t in options.timesteps)}
    few = sorted(b for b in bits if b < MOST_BITS)
    return {b: quantised_ann(network.graph, statistics, b) for b in few}


def task_of(
    spec: Spec, dataset: DetectionSet | LabelledSet, options: EvaluationOptions
) -> DetectionTask | ClassificationTask:
    """What is predicted for the images of a dataset. Raises UserError when the network does not fit
    the data.
    """
    if isinstance(dataset, LabelledSet):
        return ClassificationTask(
            spec, dataset, 0.5 if options.exit_conf is None else options.exit_conf
        )
    exit_conf = 0.25 if options.exit_conf is None else options.exit_conf
    return DetectionTask(spec, dataset, Selection.of(options), exit_conf)


def scorer_of(dataset: DetectionSet | LabelledSet, options: EvaluationOptions) -> Scorer:
    if isinstance(dataset, LabelledSet):
        return ClassificationScorer(dataset)
    return VocScorer(dataset) if options.metric == "voc" else CocoScorer(dataset)


def notes(spec: Spec, dataset: DetectionSet | LabelledSet, options: EvaluationOptions) -> list[str]:
    """What to know about the data before looking at figures, one line each."""
    lines = list(dataset.notes[:NOTES])
    if len(dataset.notes) > NOTES:
        lines.append(f"{len(dataset.notes) - NOTES} more notes are in results.json")
    images = len(dataset)
    if options.limit is not None and options.limit < images:
        lines.append(f"{options.limit} of {images} images, by --limit; only these are scored")
    task = task_of(spec, dataset, options)
    if isinstance(task, DetectionTask):
        matches = sum(index >= 0 for index in task.classes)
        ours, theirs = len(spec.names), len(dataset.classes)
        if not matches == ours == theirs:
            lines.append(
                f"{matches} of the network's {ours} classes are matched with the dataset's"
                f" {theirs} by name"
            )
    return [f"note: {line}" for line in lines]
