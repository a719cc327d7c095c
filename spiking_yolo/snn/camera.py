"""A video from a camera that moves: the network's grid is anchored in the world."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.snn.counting import Counts
from spiking_yolo.snn.network import SpikingNetwork
from spiking_yolo.snn.readout import Network, Run, Snapshot
from spiking_yolo.snn.registration import displacement, resampled
from spiking_yolo.snn.stream import REFRESH, FrameRun, Stream, View
from spiking_yolo.snn.window import Window, common_stride, moved, seam_operations

# Pixels that a camera has to move by; less is an error of the registration.
STILL = 0.05
# A motion must leave at most this share of the difference that there is without it.
GAIN = 0.9
# Difference from what was sent, of the frame's own contrast, from which a new start is cheaper.
ANEW = 1.1
# Of the coarsest stride, how far a camera has to go before its window lets go what it has left.
MARGIN = 0.5


@dataclass(frozen=True)
class Pose:
    """Where the picture's corner lies in the world, in pixels of the network's input."""

    x: float
    y: float

    def distance(self, other: "Pose") -> float:
        return max(abs(self.x - other.x), abs(self.y - other.y))


class MovingCameraStream(Stream):
    """A Stream that follows the camera, one video: every frame lies where it belongs in the world.

    What the camera sees again is compared with what was sent of it, whatever the camera's motion,
    which is estimated (`displacement`); frames between pixels are resampled. What has left the view
    keeps what was sent last. As long as the camera stands still, all is as in a Stream. When a
    picture no longer fits into the network's input, the state moves into a larger window of the
    world, and with it from then on, by multiples of the coarsest stride (`window`). A frame that
    resembles what was sent more where it lay before stays there, and one that resembles nothing
    that was sent starts anew.

    Args:
        network: The network. Where its state cannot move (see `stride_of`), pictures are followed
            as far as they fit into its input.
        T: Timesteps per frame.
        refresh: See Stream.
        background: What an empty picture consists of, [C].
    """

    def __init__(
        self,
        network: Network,
        T: int = 1,
        refresh: int = REFRESH,
        background: Sequence[float] = (0.5, 0.5, 0.5),
    ):
        super().__init__(network, T, refresh)
        self._background = torch.tensor(background)[:, None, None]
        # Of an empty picture: what layers have sent, by size of the window.
        self._empty: dict[tuple[int, int], dict[str, Tensor]] = {}

    @torch.no_grad()
    def __call__(self, x: Tensor, *, content: Window | None = None, **options: Any) -> FrameRun:
        """Simulate the next frame, see Stream; x: [1, C, H, W]."""
        width, height = x.shape[3], x.shape[2]
        content = content or Window(0, 0, width, height)
        due = self._is_due()
        if due or (x.shape, content) != self._format:
            return self._start(x, content, not due, options)
        picture = Window(0, 0, width, height).of(x, content)[0]
        placed = self._placed(picture)
        if placed is None:
            return self._start(x, content, True, options)
        pose, on_grid = placed
        frame = self._frame_at(pose)
        seam = {} if self._window.covers(frame) else self._move(self._window_for(frame))
        self._pose = pose
        seen = self.network.image.clone()
        self._window.of(seen, frame).copy_(on_grid)
        of = self._run(seen, False, False, **options)
        snapshots = {t: _with_seam(one, seam, of.run) for t, one in of.run.snapshots.items()}
        run = replace(of.run, snapshots=snapshots, macs=self._macs)
        left = pose.x - content.left - self._window.left
        top = pose.y - content.top - self._window.top
        still = (left, top) == (0, 0) and seen.shape == x.shape
        return replace(of, run=run, view=None if still else View(left, top, seen))

    def _start(self, x: Tensor, content: Window, cut: bool, options: dict[str, Any]) -> FrameRun:
        """Forget everything: the world begins where this frame lies."""
        self._format = x.shape, content
        self._window = Window(0, 0, x.shape[3], x.shape[2])
        self._pose = Pose(content.left, content.top)
        self._stride = stride_of(self.network, x.shape[2], x.shape[3])
        of = self._run(x, True, cut, **options)
        self._macs = of.run.macs
        return of

    def _frame_at(self, pose: Pose) -> Window:
        """The picture in the world, to the nearest pixels."""
        _, content = self._format
        return Window(round(pose.x), round(pose.y), content.width, content.height)

    def _placed(self, picture: Tensor) -> tuple[Pose, Tensor] | None:
        """Where a picture lies in the world, and the picture at the world's pixels; None if it
        resembles nothing that was sent.

        As before, unless the motion that the registration finds explains what has changed.
        """
        pose = self._pose
        frame = self._frame_at(pose)
        sent, on_grid = self._sent_at(frame)[0], _on_grid(picture, pose)
        difference = _contrast(on_grid - sent)
        shift = displacement(sent, picture)
        if shift is not None:
            other = Pose(frame.left - shift[0], frame.top - shift[1])
            if other.distance(pose) >= STILL and self._reaches(other):
                elsewhere = _on_grid(picture, other)
                left = _contrast(elsewhere - self._sent_at(self._frame_at(other))[0])
                if left < GAIN * difference:
                    pose, on_grid, difference = other, elsewhere, left
        alike = difference <= ANEW * _contrast(picture)
        return (pose, on_grid) if alike else None

    def _reaches(self, pose: Pose) -> bool:
        """Whether a picture can lie there."""
        return self._stride is not None or self._window.covers(self._frame_at(pose))

    def _sent_at(self, frame: Window) -> Tensor:
        """What was sent of a part of the world, [1, C, h, w]; the background outside of the
        window.
        """
        image = self.network.image
        sent = self._background.to(image).expand(1, -1, frame.height, frame.width).clone()
        both = self._window.common(frame)
        frame.of(sent, both).copy_(self._window.of(image, both))
        return sent

    def _window_for(self, frame: Window) -> Window:
        """A window that covers the picture, multiples of the stride away."""
        now, stride = self._window, self._stride
        assert stride is not None
        left, right = _side(now.left, now.width, frame.left, frame.width, stride)
        top, bottom = _side(now.top, now.height, frame.top, frame.height, stride)
        return Window(left, top, right - left, bottom - top)

    def _move(self, window: Window) -> dict[str, Counts]:
        """Move the state to another window. Returns what that costs, see `seam_operations`."""
        network, old = self.network, self._window
        assert isinstance(network, SpikingNetwork)
        image, sent, noise = network.image.clone(), network.sent(), network.noise
        picture = self._background.to(image).expand(1, -1, window.height, window.width)
        empty = self._empty_picture(network, picture)
        spikes, spikes_of_empty = (network.spikes_of(one) for one in (sent, empty))
        seam = seam_operations(network.graph, spikes, spikes_of_empty, old, window)
        both, moved_image = old.common(window), picture.clone()
        window.of(moved_image, both).copy_(old.of(image, both))
        network.resume(moved_image, moved(sent, empty, old, window), noise)
        self._window, self._last = window, None
        return seam

    def _empty_picture(self, network: SpikingNetwork, picture: Tensor) -> dict[str, Tensor]:
        """What layers have sent of it; it takes the network's state."""
        size = picture.shape[2], picture.shape[3]
        if size not in self._empty:
            network.run(picture, self.T)
            self._empty[size] = network.sent()
        return self._empty[size]


