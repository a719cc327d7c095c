"""The engine of `eval`: every network sees every image once; records go into the log, rows into
the table.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import date
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from spiking_yolo import __version__
from spiking_yolo.convert.learn.statistics import Statistics
from spiking_yolo.convert.load import Converted
from spiking_yolo.data.datasets import DetectionSet, LabelledSet, Sample
from spiking_yolo.data.formats import format_of, open_classification, open_detection
from spiking_yolo.data.mot import has_videos
from spiking_yolo.data.sources import image_paths
from spiking_yolo.decode.selection import Selection
from spiking_yolo.errors import UserError
from spiking_yolo.evaluate import table
from spiking_yolo.evaluate.alternatives import alternative_rows, without_spikes
from spiking_yolo.evaluate.baselines import EightBits, quantised_ann
from spiking_yolo.evaluate.scoring import (
    Batches,
    ClassScorer,
    CocoScorer,
    Scorer,
    Settings,
    VocScorer,
)
from spiking_yolo.evaluate.videos import AgreementScorer, VideoScorer, open_videos
from spiking_yolo.io.distributed import usable_device
from spiking_yolo.io.files import Progress, command_line, silent, versions
from spiking_yolo.io.text import write_json
from spiking_yolo.log import run_logged
from spiking_yolo.metrics.costs import CostsByShape, neurobench
from spiking_yolo.models.spec import Spec
from spiking_yolo.observe import Forward, Observation, Observer, Shapes
from spiking_yolo.spikes.readout import Network

# Pixels up to which images of a detector are simulated four at once, which is 1.4 to 1.7 times as
# fast at 320 pixels, and 1.0 to 1.1 times at 416.
SMALL = 320 * 320


# The place of a JSON file in the folder of a run -> what makes its content.
PredictionFiles = dict[Path, Callable[[], list[dict[str, Any]] | dict[str, Any]]]


def is_video(data: Path) -> bool:
    """Whether frames of videos are scored: no file says that these are photographs of a dataset."""
    return format_of(data) is None and has_videos(data)


def open_scorer(data: Path, spec: Spec, settings: Settings) -> Scorer:
    """What is scored, as the files say: photographs with boxes, videos, or images of a class each.

    Raises:
        UserError: The data are of no known format, no object is marked in them, or the network does
            not fit them.
    """
    bare = format_of(data) is None
    if spec.task == "classify" and not bare:
        raise UserError(f"a classifier finds no boxes in {data}: give images in val/CLASS/")
    if settings.metric == "accuracy" or spec.task == "classify":
        return scorer_of(open_classification(data, settings.split), spec, settings)
    if bare and settings.split and (data.is_dir() or has_videos(data)):
        raise UserError(f"{data} has no splits: leave --split out")
    if is_video(data):
        scorer = VideoScorer(open_videos(data), spec, settings.selection, settings.limit)
        if data.is_dir() and (beside := image_paths(data)):
            what = f"{len(beside)} photographs beside the videos in {data}"
            scorer.notes.append(f"{what} are not scored: give them in a folder of their own")
        return scorer
    if bare and data.is_dir() and any(image_paths(data)):
        photographs = [Sample.of(p.name, p, (0, 0), [], []) for p in image_paths(data)]
        note = f"{data} has no labels: boxes are compared with the ANN's"
        return scorer_of(DetectionSet(data.name, spec.names, photographs, [note]), spec, settings)
    dataset = open_detection(data, settings.split, images=settings.images, year=settings.year)
    if not has_objects(dataset):
        raise UserError(
            f"no object is marked in {dataset.name}: give labels, or the folder of its photographs,"
            " whose boxes are compared with the ANN's"
        )
    return scorer_of(dataset, spec, settings)


def has_objects(dataset: DetectionSet) -> bool:
    """Whether an object is marked in any of its images."""
    return any(len(sample.labels) for sample in dataset.samples)


def scorer_of(dataset: DetectionSet | LabelledSet, spec: Spec, settings: Settings) -> Scorer:
    """The scorer of a dataset that is open; `limit` draws some of its images."""
    marked = isinstance(dataset, DetectionSet) and has_objects(dataset)
    if settings.limit is not None and settings.limit < len(dataset):
        note = f"{settings.limit} of {len(dataset)} images, by --limit; only these are scored"
        dataset = dataset.subset(settings.limit, settings.seed)
        dataset = replace(dataset, notes=[*dataset.notes, note])
    if isinstance(dataset, LabelledSet):
        return ClassScorer(dataset, spec)
    if not marked:
        return AgreementScorer(dataset, spec, settings.selection)
    if not has_objects(dataset):
        raise UserError("no object is marked in the images that --limit draws: give more")
    metric = dataset.metric if settings.metric == "auto" else settings.metric
    kind = VocScorer if metric == "voc" else CocoScorer
    return kind(dataset, spec, settings.selection)


def evaluate(
    networks: Mapping[str, Converted],
    scorer: Scorer,
    settings: Settings = Settings(),
    statistics: Statistics | None = None,
    *,
    folder: Path | None = None,
    device: str | torch.device = "cpu",
    progress: Progress = silent,
) -> tuple[table.Table, PredictionFiles]:
    """Run conversions of one network, one after the other, and score them at every timestep.

    Args:
        networks: By method; all converted before the first run, so that a missing calibration is
            found at once.
        scorer: Scorer of the images.
        settings: Timesteps, batch size and bootstrap.
        statistics: Activation statistics; with them there is a row of the 8-bit ANN, and of
            what it would do in fewer frames of a video.
        folder: Keeps the records, and has those of an interrupted call; None keeps nothing.
        device: Where it is computed.
        progress: Called with (what, done, total).

    Returns:
        The table, and the files of the predictions.
    """
    rows: list[table.Row] = []
    methods: dict[str, dict[str, Any]] = {}
    files: PredictionFiles = {}
    for name, network in networks.items():
        model, eight_bits = CostsByShape(network), EightBits(network)
        for title, variant in variants(name, network, scorer).items():
            quantised: Forward | None = None
            if statistics is not None:
                ann = quantised_ann(network.graph, statistics)
                quantised = eight_bits.beside(ann) if scorer.video else ann
                # The ANN is the same for all methods.
                statistics = None
            where = folder, usable_device(device), partial(progress, title)
            seen = observe_all(title, variant, scorer, settings, quantised, *where)
            # Potentials are as wide as the widest sum of all images needs.
            width = max(one.potential_bytes for one in chain(*seen))
            seen = [[replace(one, potential_bytes=width) for one in batch] for batch in seen]
            files |= prediction_files(table.place(Path(), title, len(networks)), scorer, seen)
            known = {row.data for row in rows}
            for part, own in scorer.parts:
                if own.name not in known:
                    rows += table.ann_rows(seen[part], own, model, settings)
                    if quantised is not None and isinstance(own, VideoScorer):
                        every = rows.pop()
                        seconds = eight_bits.seconds
                        rows += alternative_rows(seen[part], own, every, settings, seconds)
                rows += table.step_rows(title, seen[part], own, model, settings)
                if quantised is not None and own.video and variant.recipe.keeps_frames:
                    rows.append(without_spikes(rows[-1], seen[part], model))
            methods[title] = {
                "method": network.recipe.label,
                "recipe": json.loads(network.recipe.to_json()),
                "potential_bits": 8 * width,
                "neurobench": neurobench(network, table.costed(seen, scorer), model),
            }
    data = [own.name for _, own in scorer.parts]
    rows.sort(key=lambda row: data.index(row.data))
    first = next(iter(networks.values()))
    facts = {
        "dataset": scorer.name,
        "images": len(scorer),
        "seed": settings.seed,
        "notes": scorer.notes,
        "imgsz": [first.spec.height, first.spec.width],
        "own_shape": settings.own_frames if scorer.video else settings.own_photographs,
        "weights": first.provenance.get("weights"),
        "weights_sha256": first.provenance.get("weights_sha256"),
        "command": command_line(),
        "date": date.today().isoformat(),
        "versions": versions(),
    }
    return table.Table(table.with_intervals(rows), scorer.main, facts, methods), files


def variants(name: str, network: Converted, scorer: Scorer) -> dict[str, Converted]:
    """What a method is in the table: on videos with the state kept, and anew in every frame."""
    if not scorer.video:
        return {name: network}
    if not network.recipe.keeps_frames:
        return {f"{name}, reset": network}
    anew = network.recipe.with_settings({"encoding.frames": "reset"})
    return {name: network, f"{name}, reset": replace(network, recipe=anew)}


def observe_all(
    title: str,
    network: Converted,
    scorer: Scorer,
    settings: Settings,
    quantised: Forward | None,
    folder: Path | None,
    device: torch.device,
    progress: Callable[[int, int], Any],
) -> Batches:
    """The records of each batch of images. For the arguments see `evaluate`; title: of the
    method.
    """
    spec = network.spec
    steps = settings.frame_steps if scorer.video else settings.steps
    own = settings.own_frames if scorer.video else settings.own_photographs
    graph = network.graph.to(device)

    def made(spec: Spec) -> Network:
        return replace(network, spec=spec).network(device)

    shapes = Shapes(graph, spec, made, own)
    observer = Observer(shapes, graph, spec, scorer.selection or Selection(), quantised)
    size = 4 if spec.height * spec.width <= SMALL else 1
    if spec.task == "classify":
        size = spec.images_at_once
    size = settings.batch or size

    def observe(batch: range) -> Iterator[Observation]:
        inputs, T = scorer.inputs(batch), steps[-1]
        if scorer.video:
            lossless = settings.lossless and network.recipe.keeps_frames
            seen = observer.follow(inputs, T, steps, lossless=lossless, want=("boxes", "ann"))
        else:
            seen = observer.observe(inputs, T, steps, want=("boxes", "ann"), batch=len(batch))
        return (one.record() for one in seen)

    call: dict[str, Any] = {}
    path = None
    if folder:
        path = folder / f"records-{title.replace(', ', '-')}.jsonl"
        # What decides the outputs: a run may be resumed only with an equal one.
        call = {
            "weights_sha256": network.provenance.get("weights_sha256", ""),
            "network_sha256": network.sha256(),
            "recipe": json.loads(network.recipe.to_json()),
            "imgsz": [network.spec.height, network.spec.width],
            "own_shape": own,
            "torch": torch.__version__,
            "spiking_yolo": __version__,
            "device": device.type,
            "data": scorer.facts(),
            "lossless": settings.lossless,
            "steps": steps,
            "batch": size,
            "baseline": quantised is not None,
        }
    read = Observation.from_json
    return run_logged(scorer.batches(size), observe, read, call, path, progress)


def prediction_files(folder: Path, scorer: Scorer, seen: Batches) -> PredictionFiles:
    """What makes predictions_ann.json and predictions_T.json per step (boxes in COCO's results
    format), and instances.json, what they are scored by, unless that is COCO's own file.
    """
    files: PredictionFiles = {}
    if isinstance(scorer, CocoScorer) and not scorer.dataset.has_ids:
        files[folder / "instances.json"] = lambda: scorer.truth
    for column in ("ann", *seen[0][0].steps):
        rows = partial(scorer.rows, table.predictions_of(seen, column))
        files[folder / f"predictions_{column}.json"] = rows
    return files


def save_predictions(folder: Path, files: PredictionFiles) -> None:
    """Write the files that have content, which videos have not, into the folder of a run."""
    for path, content in files.items():
        if rows := content():
            write_json(folder / path, rows)
