"""What the evaluation tools do once the data is read: compute, score, print and save."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spiking_yolo import cli
from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.pipeline import load_statistics
from spiking_yolo.datasets.coco import CocoSet
from spiking_yolo.datasets.coco_json import as_coco
from spiking_yolo.datasets.detection import DetectionSet
from spiking_yolo.datasets.labelled import LabelledSet
from spiking_yolo.errors import UserError
from spiking_yolo.metrics.energy import Costs, assumptions
from spiking_yolo.snn.options import SimulationOptions
from spiking_yolo.studies.evaluate import tables as text
from spiking_yolo.studies.evaluate.arguments import chosen_steps
from spiking_yolo.studies.evaluate.classification import ClassificationTask
from spiking_yolo.studies.evaluate.detection import DetectionTask
from spiking_yolo.studies.evaluate.engine import Engine, Record, Settings
from spiking_yolo.studies.evaluate.intervals import row_intervals
from spiking_yolo.studies.evaluate.plots import plot_all
from spiking_yolo.studies.evaluate.quantised import bits_of, quantised_anns
from spiking_yolo.studies.evaluate.ranks import Ranks, processes
from spiking_yolo.studies.evaluate.records import RESULTS, choose_directory, dataset_call, network_call, run_records
from spiking_yolo.studies.evaluate.report import results, write_csv, write_json, write_predictions
from spiking_yolo.studies.evaluate.rows import Method, Table, table
from spiking_yolo.studies.evaluate.scorers import CocoScorer, Scorer, VocScorer
from spiking_yolo.studies.evaluate.worth import break_even

NOTES = 5  # printed; all are in results.json


@dataclass(frozen=True)
class Finished:
    """A run whose records are complete."""

    args: argparse.Namespace
    converted: Converted
    records: list[Record]
    directory: Path
    data: dict[str, Any]


def check(args: argparse.Namespace) -> Costs:
    """Raise UserError for arguments out of range; returns the energy constants."""
    chosen_steps(args)
    for name in ("limit", "batch"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise UserError(f"--{name} must be at least 1, not {getattr(args, name)}")
    for name in ("bootstrap", "early_exit", "mac_energy", "ac_energy", "exp_energy", "shift_energy"):
        if getattr(args, name) < 0:
            raise UserError(f"--{name.replace('_', '-')} must not be negative, not {getattr(args, name)}")
    if args.seed is not None and args.limit is None:
        raise UserError("--seed chooses the images of --limit: give --limit too, or leave --seed out")
    return Costs(args.mac_energy, args.ac_energy, args.exp_energy, args.shift_energy)


def evaluate_boxes(args: argparse.Namespace, dataset: DetectionSet, voc: bool) -> None:
    """eval_coco and eval_voc: everything behind the reading of the dataset."""
    costs = check(args)
    cli.check_thresholds(args)
    with processes(args.device) as ranks:
        say = print if ranks.first else lambda *_: None
        listed = len(dataset)
        if args.limit is not None:
            dataset = dataset.limit(args.limit) if args.seed is None else dataset.subset(args.limit, args.seed)
        for note in notes(dataset, listed):
            say(note)
        converted = cli.load_network(args)
        thresholds = {"conf": args.conf, "iou": args.iou, "max_det": args.max_det, "exit_conf": args.exit_conf}
        task = DetectionTask(converted.spec, dataset, **thresholds)
        for note in matched(task):
            say(note)
        simulation = cli.simulation(args)
        directory = run_folder(args, ranks)
        with resumable(directory):
            finished = compute(args, converted, task, thresholds, listed, ranks, directory, simulation)
    if finished:
        scorer = VocScorer(dataset) if voc else CocoScorer(dataset)
        if not isinstance(dataset, CocoSet):
            write_json(finished.directory / "instances.json", as_coco(dataset))
        report(finished, scorer, costs)


def run_folder(args: argparse.Namespace, ranks: Ranks, several: bool = False) -> Path:
    """Where the run writes, the same in all processes. several: methods, each in a folder of its own inside."""
    folder = ""
    if ranks.first:
        folder = str(choose_directory(args.project, args.name, args.resume, cli.run_directory, several))
    return Path(ranks.broadcast(folder))


@contextmanager
def resumable(directory: Path) -> Iterator[None]:
    """Say after Ctrl-C how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"\nfinished images are kept: go on with --resume {directory}", file=sys.stderr)
        raise


