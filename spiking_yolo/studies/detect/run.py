"""The loop behind tools/detect.py: every source through the network, one line and some files per image."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from spiking_yolo import cli
from spiking_yolo.detector import SpikingYOLO
from spiking_yolo.errors import UserError
from spiking_yolo.io.files import atomic_write
from spiking_yolo.io.sources import expand, is_stream, is_webcam, open_video
from spiking_yolo.result import Result
from spiking_yolo.studies.detect.outputs import Outputs, at_step, choose_layers, compared

_FRAMES_OF_GIF = 16
_PATIENCE = 2.0  # seconds before a progress bar appears; disable=None keeps bars out of logs


def detect_all(args: argparse.Namespace) -> int:
    """Run all sources; returns the exit status. Raises UserError when the call or the only input is wrong."""
    sources = expand(args.source)
    outputs = Outputs(cli.run_directory(args.project, args.name, args.exist_ok))
    detector = SpikingYOLO(cli.load_network(args), device=args.device, precision=args.precision, compile=args.compile)
    job = _Job(args, detector, outputs)
    failed = 0
    try:
        for source in tqdm(sources, "sources", unit="source", delay=_PATIENCE, disable=len(sources) == 1 or None):
            try:
                (job.stream if is_stream(source) else job.image)(source)
            except UserError as error:
                if len(sources) == 1:
                    raise
                failed += 1
                tqdm.write(f"error: {error}", file=sys.stderr)
    finally:
        outputs.write_json()
        if outputs.used:
            print(f"results saved to {outputs.directory}")
    if failed == len(sources):
        return 2
    return 1 if failed else 0


class _Job:
    """One call of detect.py: the detector, the options and the files."""

    def __init__(self, args: argparse.Namespace, detector: SpikingYOLO, outputs: Outputs):
        self.args, self.detector, self.outputs = args, detector, outputs
        self.layers = choose_layers(args.overlay, detector.layers) if args.overlay else []
        classes = cli.parse_classes(args.classes, detector.names)
        self.choice = {"conf": args.conf, "iou": args.iou, "max_det": args.max_det, "classes": classes}

    def image(self, source: str) -> None:
        args, outputs = self.args, self.outputs
        steps = {*args.steps, *(gif_steps(args.T) if args.gif else ())}
        result = self._detect(source, steps, maps=bool(args.overlay or args.gif))
        name = outputs.stem(source)
        outputs.picture(name, self._report(source, name, result))
        for t in args.steps:
            outputs.picture(f"{name}-steps/T{t}", at_step(result, t))
        if args.overlay:
            outputs.overlays(name, result, self.layers)
        if args.gif:
            outputs.animation(name, result)

    def stream(self, source: str) -> None:
        """A video: one annotated .mp4, and a line, labels and json per frame."""
        args = self.args
        if args.overlay or args.gif:
            tqdm.write(f"{source}: --overlay and --gif are for images, a video gets neither", file=sys.stderr)
        name = self.outputs.stem(f"webcam{source}" if is_webcam(source) else source)
        with open_video(source) as opened, _VideoWriter(self.outputs, f"{name}.mp4", opened.fps / args.every) as video:
            limits = (args.max_frames, opened.count and -(-opened.count // args.every))
            total = min((n for n in limits if n), default=None)
            for index, frame in enumerate(tqdm(opened.frames(args.every), name, total, unit="frame", disable=None)):
                number = index * args.every
                result = self._detect(frame, args.steps)
                video.write(self._report(f"{source}#{number}", f"{name}-{number:06d}", result))
                if index + 1 == args.max_frames:
                    break

    def _detect(self, source: str | np.ndarray, steps: Iterable[int], maps: bool = False) -> Result:
        with tqdm(total=self.args.T, desc="timesteps", unit="step", delay=_PATIENCE, leave=False, disable=None) as bar:
            return self.detector.detect(
                source, self.args.T, steps, maps=maps, progress=lambda t: bar.update(), **self.choice
            )

    def _report(self, source: str, name: str, result: Result) -> np.ndarray:
        """Print and record what was found; returns the annotated picture."""
        args = self.args
        tqdm.write(replace(result, path=source).summary(args.steps))
        if args.save_txt:
            self.outputs.labels(name, result, args.save_conf)
        if args.save_json:
            self.outputs.add_json(source, result, args.steps)
        if not args.ann:
            return result.plot()
        ann = self.detector.detect_ann(result.image, **self.choice)
        tqdm.write(f"  ANN: {ann.counts()}; {1e3 * ann.seconds:.0f} ms")
        return compared(result, ann)


def gif_steps(T: int) -> list[int]:
    """Timesteps for an animation: all of a short run, else denser at the start, where more happens."""
    if T <= _FRAMES_OF_GIF:
        return list(range(1, T + 1))
    return sorted({round(float(t)) for t in np.geomspace(1, T, _FRAMES_OF_GIF)})


class _VideoWriter:
    """An .mp4 that appears once it is closed; interrupted, it holds the frames so far."""

    def __init__(self, outputs: Outputs, name: str, fps: float):
        self.outputs, self.name, self.fps = outputs, name, fps
        self._stack, self._writer = ExitStack(), None

    def __enter__(self) -> _VideoWriter:
        return self

    def write(self, pixels: np.ndarray) -> None:
        import cv2

        if self._writer is None:
            temporary = self._stack.enter_context(atomic_write(self.outputs.path(self.name)))
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(temporary), codec, self.fps, pixels.shape[1::-1])
            self._stack.callback(self._writer.release)
        self._writer.write(np.ascontiguousarray(pixels[..., ::-1]))

    def __exit__(self, *error: object) -> None:
        self._stack.close()
