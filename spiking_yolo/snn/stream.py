"""A video through one spiking network that keeps its state: only changes travel."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.snn.network import SpikingNetwork
from spiking_yolo.snn.readout import Run, Snapshot

# Frames after which the state starts anew. Until then rounding in float32 adds up to at most 6e-5
# of the largest sums.
REFRESH = 1000
# Steps of the factor on the hysteresis.
STEPS = 4
# Two frames that have nothing in common differ by twice the variance of one.
UNLIKE = 1.0


@dataclass(frozen=True)
class FrameRun:
    """One frame.

    Attributes:
        run: The run, with the costs of this frame alone.
        fresh: Whether the state started anew.
        cut: Whether the scene is another one.
    """

    run: Run
    fresh: bool
    cut: bool


class Stream:
    """A video, frame by frame: stream(x) -> FrameRun.

    The first frame costs what a photograph costs. The state starts anew for a frame of another
    size, after `refresh` frames (0: never), and at a cut (see `unlike`), because cancelling the old
    scene would cost as much again. A frame that resembles the one before but costs more than a
    first frame is reported as a cut too, in hindsight. Without recipe.keeps_frames every frame is a
    first one. The network belongs to this stream alone.

    With neuron.busy the hysteresis follows what the frame before took: where little changes,
    smaller changes are sent too, as a video codec spends its bits.
    """

    def __init__(self, network: SpikingNetwork, T: int = 1, refresh: int = REFRESH):
        self.network, self.T, self.refresh = network, T, refresh
        self.reset()

    def reset(self) -> None:
        """The next frame is the first of a video."""
        # The cumulative snapshot after the last frame; None: nothing has been counted.
        self._last: Snapshot | None = None
        # Operations of the last fresh frame, and frames since then.
        self._first = 0.0
        self._age = 0
        # Factor on the hysteresis in the next frame.
        self._hysteresis = 1.0

    @torch.no_grad()
    def __call__(self, x: Tensor, **options: Any) -> FrameRun:
        """Simulate the next frame.

        Args:
            x: The frame, [N, C, H, W]; N videos at once share cuts and hysteresis.
            **options: Of SpikingNetwork.run, such as maps.
        """
        cut = False
        due = self._last is None or not self.network.recipe.keeps_frames
        fresh = due or self._age == self.refresh > 0
        if not fresh:
            image = self.network.image
            fresh = cut = x.shape != image.shape or unlike(x, image)

        run = self.network.run(x, self.T, keep=not fresh, hysteresis=self._hysteresis, **options)
        before, self._last = self._last, run.snapshots[self.T]
        if fresh or before is None:
            self._age = 1
            self._first = self._operations(run)
            self._hysteresis = 1.0
            return FrameRun(run, fresh, cut)
        self._age += 1
        snapshots = {t: snapshot.since(before) for t, snapshot in run.snapshots.items()}
        run = replace(run, snapshots=snapshots)
        spent = self._operations(run)
        self._hysteresis = 1.0
        busy = self.network.recipe.neuron.busy * self._first
        if busy:
            self._hysteresis = min(1.0, round(STEPS * spent / busy) / STEPS)
        return FrameRun(run, fresh, cut=spent > self._first)

    def _operations(self, run: Run) -> float:
        """What the frame took, in the counting of the method."""
        spent = run.snapshots[self.T].operations
        return getattr(spent, self.network.recipe.counting).sum().item()


def unlike(x: Tensor, sent: Tensor) -> bool:
    """Whether a frame, [N, C, H, W], shows another scene than the frame transmitted so far.

    It does if the two differ by more than the frame differs from its own mean colour.
    """
    # A sample of the pixels is enough.
    k = max(min(x.shape[2:]) // 100, 1)
    x, sent = x[:, :, ::k, ::k], sent[:, :, ::k, ::k]
    own = (x - x.mean((2, 3), keepdim=True)).square_().sum((1, 2, 3))
    return bool(((x - sent).square_().sum((1, 2, 3)) > UNLIKE * own).any())
