"""The time of a later frame: what it is spent on, and how it grows with what changes."""

import time
from collections import Counter
from collections.abc import Sequence
from statistics import median

import numpy as np
from torch import Tensor

from spiking_yolo.apps.benchmark import Rows
from spiking_yolo.convert.load import Converted
from spiking_yolo.errors import UserError
from spiking_yolo.integer.network import IntegerNetwork
from spiking_yolo.integer.plan import Convolution
from spiking_yolo.integer.program import State, Timing
from spiking_yolo.integer.video import Stream

# The events of a layer take as long as computing it everywhere at the crossing.
GROWTH = ["groups", "changed_%", "ns_per_group", "ms_at_10_%", "ms_everywhere", "crossing_%"]


def layers(converted: Converted, frames: Sequence[Tensor], warm: int) -> Rows:
    """Kind of step -> its milliseconds in a later frame; kernel of convolutions by events, with
    "/ stride" -> medians of what GROWTH names.

    Call it with one thread: a program knows the time of its first thread only.

    Args:
        converted: The network.
        frames: Of a video, uint8 [1, 3, H, W].
        warm: First frames that do not count.

    Raises:
        UserError: The network does not run in C.
    """
    network = converted.network(frames[0].device)
    if not (isinstance(network, IntegerNetwork) and network.fast and network.recipe.keeps_frames):
        raise UserError("--parts layers is about later frames in C: choose signed-digits, on a CPU")
    stream, spent = Stream(network), list[Counter[str]]()
    seen: dict[str, list[Timing]] = {}
    for k, frame in enumerate(frames):
        start = time.thread_time_ns()
        stream(frame)
        total = time.thread_time_ns() - start
        state = stream._state
        if k < warm or not isinstance(state, State):
            continue
        spent.append(Counter())
        for one in state.timings():
            spent[-1][one.kind] += one.nanoseconds
            seen.setdefault(one.name, []).append(one)
        # The filter of noise, what the reference computes, heads.
        spent[-1]["outside of C"] = total - spent[-1].total()
    result: Rows = {kind: {"ms": median(one[kind] for one in spent) / 1e6} for kind in spent[0]}
    kernels: dict[str, list[list[float]]] = {}
    for step in network.plan.steps:
        timings = seen.get(step.node.name, [])
        if isinstance(step, Convolution) and timings and timings[-1].rate and timings[-1].dense:
            size, stride = step.whole.levels.shape[2:], step.node.attrs["stride"][0]
            name = "x".join(map(str, size)) + (f" / {stride}" if stride > 1 else "")
            kernels.setdefault(name, []).append(growth(timings))
    for name, rows in sorted(kernels.items()):
        of_kernel = dict(zip(GROWTH, np.median(rows, 0).tolist(), strict=True))
        result[name] = {"convolutions": len(rows), **of_kernel}
    return result


def growth(timings: Sequence[Timing]) -> list[float]:
    """What GROWTH names, of a layer in some frames."""
    last = timings[-1]
    changed = median(one.entries for one in timings) / last.groups
    each, everywhere = last.groups * last.rate / 1e6, last.dense / 1e6
    return [last.groups, 100 * changed, last.rate, each / 10, everywhere, 100 * everywhere / each]
