"""A video through one spiking network: the state stays from frame to frame, and what has changed is
sent.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.snn.network import SpikingNetwork
from spiking_yolo.snn.readout import Run, Snapshot

# frames, in which rounding in float32 adds up to 6e-5 of the largest sums at most.
REFRESH = 1000
# Two frames that have nothing in common differ by twice the variance of one.
UNLIKE = 1.0


@dataclass(frozen=True)
class FrameRun:
    """run: of one frame, with the costs of this frame alone. fresh: the state started anew. cut:
    the scene was new.
    """

    run: Run
    fresh: bool
    cut: bool


class Stream:
    """One video after another frame: stream(x) -> FrameRun.

    The first frame costs what a photograph costs. The state starts anew for a frame of another
    size, after `refresh` frames (0: never), and where the scene is another one (see `unlike`),
    since to cancel the old one would cost as much again. A frame that is like the one before but
    costs more than a first one is a cut too, seen too late. Without recipe.keeps_frames every frame
    is a first one. The network belongs to this stream alone.
    """

    def __init__(self, network: SpikingNetwork, T: int = 1, refresh: int = REFRESH):
        self.network, self.T, self.refresh = network, T, refresh
        self.reset()

    def reset(self) -> None:
        """The next frame is the first of a video."""
        self._last: Snapshot | None = None  # cumulative, of the network
        # Operations of the last first frame.
        self._first = 0.0
        self._age = 0  # frames since then

    @torch.no_grad()
    def __call__(self, x: Tensor, **options: Any) -> FrameRun:
        """x: [N, C, H, W]; N videos at once share their cuts. options: of SpikingNetwork.run, such
        as maps.
        """
        due = (
            self._last is None
            or not self.network.recipe.keeps_frames
            or self._age == self.refresh > 0
        )
        cut = not due and (x.shape != self.network.image.shape or unlike(x, self.network.image))
        fresh = due or cut
        run = self.network.run(x, self.T, keep=not fresh, **options)
        before, self._last = self._last, run.snapshots[self.T]
        self._age = 1 if fresh else self._age + 1
        if fresh:
            self._first = self._operations(self._last)
            return FrameRun(run, fresh, cut)
        assert before is not None
        run = replace(
            run, snapshots={t: snapshot.since(before) for t, snapshot in run.snapshots.items()}
        )
        return FrameRun(run, fresh, self._operations(run.snapshots[self.T]) > self._first)

    def _operations(self, snapshot: Snapshot) -> float:
        return getattr(snapshot.operations, self.network.recipe.counting).sum().item()


def unlike(x: Tensor, sent: Tensor) -> bool:
    """Whether a frame, [N, C, H, W], has so little in common with the one that was sent that it is
    another scene.

    That is so if they differ by more than the frame differs from its own mean colour.
    """
    # Every k-th pixel of every k-th row is enough.
    k = max(min(x.shape[2:]) // 100, 1)
    x, sent = x[:, :, ::k, ::k], sent[:, :, ::k, ::k]
    own = (x - x.mean((2, 3), keepdim=True)).square_().sum((1, 2, 3))
    return bool(((x - sent).square_().sum((1, 2, 3)) > UNLIKE * own).any())