def compute(
    args: argparse.Namespace,
    converted: Converted,
    task: DetectionTask | ClassificationTask,
    thresholds: dict[str, Any],
    listed: int,
    ranks: Ranks,
    directory: Path,
    simulation: SimulationOptions,
) -> Finished | None:
    """The records of all images; None in processes other than the first.

    thresholds: what else decides the records. listed: images of the dataset, of which the task may have a part.
    """
    steps, quantised = chosen_steps(args), None
    bits: tuple[int, ...] = ()
    if args.baseline:
        ann = cli.load_ann(args)
        gamma = converted.recipe.neuron.gamma
        quantised = quantised_anns(
            ann.graph, load_statistics(ann, args.statistics), {8, *(bits_of(gamma, t) for t in steps)}
        )
        bits = tuple(quantised)
    settings = Settings(steps[-1], steps, args.batch, bits, args.early_exit)
    engine = Engine(converted, task, settings, ranks.device, quantised, simulation)
    data = dataset_call(task.dataset)
    records = run_records(engine, network_call(converted, engine, data, **thresholds), directory, ranks)
    described = {"dataset": data["name"], "images": data["images"], "of_images": listed, "notes": task.dataset.notes}
    described |= asdict(simulation)
    return Finished(args, converted, records, directory, described) if ranks.first else None


def report(run: Finished, scorer: Scorer, costs: Costs, say: Callable[..., Any] = print) -> Table:
    """Print the tables with `say` and write all files; results.json last, which marks the run as finished."""
    args, converted, main = run.args, run.converted, scorer.main
    rows = table(run.records, scorer, Method.of(converted), costs)
    intervals = row_intervals(rows, args.bootstrap, args.seed or 0) if args.bootstrap else None
    worth = break_even(rows, costs) if args.baseline else []
    method = converted.recipe.name + text.in_precision(run.data["precision"])
    say(f"\n{run.data['dataset']}, {run.data['images']} images, method {method}; figures in percent")
    say(text.main_table(rows, main))
    if rows.exit:
        kept, saved = text.percent(rows.exit[f"{main[0]}_kept"]), text.percent(rows.exit["operations_saved"])
        last = rows.steps[-1]["T"]
        say(f"early exit keeps {kept} % of {main[0]} at T={last} and saves {saved} % of the operations")
    for line in assumptions(costs):
        say(f"  {line}")
    if worth:
        say("\nthe spiking network uses less energy than")
    for one in worth:
        say(f"  {one.text()}")
    if intervals:
        say(f"\n{text.interval_table(intervals, main[0])}")
    if args.per_class:
        say(f"\n{text.class_table(rows)}")
    write_predictions(run.directory, run.records, scorer.rows)
    write_csv(run.directory / "results.csv", rows)
    plot_all(rows, scorer, converted.recipe.name, run.directory, intervals)
    content = results(converted, run.data, rows, run.records, costs, intervals, worth)
    write_json(run.directory / RESULTS, content, indent=1)
    say(f"\n{content['seconds_per_image']:.3g} s per image; results saved to {run.directory}")
    return rows


def notes(dataset: DetectionSet | LabelledSet, listed: int) -> list[str]:
    """What to know about the data before looking at figures."""
    found = [f"note: {note}" for note in dataset.notes[:NOTES]]
    if len(dataset.notes) > NOTES:
        found.append(f"note: {len(dataset.notes) - NOTES} more notes are in results.json")
    if len(dataset) < listed:
        found.append(f"note: {len(dataset)} of {listed} images, by --limit; only these are scored")
    return found


def matched(task: DetectionTask) -> list[str]:
    """How the network's classes become those of the dataset, where they differ."""
    ours, theirs = len(task.spec.names), len(task.dataset.classes)
    known = sum(index >= 0 for index in task.classes)
    if known == ours == theirs:
        return []
    return [f"note: {known} of the network's {ours} classes are matched with the dataset's {theirs} by name"]
