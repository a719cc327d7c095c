"""Compute random networks in one to four threads beside programs that keep the cores busy; exit
status 1 unless every frame is that of one thread to the bit: `python -m tests.stress --seconds 20`.

A network that takes longer than a minute hangs: the process then prints where each thread is, and
ends with status 1 too.
"""

import argparse
import faulthandler
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))

from helpers.networks import engine
from helpers.random_networks import random_frames, random_network

from spiking_yolo.apps.benchmark.run import busy_cores
from spiking_yolo.errors import UserError
from spiking_yolo.integer.library import library

# Dead zones of the frames of a stream, of which those from LOSSLESS on are lossless.
DEAD_ZONES, LOSSLESS = (0.0, 0.35, 0.35, 0.0, 0.8, 0.8, 0.0, 0.0, 0.0, 0.0), 7


def computed(network: Any, frames: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """All that is computed of each frame, as a photograph and as a frame of a stream."""
    stream = network.start()
    for k, frame in enumerate(frames):
        image = network.plan.parameters.as_bytes(frame)
        options = {"dead_zone": DEAD_ZONES[k], "lossless": k >= LOSSLESS}
        for state, given in ((network.start(kept=False), {}), (stream, options)):
            one = state.step(image, maps=True, **given)
            found = [*one.outputs, *one.spent.values(), *one.maps.values(), *(one.shown or ())]
            yield [*found, *state.sent().values(), torch.tensor(one.widest)]


def compare(seed: int) -> tuple[int, int]:
    """How many frames of a network were computed in two to four threads, and how many differ."""
    converted = random_network(seed)
    network, frames = engine(converted), random_frames(converted, seed, len(DEAD_ZONES))
    # Threads share the work of any network.
    network.program.large = True
    torch.set_num_threads(1)
    expected, differ = list(computed(network, frames)), 0
    for number in (2, 3, 4):
        print(f"\rseed {seed}, {number} threads ", end="", file=sys.stderr, flush=True)
        torch.set_num_threads(number)
        for one, other in zip(computed(network, frames), expected, strict=True):
            if not all(map(torch.equal, one, other)):
                differ += 1
                print(f"--seed {seed} --count 1: {number} threads differ from one", flush=True)
    return 3 * len(expected), differ


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="for which to go on")
    parser.add_argument("--count", type=int, help="networks, however long they take")
    parser.add_argument("--seed", type=int, default=0, help="of the first; the n-th has seed + n")
    options = parser.parse_args()
    if library() is None:
        sys.exit("the kernels are not built: run python setup.py build_ext --inplace")
    networks, frames, differ, end = 0, 0, 0, time.monotonic() + options.seconds
    with busy_cores(2):
        for seed in range(options.seed, sys.maxsize):
            if time.monotonic() > end if options.count is None else networks == options.count:
                break
            faulthandler.dump_traceback_later(60, exit=True)
            try:
                one = compare(seed)
            except UserError as error:
                # A sum of maps that a pooling reads is no network of whole numbers.
                if "adds maps of several scales" not in str(error):
                    raise
                continue
            networks, frames, differ = networks + 1, frames + one[0], differ + one[1]
    print(f"\n{networks} networks, {frames} frames: 0 hang, {differ} differ from one thread")
    return int(differ > 0)


if __name__ == "__main__":
    sys.exit(main())
