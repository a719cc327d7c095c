"""The public detector: images in, boxes at every timestep out."""

import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypedDict, Unpack, get_args

import numpy as np
import torch

from spiking_yolo.convert.load import FEW, Converted, Uncalibrated, prepare, read_network
from spiking_yolo.convert.methods import needed_timesteps
from spiking_yolo.data.datasets import spread_first
from spiking_yolo.data.images import ImageSource, Picture, read_image
from spiking_yolo.data.sources import expand, is_video_file, names_several
from spiking_yolo.data.video import BLACK, PLAIN, FrameSource, frames_of, previewed
from spiking_yolo.decode.selection import Classes, Selection, check_count, checked_steps, class_ids
from spiking_yolo.decode.tracking import START, Tracker
from spiking_yolo.errors import UserError, no_attribute
from spiking_yolo.integer.video import check_lossless
from spiking_yolo.io.distributed import usable_device
from spiking_yolo.io.files import command, default_weights
from spiking_yolo.io.text import Size, side_or_size
from spiking_yolo.metrics.costs import CostsByShape
from spiking_yolo.models.spec import Spec
from spiking_yolo.observe import Input, Observation, Observer, Shapes, Want, read_input
from spiking_yolo.recipe import Recipe
from spiking_yolo.result import Result
from spiking_yolo.spikes.readout import Network

# Attributes and arguments of Ultralytics, and what does the same here.
ELSEWHERE = {
    "track": "SpikingYOLO.stream(video, track=True)",
    "val": "`spiking-yolo eval --data DATA`",
    "train": "`spiking-yolo train`",
    "export": "SpikingYOLO.save, or `spiking-yolo export -o FILE.onnx`",
    "benchmark": "`spiking-yolo benchmark`",
    "fuse": "it as it is, since batch normalisation is folded already",
    "info": "print(detector)",
    "to": "SpikingYOLO(device=...)",
    "device": "SpikingYOLO(device=...)",
    "imgsz": "SpikingYOLO(imgsz=...)",
    "square": "SpikingYOLO(square=...)",
    "calibration": "SpikingYOLO(calibration=...)",
    "settings": "SpikingYOLO(settings=...)",
    "save": "Result.save",
    "show": "Result.show",
    "stream": "SpikingYOLO.stream",
    "verbose": "Result.summary",
}
# Two first pictures in two threads calibrate once.
_CALIBRATING = threading.Lock()


class BoxOptions(TypedDict, total=False):
    """Which boxes count.

    Attributes:
        conf: Keep boxes whose confidence is above this; 0.25 by default.
        iou: Suppress a box that overlaps a better one of its class by more than this; 0.45.
        classes: Names or ids of the classes to keep, one or several; by default all.
        max_det: Most boxes per image; 300.
        agnostic_nms: Suppress boxes across classes, not within each class; False.
    """

    conf: float
    iou: float
    classes: Classes | None
    max_det: int
    agnostic_nms: bool


