"""The loop behind tools/detect.py: every source through the network, one line and some files per image."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from tqdm import tqdm

from . import cli
from .detector import Result, SpikingYOLO
from .errors import UserError
from .files import atomic_write
from .outputs import Outputs, at_step, choose_layers, compared, found_text
from .sources import expand, frame_count, frames, is_stream

_FRAMES_OF_GIF = 16
_PATIENCE = 2.0  # seconds before a progress bar appears


def detect_all(args: argparse.Namespace, steps: Sequence[int]) -> int:
    """Run all sources; returns the exit status. Raises UserError when the call or the only input is wrong."""
    sources = expand(args.source)
    if args.every < 1 or (args.max_frames is not None and args.max_frames < 1):
        raise UserError("--every and --max-frames must be at least 1")
    detector = SpikingYOLO.of(cli.load_network(args), args.device)
    job = _Job(args, steps, detector, Outputs(cli.run_directory(args.project, args.name, args.exist_ok)))
    failed = 0
    try:
        for source in tqdm(sources, "sources", unit="source", delay=_PATIENCE, disable=len(sources) == 1):
            try:
                (job.stream if is_stream(source) else job.image)(source)
            except UserError as error:
                if len(sources) == 1:
                    raise
                failed += 1
                tqdm.write(f"error: {error}", file=sys.stderr)
    finally:
        if args.save_json:
            job.outputs.write_json()
    if job.outputs.directory.exists():
        print(f"results saved to {job.outputs.directory}")
    if failed == len(sources):
        return 2
    return 1 if failed else 0


class _Job:
    """One call of detect.py: the detector, the options and the files."""

    def __init__(self, args: argparse.Namespace, steps: Sequence[int], detector: SpikingYOLO, outputs: Outputs):
        self.args, self.steps, self.detector, self.outputs = args, list(steps), detector, outputs
        self.layers = choose_layers(args.overlay, detector.layers) if args.overlay else []
        self.thresholds = {"conf": args.conf, "iou": args.iou, "max_det": args.max_det}

    def image(self, source: str) -> None:
        args = self.args
        result = self.detect(source)
        name = self.outputs.stem(source)
        report(source, result, self.steps)
        if args.ann:
            ann = self.detector.detect_ann(source, **self.thresholds)
            tqdm.write(f"  ANN: {found_text(ann.detections, ann.names)} in {1e3 * ann.seconds:.0f} ms")
            self.outputs.picture(name, compared(result, ann))
        else:
            self.outputs.picture(name, result.plot())
        for t in self.steps:
            self.outputs.picture(f"{name}-T{t}", at_step(result, t))
        if args.save_txt:
            self.outputs.labels(name, result, args.save_conf)
        if args.save_json:
            self.outputs.add_json(source, result)
        if args.overlay:
            self.outputs.overlays(name, result, self.layers)
        if args.gif:
            self.outputs.animation(name, result)

    def stream(self, source: str) -> None:
        """A video: one annotated .mp4, and labels and json per frame."""
        args = self.args
        count, fps = frame_count(source)
        total = min(n for n in (args.max_frames, count and -(-count // args.every), sys.maxsize) if n)
        name = self.outputs.stem(f"webcam{source}" if source.isdigit() else source)
        bar = tqdm(frames(source, args.every), name, total=None if total == sys.maxsize else total, unit="frame")
        with _VideoWriter(self.outputs.directory / f"{name}.mp4", fps / args.every) as video:
            for index, frame in enumerate(bar):
                result = self.detect(frame)
                report(f"{source}#{index * args.every}", result, self.steps)
                video.write(result.plot())
                if args.save_txt:
                    self.outputs.labels(f"{name}-{index * args.every:06d}", result, args.save_conf)
                if args.save_json:
                    self.outputs.add_json(f"{source}#{index * args.every}", result)
                if index + 1 == args.max_frames:
                    break

    def detect(self, source: str | np.ndarray) -> Result:
        args = self.args
        steps, maps = self.steps, bool(args.overlay or args.gif)
        if args.gif:
            steps = sorted({*steps, *_spread(args.T)})
        with tqdm(total=args.T, desc="timesteps", unit="step", delay=_PATIENCE, leave=False) as bar:
            return self.detector.detect(
                source, args.T, steps, **self.thresholds, maps=maps, progress=lambda t: bar.update()
            )


def _spread(T: int) -> list[int]:
    """Timesteps for an animation: all of a short run, else denser at the start, where more happens."""
    return sorted({round(float(t)) for t in np.geomspace(1, T, min(T, _FRAMES_OF_GIF))})


def report(source: str, result: Result, steps: Sequence[int]) -> None:
    """One line per image, and one per requested timestep."""
    height, width = result.image.shape[:2]
    settled = f", settled after {result.settled}" if result.settled < result.T else ""
    tqdm.write(
        f"{source}: {width}x{height}, {found_text(result.detections, result.names)}; T={result.T}{settled}; "
        f"{result.spikes / 1e6:.2f} M spikes, rate {result.mean_rate:.4f}; {1e3 * result.seconds:.0f} ms"
    )
    for t in steps:
        tqdm.write(f"  T={t}: {found_text(result.steps[t], result.names)}")


class _VideoWriter:
    """An .mp4 that appears once it is closed; interrupted, it holds the frames so far."""

    def __init__(self, path: Path, fps: float):
        self.path, self.fps = path, fps
        self._stack, self._writer = ExitStack(), None

    def __enter__(self) -> _VideoWriter:
        return self

    def write(self, pixels: np.ndarray) -> None:
        import cv2

        if self._writer is None:
            temporary = self._stack.enter_context(atomic_write(self.path))
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(temporary), codec, self.fps, pixels.shape[1::-1])
            self._stack.callback(self._writer.release)
        self._writer.write(np.ascontiguousarray(pixels[..., ::-1]))

    def __exit__(self, *error: object) -> None:
        self._stack.close()
