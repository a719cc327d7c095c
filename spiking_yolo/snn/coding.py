"""Randomness that depends on (seed, image, layer, step) and on nothing else, such as the batch."""

import hashlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.recipe import Encoding, Recipe, allow_choices
from spiking_yolo.snn.counting import Counts
from spiking_yolo.snn.layout import Active, beside, channels_last, dense, immediate, rows


def image_keys(x: Tensor) -> list[int]:
    """A fingerprint per image of [N, ...]."""
    return [zlib.crc32(image.contiguous().cpu().numpy().tobytes()) for image in x]


def uniform(like: Tensor, seed: int, keys: Sequence[int], layer: str, t: int) -> Tensor:
    """Uniform numbers in [0, 1), multiples of 2^-16, in the shape of `like`, [N, C, ...], one
    stream per image.

    A stream runs through the image with its channels last, the order in which a spiking network
    keeps its tensors.
    """
    size = like[0].numel()
    numbers = np.empty((len(keys), size), np.float32)
    for row, key in zip(numbers, keys, strict=True):
        digest = hashlib.blake2b(f"{seed}/{key}/{layer}/{t}".encode(), digest_size=7).digest()
        drawn = np.random.SFC64(int.from_bytes(digest, "little")).random_raw((size + 3) // 4)
        np.multiply(drawn.view("<u2")[:size], np.float32(2.0**-16), out=row)
    found = torch.from_numpy(numbers).view(len(keys), *like.shape[2:], like.shape[1])
    return beside(found.movedim(-1, 1), like, like.dtype)


@dataclass(frozen=True)
class Coding:
    """How activations travel: all that the simulator knows of encoding.coding.

    once: image and biases enter in the first step, layers send the changes of their activation and
    fall silent when it has settled, and the sum of what was sent is the output. Otherwise image and
    biases enter in every step, and the mean over time is the output.
    """

    once: bool

    def activations(self, t: int) -> int:
        """How many activations the sum of what was sent in t steps stands for."""
        return 1 if self.once else t


CODINGS = {"rate": Coding(once=False), "differential": Coding(once=True)}
allow_choices("encoding.coding", CODINGS)


def spike_weight(e: Encoding, t: int) -> float:
    """What a spike of step t is worth, in thetas: coarse at first, and finer each time t doubles
    after `refine`.
    """
    times = ((t - 1) // e.refine).bit_length() if e.refine else 0
    return 2.0 ** max(e.coarse - t + 1, 0) * e.refine_by ** min(times, e.refinements)


def next_refinement(e: Encoding, t: int) -> int | None:
    """The first step after t in which a spike is worth less than in step t; None if its value stays
    for good.
    """
    times = [e.refine * 2**k + 1 for k in range(e.refinements)] if e.refine else []
    if t <= e.coarse:
        times.append(t + 1)
    now = spike_weight(e, t)
    return min((s for s in times if s > t and spike_weight(e, s) < now), default=None)


def pixel_change(x: Tensor, sent: Tensor, tau: float, every: bool = False) -> tuple[Active, Tensor]:
    """The next frame, [N, C, H, W], after what was sent of those before.

    A pixel counts that differs by more than tau in a channel. Returns its difference, and what has
    now been sent: x at these pixels, elsewhere what it was. every: give zeros for the other pixels,
    so that none need be counted.
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
    """Spikes of each image's largest magnitude (at least 1) with a chance proportional to each
    intensity.

    x: [N, C, H, W]; keys: of the images. Returns the values sent and where a spike was, 0 or 1.
    """
    top = x.abs().amax((1, 2, 3), keepdim=True).clamp(min=1)
    fired = (uniform(x, seed, keys, name, t) * top < x.abs()).to(x)
    return x.sign() * fired * top, fired


# encoding.input -> what the image sends in step t, and where a spike was (0 or 1), None if it sends
# no spikes
INPUTS: dict[str, Callable[..., tuple[Tensor, Tensor | None]]] = {
    "analogue": analogue,
    "poisson": poisson,
}
allow_choices("encoding.input", INPUTS)


class ImageInput:
    """A batch of images, [N, C, H, W], as it enters a network, and the next of the same scene after
    it.

    event_driven: of what has changed in a later image, keep the positions. image: what has been
    sent of the images so far, the last one but for pixels that hardly changed. shown: which of it
    was new in a later image, else None. keys: of the images, for everything that is random.
    """

    def __init__(self, recipe: Recipe, event_driven: bool):
        self._settings, self._event_driven = recipe.encoding, event_driven
        self._once = CODINGS[recipe.encoding.coding].once
        self._random = recipe.encoding.input != "analogue" or recipe.msat.confidence != "off"

    def start(self, x: Tensor) -> None:
        """Forget everything and present other images."""
        self.keys = image_keys(x) if self._random else []
        self.image: Tensor = x.clone() if self._once else channels_last(x)  # x may be written to
        self.shown: Active | None = None
        self._unsent: Tensor | Active | None = self.image
        self._fired: dict[str, Tensor] = {}

    def feed(self, x: Tensor) -> None:
        """Present the next images, of which what has changed is sent. Raises UserError where that
        cannot be.
        """
        if not self._once:
            raise UserError(
                "feeding another image needs encoding.coding=differential: start anew, or change"
                " the method"
            )
        if x.shape != self.image.shape:
            raise UserError(
                f"the next image must have the shape {tuple(self.image.shape)}, not"
                f" {tuple(x.shape)}"
            )
        few = immediate(x)
        change, self.image = pixel_change(x, self.image, self._settings.tau, every=not few)
        self.shown = change
        if self._unsent is not None:
            self._unsent = dense(self._unsent) + change.dense()
        elif len(change.where):
            self._unsent = change if few and self._event_driven else change.dense()

    def send(self, name: str, t: int) -> Tensor | Active | None:
        """What the node of this name sends in step t; None for nothing new."""
        if self._once:
            new, self._unsent = self._unsent, None
            return new
        sent, fired = INPUTS[self._settings.input](
            self.image, self._settings.seed, self.keys, name, t
        )
        if fired is not None:
            self._fired[name] = fired if t == 1 else self._fired[name].add_(fired)
        return sent

    def counts(self) -> dict[str, Counts]:
        """Spikes so far at each position, where it sends spikes."""
        return {name: Counts.alike(fired) for name, fired in self._fired.items()}