class SpikingYOLO:
    """A YOLO detector converted to a spiking neural network.

    Where no file has a calibration of the weights, thresholds are taken from the first picture that
    `detect` or `stream` is given, or from those given to `calibrate`, and a Notice says so.

    Threads may share a detector: calls that run at the same time, and streams, have networks of
    their own.

    Args:
        weights: A darknet .weights file, a checkpoint (.safetensors) of `train`, a converted
            network, a .pt of YOLOv5 or Ultralytics, an .onnx of these or YOLOv7-tiny, or a
            Converted. Default: the public Tiny-YOLOv3 that comes with the package.
        method: A registered conversion method (see `list_methods`), or a Recipe.
        settings: Settings of the method to change, such as {"neuron.gamma": 4}.
        calibration: Name of the method's calibration, such as "tuned"; `spiking-yolo list
            WEIGHTS` has them.
        cfg: The network's .cfg, if it does not lie beside the weights.
        names: Class names, one per line, if they do not lie beside the weights.
        imgsz: Input size in pixels: the longer side, or exactly (height, width).
        square: Put every image into a square of that side, instead of at its own shape: the
            shorter side is then as short as the image allows, a multiple of the stride.
        statistics: File of statistics and calibrations, if it does not lie beside the weights.
        device: "cpu", "cuda", "cuda:1", ...

    Raises:
        UserError: A file is missing or damaged, or the arguments do not fit together.

    Example:
        >>> from spiking_yolo import SpikingYOLO
        >>> detector = SpikingYOLO()
        >>> result = detector.detect("dog.jpg")  # arrays are RGB; bgr=True for those of OpenCV
        >>> result.save("dog-boxes.png")
    """

    def __init__(
        self,
        weights: str | Path | Converted | None = None,
        method: str | Recipe | None = None,
        settings: Mapping[str, Any] | None = None,
        *,
        calibration: str | None = None,
        cfg: str | Path | None = None,
        names: str | Path | None = None,
        imgsz: int | Size | None = None,
        square: bool = False,
        statistics: str | Path | None = None,
        device: str | torch.device = "cpu",
    ):
        self.device = usable_device(device)
        reading: dict[str, Any] = {"cfg": cfg, "names": names, "imgsz": imgsz}
        given = read_network(default_weights() if weights is None else weights, **reading)
        chosen = {"calibration": calibration, "statistics": statistics, **reading}
        self._prepared = partial(prepare, given, method, settings, **chosen)
        # What the files have: it may have no thresholds.
        self._stored = self._prepared()
        self.spec = self._stored.spec
        if self.spec.task != "detect":
            raise UserError(f"a classifier finds no boxes: use `{command('eval')}`")
        exact = imgsz is not None and isinstance(side_or_size(imgsz), tuple)
        self._own = not (square or exact)
        self._engine = _Engine(self._stored, self.device, self._own)

    def __getattr__(self, name: str) -> Any:
        """Answer an attribute of Ultralytics' class with its name here."""
        raise no_attribute("SpikingYOLO", name, ELSEWHERE)

    def save(self, path: str | Path) -> None:
        """Write the converted network to one .safetensors file, which `SpikingYOLO(path)` reads;
        its output is the same to the bit.

        Raises:
            UserError: It has no thresholds yet, see `calibrate`; the name has another ending, by
                which no file is opened; or it cannot be written.
        """
        if Path(path).suffix != ".safetensors":
            raise UserError(f"cannot save the network as {path}: let its name end in .safetensors")
        self.converted.save(path)

    def calibrate(self, images: ImageSource | Sequence[ImageSource], *, bgr: bool = False) -> None:
        """Take the thresholds from photographs, where no file has a calibration of the weights.

        It takes seconds. `spiking-yolo calibrate` takes minutes and makes better thresholds: it
        trains them, and keeps them in a file for the next time.

        Args:
            images: Photographs like those to come: a folder, a glob, a video, or one or several
                images as `detect` takes them. Eight that are spread over them are used.
            bgr: Whether arrays are BGR, as those of OpenCV.

        Raises:
            UserError: The network has its thresholds from a file; or no image can be read.

        Example:
            >>> detector = SpikingYOLO("best.pt")
            >>> detector.calibrate("photos/")
            >>> detector.save("best-spiking.safetensors")
        """
        if isinstance(self._stored, Converted):
            again = f"use it as it is, or `{command('calibrate')}`"
            raise UserError(f"the thresholds of this network come from a file: {again}")
        if isinstance(images, (str, os.PathLike)):
            pictures = previewed(expand([os.fspath(images)]), FEW)
        else:
            several: Any = images if isinstance(images, (list, tuple)) else [images]
            pictures = _listed(several, bgr)
        self._engine = _Engine(self._stored.convert(pictures), self.device, self._own)

    @property
    def converted(self) -> Converted:
        """The converted network. Raises UserError as long as it has no thresholds."""
        return self._engine.converted

    def __repr__(self) -> str:
        network = self._engine.network
        weights, method = network.provenance.get("weights", "a network"), network.recipe.label
        size, count = f"{self.spec.height} x {self.spec.width} px", len(self.names)
        text = f"SpikingYOLO of {weights}: {method}, {size}, {count} classes, {self.device}"
        if isinstance(network, Uncalibrated):
            text += ", no thresholds yet"
        return text

    @property
    def names(self) -> tuple[str, ...]:
        """Class names, by id."""
        return self.spec.names

    @property
    def method(self) -> str:
        """Name of the conversion method."""
        return self._engine.network.recipe.name

    def detect(
        self,
        image: ImageSource,
        T: int | None = None,
        steps: int | Iterable[int] = (),
        *,
        bgr: bool = False,
        progress: Callable[[int], Any] | None = None,
        want: Collection[Want] = (),
        **boxes: Unpack[BoxOptions],
    ) -> Result:
        """Detect objects in one image; `predict` takes several.

        Args:
            image: Path, PIL image, or RGB array [H, W, 3] or [H, W]
                (uint8, uint16, or float in [0, 1]).
            T: Timesteps to simulate. By default the last of `steps`, or as many as the method
                needs: `timesteps` in `list_methods`, 64 where that is None.
            steps: Read the boxes after these timesteps too, one or several in 1..T; see
                Result.steps.
            bgr: Whether arrays are BGR, as those of OpenCV.
            progress: Called with t after every timestep.
            want: What to find out besides: "ann" for Result.ann, "maps" and "layers" for more of
                Result.seen.
            boxes: Which boxes count, see BoxOptions: conf, iou, classes, max_det, agnostic_nms.

        Raises:
            UserError: An argument has the wrong type or is out of range, and nothing has been
                simulated; or an image cannot be read.

        Example:
            >>> SpikingYOLO().detect("dog.jpg")
            3 boxes: car 0.72, dog 0.65, bicycle 0.36; T=1, 0.78 operations per MAC
        """
        selection = self._selection(boxes)
        times, T = _timesteps(steps, T, needed_timesteps(self.method))
        wanted = _wanted(want)
        images = _listed_images(image)
        if len(images) != 1:
            raise UserError(f"{len(images)} images are given to detect: use SpikingYOLO.predict")
        engine = self._calibrated(_listed(images, bgr))
        read = read_input(images[0], bgr=bgr)
        observer = engine.observer(selection)
        (seen,) = observer.observe([read], T, times, want=wanted, progress=progress)
        return engine.result(seen)

    def predict(self, source: ImageSource | Sequence[ImageSource], **options: Any) -> list[Result]:
        """Detect objects in any number of images, by the name that Ultralytics has for it.

        Args:
            source: What `detect` takes, a list of it, a folder, a glob or a .txt list.
            options: Options of `detect`: T, conf, iou, classes, ...

        Raises:
            UserError: As `detect`.

        Example:
            >>> for result in SpikingYOLO().predict("photos/"):
            ...     print(result.path, result.boxes.xyxy)
        """
        images = _listed_images(source)
        options["steps"] = checked_steps(options.get("steps", ()), None)
        self._calibrated(_listed(images, options.get("bgr", False)))
        return [self.detect(one, **options) for one in images]

    __call__ = predict

    def detect_ann(
        self, image: ImageSource, *, bgr: bool = False, **boxes: Unpack[BoxOptions]
    ) -> Result:
        """Detect objects with the original network: same preprocessing, decoding and suppression.

        Args:
            image: One image, in a form that `detect` takes.
            bgr: See `detect`.
            boxes: See `detect`.

        Returns:
            A Result with T = 0 and no spikes.

        Raises:
            UserError: As `detect`.
        """
        selection, engine = self._selection(boxes), self._engine
        observer = Observer(engine.shapes, engine.graph, self.spec, selection)
        seen = observer.observe_ann(read_input(image, bgr=bgr))
        return Result.of_ann(seen, self.names, engine.costs(seen))

    def stream(
        self,
        frames: FrameSource,
        T: int | None = None,
        steps: int | Iterable[int] = (),
        *,
        every: int = 1,
        track: bool = False,
        track_conf: float = START,
        lossless: bool = False,
        bgr: bool = False,
        want: Collection[Want] = (),
        **boxes: Unpack[BoxOptions],
    ) -> Iterator[Result]:
        """Detect objects in a video, frame by frame.

        The network keeps its state, so that only changes are sent, and each Result has the costs of
        its frame alone. Methods with rate coding, whose state cannot stay, and the setting
        encoding.frames=reset treat each frame as a new image. Streams do not share their state:
        several may be read in turn. Without a calibration the first frame that is not black
        gives the thresholds.

        Args:
            frames: A video file, a webcam's number, a folder of images, or an iterable of images.
            T: Timesteps per frame. By default the last of `steps`, or else one, where the network
                keeps its state; where it does not, as many as for an image.
            steps: See `detect`.
            every: Take every n-th frame.
            track: Give each box the id of its object, by ByteTrack; see Boxes.id.
            track_conf: Boxes of at least this confidence start tracks; others continue them.
            lossless: Every frame has, to the bit, the boxes of a photograph of the same network,
                for more operations. Thresholds are those of photographs.
            bgr: See `detect`.
            want: See `detect`; with `track` the ANN's boxes have ids too.
            boxes: See `detect`.

        Yields:
            A Result per frame, with its number, time, and whether it is a cut.

        Raises:
            UserError: At once if an argument is wrong, the source cannot be opened, or the extra
                "track" is missing; on the way if a frame cannot be read or there is none.

        Example:
            >>> for result in SpikingYOLO().stream("video.mp4"):
            ...     print(result.frame, result.counts(), result.operations_per_mac)
        """
        selection = self._selection(boxes)
        recipe = self._engine.network.recipe
        needed = 1 if recipe.keeps_frames else needed_timesteps(recipe.name)
        times, T = _timesteps(steps, T, needed)
        wanted = _wanted(want)
        every = check_count("every", every)
        source = frames_of(frames, bgr)
        trackers = [Tracker(source.fps / every, track_conf) for _ in range(2 * track)]
        detector = self if lossless else self._for_videos
        if lossless:
            check_lossless(recipe)

        def inputs() -> Iterator[Input]:
            for image in source.frames(every):
                read = read_input(image, frame=source.position - 1)
                yield replace(read, time=source.time, anew=source.anew)

        def results() -> Iterator[Result]:
            waiting, first, pictures = inputs(), list[Input](), list[Picture]()
            # A black one has no thresholds to give.
            for frame in islice(waiting, BLACK):
                assert frame.image is not None
                first.append(frame)
                pictures = [Picture("the first frame", frame.image)]
                known = isinstance(detector._engine.network, Converted)
                if known or frame.image.std() > PLAIN:
                    break
            if not first:
                return
            engine = detector._calibrated(pictures)
            observer = engine.observer(selection)
            following = chain(first, waiting)
            for seen in observer.follow(following, T, times, lossless=lossless, want=wanted):
                if trackers and "ann" in wanted:
                    ann = trackers[1].update(seen.ann_boxes, seen.cut, seen.input.time)
                    seen = replace(seen, ann=ann)
                result = engine.result(seen)
                if trackers:
                    boxes = trackers[0].update(result.detections, result.cut, result.time)
                    result = replace(result, detections=boxes)
                yield result

        return results()

    @cached_property
    def _for_videos(self) -> "SpikingYOLO":
        """This one, or another with the calibration `video` where the user has made one."""
        network = self._prepared(video=True)
        if isinstance(network, Converted) and network.recipe != self._engine.network.recipe:
            return SpikingYOLO(network, square=not self._own, device=self.device)
        return self

    def observer(self, selection: Selection | None = None) -> Observer:
        """An Observer with a network of its own: it sees more than a Result holds."""
        return self._engine.observer(selection or Selection())

    def _selection(self, boxes: BoxOptions) -> Selection:
        """The options of a call, checked."""
        for name in boxes.keys() - BoxOptions.__annotations__.keys():
            hint = f"use {ELSEWHERE[name]}" if name in ELSEWHERE else "see BoxOptions"
            raise UserError(f"{name} is no argument here: {hint}")
        classes = class_ids(boxes.get("classes"), self.names)
        return Selection(**{**boxes, "classes": classes})

    def _calibrated(self, pictures: Iterable[Picture]) -> "_Engine":
        """The engine, with thresholds from these pictures if it has none."""
        if isinstance(self._engine.network, Uncalibrated):
            with _CALIBRATING:
                # Another thread may have been faster.
                if isinstance(self._engine.network, Uncalibrated):
                    network = self._engine.network.convert(pictures)
                    self._engine = _Engine(network, self.device, self._own)
        return self._engine


