"""The command line that the evaluation tools share. Imports nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path

from spiking_yolo import cli
from spiking_yolo.convert.registry import DEFAULT

LONGEST = 64  # timesteps where nothing is said


def add_evaluation(p: argparse.ArgumentParser) -> None:
    """What every evaluation takes, of boxes or of classes, besides the choice of images, batches and methods."""
    add_time(p)
    g = p.add_argument_group("more rows and columns")
    g.add_argument("--per-class", action="store_true", help="print the accuracy of every class")
    g.add_argument("--bootstrap", type=int, default=0, metavar="N", help="95 %% intervals by N resamplings, e.g. 1000")
    g.add_argument(
        "--early-exit",
        type=int,
        nargs="?",
        const=3,
        default=0,
        metavar="K",
        help="a row in which an image stops when its predictions have not changed for K steps (default 3)",
    )
    g.add_argument("--baseline", action="store_true", help="rows of the quantised ANN, and is it worth it?")
    g.add_argument("--mac-energy", type=float, default=4.6, metavar="PJ", help="of a multiply-accumulate (%(default)s)")
    g.add_argument("--ac-energy", type=float, default=0.9, metavar="PJ", help="of an accumulate (%(default)s)")
    g.add_argument("--exp-energy", type=float, default=46.0, metavar="PJ", help="of an exp or a log (%(default)s)")
    g.add_argument("--shift-energy", type=float, default=0.03, metavar="PJ", help="of a factor of 2^k (%(default)s)")
    g = p.add_argument_group("output")
    g.add_argument("--project", type=Path, default=Path("runs/eval"))
    g.add_argument("--name", default="exp", help="folder inside the project; exp2, exp3, ... when it exists")
    g.add_argument(
        "--resume",
        nargs="?",
        const="latest",
        metavar="DIR",
        help="go on with an interrupted run: the last one of this name, or the given folder",
    )


def add_time(p: argparse.ArgumentParser) -> None:
    """Which timesteps are read; `chosen_steps` reads them."""
    p.add_argument("--T", type=int, help=f"timesteps (default: the last of --steps, or {LONGEST})")
    p.add_argument("--steps", help="timesteps that are reported, e.g. 4,8,16 (default: powers of two from 4)")


def add_boxes(p: argparse.ArgumentParser) -> None:
    """What evaluations of boxes take besides."""
    p.add_argument("--limit", type=int, metavar="N", help="evaluate N images only, the first ones without --seed")
    p.add_argument("--seed", type=int, help="choose the N images of --limit by this seed")
    p.add_argument("--batch", type=int, default=1, help="images simulated together (default %(default)s)")
    cli.add_network(p)
    cli.add_thresholds(p, conf=0.001, max_det=100)
    p.add_argument(
        "--exit-conf", type=float, default=0.25, help="boxes above this decide about early exit (default %(default)s)"
    )


def add_classes(p: argparse.ArgumentParser) -> None:
    """What evaluations of classes take besides."""
    p.add_argument("--limit", type=int, metavar="N", help="evaluate N images only, drawn by --seed")
    p.add_argument("--seed", type=int, help="chooses the N images of --limit (default 0)")
    p.add_argument("--batch", type=int, help="images simulated together (default: 25,000 pixels of them)")
    p.add_argument("--methods", help=f"names or recipe.json files with commas, or all (default {DEFAULT})")
    cli.add_network(p, choose_method=False)
    p.add_argument(
        "--exit-conf", type=float, default=0.5, help="images stop early above this confidence (default %(default)s)"
    )


def chosen_steps(args: argparse.Namespace) -> tuple[int, ...]:
    """--steps, or powers of two from 4 below T; T itself always. T: as given, or the last of --steps, or LONGEST."""
    steps = cli.parse_steps(args.steps, args.T)
    T = args.T or (steps[-1] if steps else LONGEST)
    return tuple(sorted({*(steps or [2**k for k in range(2, 31) if 2**k < T]), T}))
