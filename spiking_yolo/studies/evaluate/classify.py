"""What eval_classify does: one method as the detection tools do it, or several beside each other."""

from __future__ import annotations

import argparse

from spiking_yolo import cli
from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.pipeline import convert_ann
from spiking_yolo.datasets.open import UNPACKED, open_classification
from spiking_yolo.studies.evaluate.classification import ClassificationTask
from spiking_yolo.studies.evaluate.command import check, compute, notes, report, resumable, run_folder
from spiking_yolo.studies.evaluate.comparison import Comparison, chosen_recipes
from spiking_yolo.studies.evaluate.ranks import processes
from spiking_yolo.studies.evaluate.rows import Table
from spiking_yolo.studies.evaluate.scorers import ClassificationScorer


def evaluate_classes(args: argparse.Namespace) -> None:
    """Everything behind the reading of the arguments of `add_evaluation` and `add_classes`."""
    costs = check(args)
    dataset = open_classification(args.data, args.split, args.project.parent / UNPACKED)
    listed = len(dataset)
    if args.limit is not None:
        dataset = dataset.subset(args.limit, args.seed or 0)
    with processes(args.device) as ranks:
        networks = _networks(args)
        spec = next(iter(networks.values())).spec
        task = ClassificationTask(spec, dataset, args.exit_conf)
        args.batch = args.batch or spec.images_at_once
        for note in notes(dataset, listed) if ranks.first else []:
            print(note)
        several, simulation = len(networks) > 1, cli.simulation(args)
        directory = run_folder(args, ranks, several)
        scorer = ClassificationScorer(dataset)
        tables: dict[str, Table] = {}
        for number, (name, network) in enumerate(networks.items(), 1):
            if several and ranks.first:
                print(f"{name} ({number} of {len(networks)})")
            folder = directory / name if several else directory
            with resumable(directory):
                exits = {"exit_conf": args.exit_conf}
                finished = compute(args, network, task, exits, listed, ranks, folder, simulation)
            if finished:
                tables[name] = report(finished, scorer, costs, _nothing if several else print)
    if several and tables:
        recipes = {name: network.recipe for name, network in networks.items()}
        comparison = Comparison(dataset, recipes, tables, scorer.main[0], simulation)
        print(f"\n{comparison.text()}")
        comparison.save(directory)
        print(f"results saved to {directory}")


def _nothing(*_: object) -> None:
    """Of several methods only the comparison is printed."""


def _networks(args: argparse.Namespace) -> dict[str, Converted]:
    """By method. All are converted before the first run, so that a missing calibration is found at once."""
    if args.methods is None:  # the default method, or a file that is converted already
        args.method = None
        network = cli.load_network(args)
        return {network.recipe.name: network}
    recipes = chosen_recipes(args.methods, cli.parse_settings(args.set))
    ann = cli.load_ann(args)
    return {name: convert_ann(ann, recipe, args.statistics) for name, recipe in recipes.items()}