class _Engine:
    """A network on its device, and what the calls of a detector share of it.

    Args:
        network: The network, converted or without thresholds.
        device: Where it runs.
        own: Whether images have their own shape, see Shapes.
    """

    def __init__(self, network: Converted | Uncalibrated, device: torch.device, own: bool):
        self.network, self.device = network, device
        self.graph = network.graph.to(device)
        self.costs = CostsByShape(network)
        self.shapes = Shapes(self.graph, network.spec, self._built, own)

    @property
    def converted(self) -> Converted:
        """The network with its thresholds. Raises UserError if it has none."""
        if isinstance(self.network, Uncalibrated):
            missing = f"{self.network.provenance['weights']} has no thresholds yet"
            raise UserError(f"{missing}: give photographs to detect, or to SpikingYOLO.calibrate")
        return self.network

    def _built(self, spec: Spec) -> Network:
        return replace(self.converted, spec=spec).network(self.device)

    def observer(self, selection: Selection) -> Observer:
        """An observer of which no other call sees the state: a simulator is made for each, and
        networks of whole numbers have none.
        """
        shapes = self.shapes
        if not self.converted.recipe.complete:
            shapes = shapes.of(self._built(self.network.spec))
        return Observer(shapes, self.graph, self.network.spec, selection)

    def result(self, seen: Observation) -> Result:
        """What was observed as a Result."""
        return Result.of(seen, self.network.spec.names, self.network.recipe, self.costs(seen))


