"""What travels: how an image becomes spikes, and what a spike is worth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from spiking_yolo.recipe import Encoding, allow_choices
from spiking_yolo.snn.backend.active import Active
from spiking_yolo.snn.backend.layout import rows
from spiking_yolo.snn.random import uniform


@dataclass(frozen=True)
class Coding:
    """How activations travel: all that the simulator knows of encoding.coding.

    once: image and biases enter in the first step, layers send the changes of their activation and fall silent when it
    has settled, and the sum of what was sent is the output. Otherwise image and biases enter in every step, and the
    mean over time is the output.
    """

    once: bool

    def activations(self, t: int) -> int:
        """How many activations the sum of what was sent in t steps stands for."""
        return 1 if self.once else t


CODINGS = {"rate": Coding(once=False), "differential": Coding(once=True)}
allow_choices("encoding.coding", CODINGS)


def spike_weight(e: Encoding, t: int) -> float:
    """What a spike of step t is worth, in thetas: coarse at first, and finer each time t doubles after `refine`."""
    times = ((t - 1) // e.refine).bit_length() if e.refine else 0
    return 2.0 ** max(e.coarse - t + 1, 0) * e.refine_by ** min(times, e.refinements)


def next_refinement(e: Encoding, t: int) -> int | None:
    """The first step after t in which a spike is worth less than in step t; None if its value stays for good."""
    times = [e.refine * 2**k + 1 for k in range(e.refinements)] if e.refine else []
    if t <= e.coarse:
        times.append(t + 1)
    now = spike_weight(e, t)
    return min((s for s in times if s > t and spike_weight(e, s) < now), default=None)


def change(x: Tensor, sent: Tensor, tau: float, every: bool = False) -> tuple[Active, Tensor]:
    """The next frame, [N, C, H, W], after what was sent of those before.

    A pixel counts that differs by more than tau in a channel. Returns its difference, and what has now been sent: x at
    these pixels, elsewhere what it was. every: give zeros for the other pixels, so that none need be counted.
    """
    differs = (x - sent).abs_() > tau if tau else x != sent
    changed = reduce(torch.logical_or, differs.unbind(1))  # half the time of any(1)
    now = torch.where(changed[:, None], x, sent) if tau else x.clone()
    if every:
        whole = rows(now - sent)
        return Active(whole, torch.arange(len(whole), device=x.device), x.shape), now
    where = changed.flatten().nonzero().flatten()
    area = x.shape[2:].numel()
    image, pixel = where.div(area, rounding_mode="floor"), where % area
    new, old = (frames.flatten(2)[image, :, pixel] for frames in (x, sent))
    return Active(new - old, where, x.shape), now


def analogue(x: Tensor, seed: int, keys: Sequence[int], name: str, t: int) -> tuple[Tensor, None]:
    """The image itself, which is no event."""
    return x, None


def poisson(x: Tensor, seed: int, keys: Sequence[int], name: str, t: int) -> tuple[Tensor, Tensor]:
    """Spikes of each image's largest magnitude (at least 1) with a chance proportional to each intensity.

    x: [N, C, H, W]; keys: of the images. Returns the values sent and where a spike was, 0 or 1.
    """
    top = x.abs().amax((1, 2, 3), keepdim=True).clamp(min=1)
    fired = (uniform(x, seed, keys, name, t) * top < x.abs()).to(x)
    return x.sign() * fired * top, fired


# encoding.input -> what the image sends in step t, and where a spike was (0 or 1), None if it sends no spikes
INPUTS: dict[str, Callable[..., tuple[Tensor, Tensor | None]]] = {"analogue": analogue, "poisson": poisson}
allow_choices("encoding.input", INPUTS)