def stride_of(network: Network, height: int, width: int) -> int | None:
    """By whose multiples the state of a network moves, for an input of this size.

    None if it cannot: see `common_stride`, and `resumes` of SpikingNetwork.
    """
    return common_stride(network.graph, height, width) if network.resumes else None


def _side(start: int, length: int, frame: int, size: int, stride: int) -> tuple[int, int]:
    """Where a window begins and ends along one axis that covers `size` pixels from `frame` on.

    It grows by whole strides where it has to, and then loses those behind that the camera has left
    by MARGIN of a stride.
    """
    end, frame_end = start + length, frame + size
    if start <= frame and frame_end <= end:
        return start, end
    margin = round(MARGIN * stride)
    least, most = (frame - margin) // stride * stride, -(-(frame_end + margin) // stride) * stride
    new_start = min(max(start, least), frame // stride * stride)
    new_end = max(min(end, most), -(-frame_end // stride) * stride)
    return new_start, new_end


def _on_grid(picture: Tensor, pose: Pose) -> Tensor:
    """A picture at the world's pixels."""
    return resampled(picture, round(pose.x) - pose.x, round(pose.y) - pose.y)


def _contrast(picture: Tensor) -> float:
    """How far the values of [C, H, W] lie from their mean, on average."""
    return float((picture - picture.mean((1, 2), keepdim=True)).abs().mean())


def _with_seam(snapshot: Snapshot, seam: Mapping[str, Counts], run: Run) -> Snapshot:
    """With the operations of a move, in which every neuron is updated."""
    if not seam:
        return snapshot
    by_layer = dict(snapshot.operations_by_layer)
    for name, operations in seam.items():
        by_layer[name] = Counts.of(torch.add, by_layer[name], operations)
    return replace(
        snapshot,
        operations=Counts.of(lambda *each: sum(each), *by_layer.values()),
        operations_by_layer=by_layer,
        updates=snapshot.updates + sum(run.neurons.values()),
    )
