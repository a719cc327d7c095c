"""The command line that the evaluation tools share. Imports nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import cli


def add_evaluation(p: argparse.ArgumentParser) -> None:
    """What every evaluation takes, of boxes or of classes."""
    p.add_argument("--T", type=int, default=64, help="timesteps (default %(default)s)")
    p.add_argument("--steps", help="timesteps that become rows, e.g. 4,8,16 (default: powers of two from 4)")
    p.add_argument("--limit", type=int, metavar="N", help="evaluate N images only, the first ones without --seed")
    p.add_argument("--seed", type=int, help="choose the N images of --limit by this seed")
    p.add_argument("--batch", type=int, default=1, help="images simulated together (default %(default)s)")
    cli.add_network(p)
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


def add_boxes(p: argparse.ArgumentParser) -> None:
    """What evaluations of boxes take besides."""
    cli.add_thresholds(p, conf=0.001, max_det=100)
    p.add_argument(
        "--exit-conf", type=float, default=0.25, help="boxes above this decide about early exit (default %(default)s)"
    )


def chosen_steps(args: argparse.Namespace) -> tuple[int, ...]:
    """--steps, or powers of two from 4 below T; T itself always."""
    steps = cli.parse_steps(args.steps, args.T)
    return tuple(sorted({*(steps or [2**k for k in range(2, 31) if 2**k < args.T]), args.T}))
