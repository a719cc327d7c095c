"""The detector that a person calls: images in, boxes at every timestep out."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.load import load
from spiking_yolo.data.images import ImageSource, Placement, preprocess, read_image
from spiking_yolo.data.sources import FrameSource, frames_of
from spiking_yolo.decode.selection import (
    Classes,
    Selection,
    check_count,
    check_flags,
    check_image,
    checked_steps,
    class_ids,
    is_whole,
    kind,
    path_of,
)
from spiking_yolo.errors import UserError
from spiking_yolo.graph import forward, shapes
from spiking_yolo.graph.graph import layer_titles
from spiking_yolo.io.assets import command, default_weights
from spiking_yolo.io.distributed import usable_device
from spiking_yolo.io.names import Size
from spiking_yolo.recipe import Recipe
from spiking_yolo.result import Result
from spiking_yolo.snn.network import SpikingNetwork
from spiking_yolo.snn.plan import Precision, chosen
from spiking_yolo.snn.readout import Run
from spiking_yolo.snn.stream import REFRESH, Stream


class SpikingYOLO:
    """A detector converted to a spiking network: SpikingYOLO()("image.jpg", T=1).

    weights: a darknet .weights file, a trained .safetensors, a converted one, a .pt of YOLOv5 or
    v8, or a Converted; by default the public Tiny-YOLOv3 that comes with the package. method: a
    registered name (see list_methods), a recipe.json or a Recipe; None is the default. settings:
    overrides of the recipe, e.g. {"neuron.gamma": 4}. cfg, names: files of a darknet network that
    do not lie beside its weights. imgsz: input size in pixels, the side of a square or (height,
    width). statistics: activation statistics that do not lie beside the weights. trust: let
    Ultralytics open a .pt that is not known here, which can run code hidden in it. weight_bits: of
    the weights, of the ANN too; 8 as a chip holds them. device: "cpu", "cuda", "cuda:1", ...
    precision: "bf16" multiplies spikes and weights in bfloat16. compile: fuse the neurons'
    arithmetic, see SimulationOptions. Raises UserError for everything that does not fit.

    Threads may share a detector: calls of `detect` take turns, and each stream has a network of its
    own. So has a call that `progress` makes; `progress` must not wait for a call in another thread,
    whose turn comes after this one.
    """

    def __init__(
        self,
        weights: str | Path | Converted | None = None,
        method: str | Path | Recipe | None = None,
        settings: Mapping[str, Any] | None = None,
        *,
        cfg: str | Path | None = None,
        names: str | Path | None = None,
        imgsz: int | Size | None = None,
        statistics: str | Path | None = None,
        trust: bool = False,
        weight_bits: int | None = None,
        device: str | torch.device = "cpu",
        precision: Precision = "float32",
        compile: bool = False,
    ):
        check_flags(trust=trust, compile=compile)
        self.device = usable_device(device)
        if not isinstance(weights, str | Path | Converted | None):
            raise UserError(f"weights must be a path or a Converted network, not {kind(weights)}")
        if not isinstance(settings, Mapping | None):
            raise UserError(
                f'settings must be a dict such as {{"neuron.gamma": 4}}, not {settings!r}'
            )
        files: dict[str, Any] = {
            "cfg": cfg,
            "names": names,
            "imgsz": imgsz,
            "statistics": statistics,
        }
        files["weight_bits"] = weight_bits
        if isinstance(weights, Converted):
            given = {"method": method, "settings": settings or None, **files}
            if unused := [name for name, value in given.items() if value is not None]:
                raise UserError(
                    f"the network is already converted: leave out {' and '.join(unused)}"
                )
            self.converted = weights
        else:
            weights = default_weights() if weights is None else weights
            self.converted = load(weights, method, settings, trust=trust, **files)
        self.spec = self.converted.spec
        if self.spec.task != "detect":
            raise UserError(
                f"this network is a classifier, which finds no boxes: use `{command('classify')}`"
            )
        self._graph = self.converted.graph.to(self.device)
        self._simulation = chosen(precision, compile, self.device)
        self._network = self._new_network()
        self._turn = _Turn()

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: str | torch.device = "cpu",
        precision: Precision = "float32",
        compile: bool = False,
    ) -> "SpikingYOLO":
        """A network written by `save` or by tools/convert.py; it gives bit-identical output."""
        return cls(Converted.load(path), device=device, precision=precision, compile=compile)

    def save(self, path: str | Path) -> None:
        """Write the converted network to one .safetensors file."""
        self.converted.save(path)

    def __repr__(self) -> str:
        weights = self.converted.provenance.get("weights", "a network")
        size = f"{self.spec.height} x {self.spec.width} px"
        return (
            f"SpikingYOLO of {weights}: {self.method}, {size}, {len(self.names)} classes,"
            f" {self.device}"
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Class names by id."""
        return self.spec.names

    @property
    def method(self) -> str:
        """Name of the conversion method."""
        return self.converted.recipe.name

    @property
    def layers(self) -> list[str]:
        """Names of the layers of neurons that have a place in the image, in order."""
        flat: set[str] = set()
        for node in self._network.graph.nodes:
            if node.op in ("flatten", "linear") or not flat.isdisjoint(node.inputs):
                flat.add(node.name)
        return [name for name in self._network.neurons if name not in flat]

    def layer_titles(self) -> dict[str, str]:
        """What `layers` are called in pictures: "conv 5, 26 x 26, 256 channels"."""
        graph = self._network.graph
        return layer_titles(graph, shapes(graph, self.spec.height, self.spec.width))

    @overload
    def detect(
        self,
        image: ImageSource,
        T: int = ...,
        steps: int | Iterable[int] = ...,
        *,
        conf: float = ...,
        iou: float = ...,
        classes: Classes | None = ...,
        max_det: int = ...,
        bgr: bool = ...,
        maps: bool = ...,
        progress: Callable[[int], Any] | None = ...,
    ) -> Result: ...
    @overload
    def detect(
        self,
        image: Sequence[ImageSource],
        T: int = ...,
        steps: int | Iterable[int] = ...,
        *,
        conf: float = ...,
        iou: float = ...,
        classes: Classes | None = ...,
        max_det: int = ...,
        bgr: bool = ...,
        maps: bool = ...,
        progress: Callable[[int], Any] | None = ...,
    ) -> list[Result]: ...
    def detect(
        self,
        image: ImageSource | Sequence[ImageSource],
        T: int = 64,
        steps: int | Iterable[int] = (),
        *,
        conf: float = 0.25,
        iou: float = 0.45,
        classes: Classes | None = None,
        max_det: int = 300,
        bgr: bool = False,
        maps: bool = False,
        progress: Callable[[int], Any] | None = None,
    ) -> Result | list[Result]:
        """Simulate T timesteps and read the boxes off the head's accumulated potential.

        Arrays are RGB. For an array of OpenCV, which is BGR, say bgr=True.

        image: a path, a PIL image, or an RGB array [H, W, 3] or [H, W] of uint8, uint16 or floats
        in [0, 1]; a list of them gives a list of Results. T: timesteps to simulate. steps: read the
        boxes after these timesteps too, one or several in 1..T; see Result.steps. conf: keep boxes
        with a confidence above it. iou: suppress boxes that overlap a better one of their class by
        more. classes: names or ids of the classes to keep, one or several; None keeps all. max_det:
        boxes per image. bgr: arrays are BGR. maps: keep spike maps, see Result.maps. progress(t) is
        called after every timestep. Raises UserError, before anything is simulated, when an
        argument is of a wrong type or out of its range.
        """
        selection = Selection(conf, iou, max_det, class_ids(classes, self.names))
        T = check_count("T", T)
        times = checked_steps(steps, T)
        check_flags(bgr=bgr, maps=maps)
        if not (progress is None or callable(progress)):
            raise UserError(f"progress must be a function of the timestep, not {progress!r}")
        images: Any = image if isinstance(image, (list, tuple)) else [image]
        for one in images:
            check_image(one)
        results = [
            self._simulate(one, bgr, selection, T, steps=times, maps=maps, progress=progress)
            for one in images
        ]
        return results if isinstance(image, (list, tuple)) else results[0]

    __call__ = detect

    @torch.no_grad()
    def detect_ann(
        self,
        image: ImageSource,
        *,
        conf: float = 0.25,
        iou: float = 0.45,
        classes: Classes | None = None,
        max_det: int = 300,
        bgr: bool = False,
    ) -> Result:
        """The same image through the original network: same preprocessing, decoding and
        suppression; see `detect`.

        The Result has T = 0 and no spikes.
        """
        selection = Selection(conf, iou, max_det, class_ids(classes, self.names))
        check_flags(bgr=bgr)
        check_image(image)
        start = time.perf_counter()
        pixels, x, placement = self._prepare(image, bgr)
        boxes = selection.boxes(forward(self._graph, x), self.spec, placement)
        return Result(
            pixels,
            path_of(image),
            self.names,
            "ann",
            0,
            boxes,
            placement,
            time.perf_counter() - start,
        )

    def stream(
        self,
        frames: FrameSource,
        T: int = 1,
        steps: int | Iterable[int] = (),
        *,
        refresh: int = REFRESH,
        every: int = 1,
        conf: float = 0.25,
        iou: float = 0.45,
        classes: Classes | None = None,
        max_det: int = 300,
        bgr: bool = False,
        maps: bool = False,
    ) -> Iterator[Result]:
        """A video, frame by frame: for result in detector.stream("video.mp4"): ...

        The network keeps its state, so that only what changes is sent, and each Result has the
        costs of its frame alone (see Result.frame). Methods in rate coding, whose state cannot
        stay, and encoding.frames=reset treat each frame as a new image. Streams do not share their
        state: several may be read in turn. frames: a video file, a webcam's number, a folder of
        images, or any iterable of images. T: timesteps per frame. refresh: start anew after so many
        frames, so that rounding does not add up; 0: never but at a cut, and when the size changes.
        every: take every n-th frame. The others as in `detect`. Raises UserError at once when an
        argument is wrong or the source cannot be opened, and on the way for a source without
        frames.
        """
        selection = Selection(conf, iou, max_det, class_ids(classes, self.names))
        T, times = check_count("T", T), checked_steps(steps, check_count("T", T))
        if not (is_whole(refresh) and refresh >= 0):
            raise UserError(
                f"refresh must be a whole number of frames, or 0 for never, not {refresh!r}"
            )
        check_flags(bgr=bgr, maps=maps)
        every, (images, fps, _) = check_count("every", every), frames_of(frames)
        video = Stream(self._new_network(), T, refresh)

        def results() -> Iterator[Result]:
            for number, image in islice(enumerate(images), 0, None, every):
                start = time.perf_counter()
                pixels, x, placement = self._prepare(image, bgr)
                of = video(x, steps=times, maps=maps)
                result = self._result(pixels, None, placement, selection, T, of.run, start)
                yield replace(result, frame=number, time=number / fps, fresh=of.fresh, cut=of.cut)

        return results()

    def _new_network(self) -> SpikingNetwork:
        return self.converted.network(self.device, simulation=self._simulation)

    def _simulate(
        self, image: ImageSource, bgr: bool, selection: Selection, T: int, **options: Any
    ) -> Result:
        """options: of SpikingNetwork.run."""
        with self._available_network() as network:
            start = time.perf_counter()
            pixels, x, placement = self._prepare(image, bgr)
            run = network.run(x, T, **options)
            return self._result(pixels, path_of(image), placement, selection, T, run, start)

    @contextmanager
    def _available_network(self) -> Iterator[SpikingNetwork]:
        """The detector's network when no other thread uses it; a new one where this thread does
        already.
        """
        if self._turn.is_mine():
            yield self._new_network()
        else:
            with self._turn:
                yield self._network

    def _result(
        self,
        pixels: np.ndarray,
        path: str | None,
        placement: Placement,
        selection: Selection,
        T: int,
        run: Run,
        start: float,
    ) -> Result:
        """start: by the clock, when the work on this image began."""
        boxes = {
            t: selection.boxes(s.outputs, self.spec, placement) for t, s in run.snapshots.items()
        }
        last = run.snapshots[T]
        return Result(
            pixels,
            path,
            self.names,
            self.method,
            T,
            boxes[T],
            placement,
            time.perf_counter() - start,
            steps=boxes,
            simulated=run.steps,
            quiet=run.quiet,
            spikes_by_layer={name: total.item() for name, total in last.spikes.items()},
            neurons_by_layer=run.neurons,
            activations=run.activations,
            sent=last.sent.of_image(0),
            operations=last.operations.of_image(0),
            counting=self.converted.recipe.counting,
            macs=run.macs,
            analogue_macs=run.analogue_macs,
            updates=last.updates[0].item(),
            maps={
                t: {name: m[0].cpu() for name, m in s.maps.items()}
                for t, s in run.snapshots.items()
                if s.maps
            },
        )

    def _prepare(self, image: ImageSource, bgr: bool) -> tuple[np.ndarray, Tensor, Placement]:
        """The image as uint8 [H, W, 3] RGB, as input [1, 3, h, w] of the network, and where it lies
        in that.
        """
        pixels = read_image(image)
        if bgr and isinstance(image, np.ndarray):
            pixels = np.ascontiguousarray(pixels[..., ::-1])
        x, placement = preprocess(pixels, self.spec)
        return pixels, x[None].to(self.device), placement


class _Turn:
    """A lock that knows whether this thread holds it. A copy, or what is pickled, is a new one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: int | None = None

    def is_mine(self) -> bool:
        return self._thread == threading.get_ident()

    def __enter__(self) -> None:
        self._lock.acquire()
        self._thread = threading.get_ident()

    def __exit__(self, *error: object) -> None:
        self._thread = None
        self._lock.release()

    def __reduce__(self) -> tuple[Any, ...]:
        return _Turn, ()
