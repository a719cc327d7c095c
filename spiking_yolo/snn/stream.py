"""A video through one spiking network that keeps its state: only changes travel."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.snn.readout import Network, Run, Snapshot

# Frames after which the state starts anew. Until then rounding in float32 adds up to at most 6e-5
# of the largest sums.
REFRESH = 1000
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
    """

    def __init__(self, network: Network, T: int = 1, refresh: int = REFRESH):
        self.network, self.T, self.refresh = network, T, refresh
        self.reset()

    def reset(self) -> None:
        """The next frame is the first of a video."""
        # The cumulative snapshot after the last frame.
        self._last: Snapshot | None = None
        # Operations of the last fresh frame, and frames since then.
        self._first = 0.0
        self._age = 0

    @torch.no_grad()
    def __call__(self, x: Tensor, **options: Any) -> FrameRun:
        """Simulate the next frame.

        Args:
            x: The frame, [N, C, H, W]; N videos at once share their cuts.
            **options: Of SpikingNetwork.run, such as maps.
        """
        restart = self._last is None or not self.network.recipe.keeps_frames
        restart = restart or self._age == self.refresh > 0
        cut = False
        if not restart:
            image = self.network.image
            cut = x.shape != image.shape or unlike(x, image)
        fresh = restart or cut
        run = self.network.run(x, self.T, keep=not fresh, **options)
        before = self._last
        last = run.snapshots[self.T]
        self._last = last
        self._age = 1 if fresh else self._age + 1
        if fresh:
            self._first = self._operations(last)
            return FrameRun(run, fresh, cut)
        assert before is not None
        snapshots = {t: snapshot.since(before) for t, snapshot in run.snapshots.items()}
        late_cut = self._operations(snapshots[self.T]) > self._first
        return FrameRun(replace(run, snapshots=snapshots), fresh, late_cut)

    def _operations(self, snapshot: Snapshot) -> float:
        return getattr(snapshot.operations, self.network.recipe.counting).sum().item()


def unlike(x: Tensor, sent: Tensor) -> bool:
    """Whether a frame, [N, C, H, W], shows another scene than the frame transmitted so far.

    It does if the two differ by more than the frame differs from its own mean colour.
    """
    # A sample of the pixels is enough.
    k = max(min(x.shape[2:]) // 100, 1)
    x, sent = x[:, :, ::k, ::k], sent[:, :, ::k, ::k]
    own = (x - x.mean((2, 3), keepdim=True)).square_().sum((1, 2, 3))
    return bool(((x - sent).square_().sum((1, 2, 3)) > UNLIKE * own).any())
