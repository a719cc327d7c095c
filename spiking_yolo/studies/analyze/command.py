"""The work behind tools/analyze.py."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch
from tqdm import tqdm

from spiking_yolo import cli
from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.pipeline import convert_ann
from spiking_yolo.convert.registry import get_recipe
from spiking_yolo.datasets.open import open_detection
from spiking_yolo.errors import UserError
from spiking_yolo.io.sources import expand, is_stream
from spiking_yolo.studies.analyze.cost import Cost, cost
from spiking_yolo.studies.analyze.diagnosis import diagnose
from spiking_yolo.studies.analyze.report import NOTE, cost_table, save, table, wrapped
from spiking_yolo.studies.analyze.run import analyze, work


def analyze_all(args: argparse.Namespace) -> None:
    """Analyse, print and save. Raises UserError before any long work where the call is wrong."""
    if args.T < 1:
        raise UserError(f"--T must be at least 1, not {args.T}")
    if not 0 < args.limit < float("inf"):
        raise UserError(f"--limit must be above 0, not {args.limit}")
    device = usable_device(args.device)
    found = photographs(args.data, args.split)
    paths = found[:: max(1, len(found) // args.limit_images)][: args.limit_images]
    converted = cli.load_network(args)
    others = methods(args)
    folder = cli.run_directory(args.project, args.name)
    total = len(paths) * (work(converted, args.T) + len(others) * args.T)
    with tqdm(total=total, desc="analyze", unit="step", delay=1.0, disable=None) as bar:
        analysis = analyze(converted, paths, args.T, args.layer, device, bar.update)
        costs: dict[str, Cost] = {}
        for name, other in others.items():
            bar.set_postfix_str(name)
            costs[name] = cost(other, paths, args.T, device, bar.update)
    words = diagnose(analysis, args.limit)
    print(f"{analysis.method}, T = {args.T}, {len(paths)} of {len(found)} images\n")
    print(f"{table(analysis)}\n\n{NOTE}\n")
    if costs:
        print(f"{cost_table(costs)}\n")
    print(wrapped(words))
    save(analysis, costs, words, args.limit, folder)
    print(f"results saved to {folder}")


def methods(args: argparse.Namespace) -> Mapping[str, Converted]:
    """The methods of --methods, converted: a missing calibration is found at once."""
    if not args.methods:
        return {}
    recipes = [get_recipe(name) for name in args.methods.split(",")]
    ann = cli.load_ann(args)
    return {recipe.name: convert_ann(ann, recipe, args.statistics) for recipe in recipes}


def photographs(data: list[str], split: str | None) -> list[str]:
    """Image files: of a COCO folder or VOCdevkit those of a split, else what the sources name."""
    folder = Path(data[0])
    dataset = (folder / "annotations").is_dir() or any(folder.glob("VOC[0-9]*")) or folder.suffix in (".json", ".yaml")
    if len(data) == 1 and dataset:
        return [str(sample.path) for sample in open_detection(folder, split).samples]
    if split is not None:
        raise UserError("--split belongs to a COCO folder, a VOCdevkit or a data.yaml: leave it out")
    images = [path for path in expand(data) if not is_stream(path)]
    if not images:
        raise UserError("there is no image to analyse: give photographs or a folder of them, not videos")
    return images


def usable_device(device: str) -> str:
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(f"cannot use the device {device} ({reason}): leave it out, or give cpu") from error
    return device