def _timesteps(steps: Any, T: int | None, needed: int) -> tuple[list[int], int]:
    """The steps to observe and the timesteps of a call, checked; needed: those by default."""
    if T is not None:
        T = check_count("T", T)
    times = checked_steps(steps, T)
    return times, T or max(times, default=needed)


def _wanted(want: Collection[Want]) -> set[Want]:
    """Boxes, and what else is wanted. Raises UserError for what nobody can find out."""
    known = get_args(Want)
    for name in want:
        if name not in known:
            raise UserError(f"want has {name!r}, which is none of {', '.join(known)}")
    return {"boxes", *want}


def _listed_images(image: Any) -> Sequence[Any]:
    """The images that are meant.

    Raises:
        UserError: There is a video among them.
    """
    if isinstance(image, (list, tuple)):
        return [one for part in image for one in _listed_images(part)]
    if not isinstance(image, (str, os.PathLike)):
        return [image]
    name = os.fspath(image)
    paths: Sequence[Any] = [image]
    if name and names_several(name):
        paths = expand([name])
    videos = [path for path in paths if is_video_file(os.fspath(path))]
    if videos and os.path.exists(videos[0]):
        raise UserError(f"{videos[0]} is a video: read it with SpikingYOLO.stream")
    return paths


def _listed(images: Sequence[ImageSource], bgr: bool) -> Iterator[Picture]:
    """The pictures to calibrate on, FEW that are spread over them first."""
    for one in spread_first(images, FEW):
        if isinstance(one, (str, os.PathLike)):
            yield Picture.file(os.fspath(one))
        elif bgr and isinstance(one, np.ndarray):
            yield Picture("an array", read_image(one, bgr))
        else:
            yield Picture("an image", one)
