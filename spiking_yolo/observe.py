"""Observe a network on images: the only place that reads an image, prepares it, runs the spiking
network and the ANN on it, decodes their outputs, compares them and counts what was sent.

    observer = Observer(converted.network(), converted.graph, converted.spec, Selection(conf=0.3))
    for seen in observer.observe(["dog.jpg", "horses.jpg"], T=16, steps=[1, 4], want=["ann"]):
        print(seen.path, seen.steps[4].error, seen.last.operations)

One run to T gives an `Observation` per image with a `StepObservation` for each of `steps` and T.
`observe_ann` runs the ANN alone. The frames of a video, whose state stays in the network, are
followed:

    frames = (read_input(image, frame=n) for n, image in enumerate(video))
    for seen in observer.follow(frames):
        print(seen.frame, seen.cut, seen.last.prediction, seen.last.operations)

Everything that shows, scores or compares whole networks only reads these records.
"""

import math
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from spiking_yolo.data.images import ImageSource, Placement, preprocess, read_image
from spiking_yolo.decode.boxes import Detections, TopClasses, top_classes
from spiking_yolo.decode.selection import Selection
from spiking_yolo.errors import UserError, notice
from spiking_yolo.graph import Graph, forward, own_dtypes, shapes
from spiking_yolo.integer.video import Stream
from spiking_yolo.io.text import Size
from spiking_yolo.models.spec import Spec, check_network
from spiking_yolo.rate.network import Probe
from spiking_yolo.spikes.counting import Counts
from spiking_yolo.spikes.operations import total_macs
from spiking_yolo.spikes.readout import Network, Run, Snapshot

# boxes: predictions, of the steps and, with ann, of the ANN. ann: the ANN's outputs, which errors
# are relative to. maps: spikes by position. layers: events and operations by layer.
Want = Literal["boxes", "ann", "maps", "layers"]
Wants = Collection[Want]
Prediction = Detections | TopClasses
Forward = Callable[[Tensor], tuple[Tensor, ...]]
# The networks of so many shapes are kept.
KEPT = 8


@dataclass(frozen=True, eq=False)
class Input:
    """An image, ready for a network.

    Attributes:
        x: Uint8 [C, h, w], or floats as the ANN takes them; empty until it is prepared.
        placement: Where the image lies in `x`.
        image: The image, uint8 [H, W, 3] RGB.
        path: Its file; None if it was given as pixels.
        frame: Its number in a video, from 0.
        time: Its time in the video, in seconds.
        anew: Whether the camera was opened again just before it.
        seconds: Reading and preparing it took so long.
    """

    x: Tensor = field(default_factory=lambda: torch.empty(0))
    placement: Placement | None = None
    image: np.ndarray | None = None
    path: str | None = None
    frame: int | None = None
    time: float = 0.0
    anew: bool = False
    seconds: float = 0.0

    def prepared(self, spec: Spec) -> "Input":
        """Return the image ready for a network."""
        if self.image is None or self.placement is not None:
            return self
        start = time.perf_counter()
        x, placement = preprocess(self.image, spec)
        seconds = self.seconds + time.perf_counter() - start
        return replace(self, x=x, placement=placement, seconds=seconds)


def read_input(source: ImageSource, bgr: bool = False, frame: int | None = None) -> Input:
    """Read an image, which an Observer prepares for its network. bgr: arrays have the channel order
    of OpenCV.
    """
    start = time.perf_counter()
    image = read_image(source, bgr)
    path = os.fspath(source) if isinstance(source, str | os.PathLike) else None
    seconds = time.perf_counter() - start
    return Input(image=image, path=path, frame=frame, seconds=seconds)


class Shapes:
    """The shapes at which a network sees images: each at its own, see Spec.of_shape, or all at that
    of the Spec.

    Args:
        graph: The ANN.
        spec: Its interface.
        make: Makes the network of a Spec. The last KEPT are kept.
        own: Whether images have their own shape, as far as the graph takes it.
    """

    def __init__(self, graph: Graph, spec: Spec, make: Callable[[Spec], Network], own: bool = True):
        self._graph, self._spec, self._make, self._own = graph, spec, make, own
        # (width, height) of an image -> the interface for it.
        self._specs: dict[tuple[int, int], Spec] = {}
        self._networks: dict[Spec, Network] = {}

    def of(self, network: Network) -> "Shapes":
        """Return a copy with one network, a simulator, which takes images of every shape."""
        shapes = copy(self)
        shapes._make, shapes._networks = lambda _: network, {}
        return shapes

    def __getstate__(self) -> dict[str, Any]:
        """Leave the networks out of a pickle, which makes them anew."""
        return {**self.__dict__, "_networks": {}}

    def spec(self, width: int, height: int) -> Spec:
        """The interface for images of this size."""
        if (width, height) not in self._specs:
            wanted = self._spec.of_shape(width, height) if self._own else self._spec
            if wanted not in self._specs.values():
                try:
                    check_network(self._graph, wanted)
                except UserError:
                    wanted = self._spec
            self._specs[width, height] = wanted
        return self._specs[width, height]

    def network(self, spec: Spec) -> Network:
        """The network of this interface."""
        if spec not in self._networks:
            last = list(self._networks.items())[1 - KEPT :]
            self._networks = {**dict(last), spec: self._make(spec)}
        return self._networks[spec]


@dataclass(frozen=True)
class Seconds:
    """Wall time of one image, a batch divided evenly among its images.

    Attributes:
        read: Reading and preparing the image.
        network: The spiking network.
        decode: Decoding its outputs at all steps.
        ann: The forward pass of the ANN.
        ann_decode: Decoding its outputs.
    """

    read: float
    network: float
    decode: float
    ann: float
    ann_decode: float


@dataclass(frozen=True, eq=False)
class StepObservation:
    """The spiking network after t steps with an image.

    Attributes:
        t: Timesteps simulated so far.
        prediction: Boxes or classes, None unless wanted.
        outputs: Head tensors [1, ...] in the units of the ANN, on the CPU.
        spikes: Spikes so far by layer; a burst of n counts n.
        sent: Events that the neurons have sent so far, by counting: "spikes", "digits" and
            "messages".
        pooled: Events that max poolings have sent: those of neurons, merged.
        encoded: Events of the image, which encoding.input=poisson makes spikes.
        operations: Synaptic operations so far, by counting.
        updates: Neurons updated, summed over the steps.
        active_steps: Steps until nothing was sent any more: the last one in which a neuron sent
            something, with those of a preparation; in rate coding all.
        maps: Spikes so far by layer and position, the mean over its neurons, [h, w].
        sent_by_layer: Events so far by sender and counting.
        products: Operations so far in products of attention, by counting; empty without attention.
        operations_by_layer: Operations so far by layer and counting.
        error: Relative error of the outputs against the ANN's; nan unless those are wanted.
    """

    t: int
    prediction: Prediction | None
    outputs: tuple[Tensor, ...]
    spikes: dict[str, float]
    sent: dict[str, float]
    pooled: dict[str, float]
    encoded: dict[str, float]
    operations: dict[str, float]
    updates: float
    active_steps: int
    products: dict[str, float] = field(default_factory=dict)
    maps: dict[str, Tensor] = field(default_factory=dict)
    sent_by_layer: dict[str, dict[str, float]] = field(default_factory=dict)
    operations_by_layer: dict[str, dict[str, float]] = field(default_factory=dict)
    error: float = math.nan

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "StepObservation":
        """See Observation.from_json."""
        return cls(**{**content, "prediction": _prediction(content["prediction"])})

    @property
    def boxes(self) -> Detections:
        """The prediction of a detector."""
        assert isinstance(self.prediction, Detections)
        return self.prediction

    @property
    def total_spikes(self) -> float:
        return sum(self.spikes.values(), 0.0)

    @property
    def rates(self) -> dict[str, Tensor]:
        """Spikes per neuron and timestep by layer and position, [h, w]; see `mean_rate`."""
        return {layer: spikes / self.active_steps for layer, spikes in self.maps.items()}

    @property
    def events(self) -> dict[str, float]:
        """All events by counting: those of neurons, max poolings and the image."""
        return {name: n + self.pooled[name] + self.encoded[name] for name, n in self.sent.items()}


# The record of the ANN, which takes no step and sends nothing.
NOTHING = StepObservation(0, None, (), {}, {}, {}, {}, {}, 0.0, 0)


@dataclass(frozen=True, eq=False)
class Observation:
    """The record of one image, or of one frame of a video.

    Attributes:
        input: The image as it was read, and where it lies in what the network saw.
        T: Timesteps; 0 if the ANN alone has run.
        size: Height and width of what the network saw.
        steps: t -> StepObservation, for the requested steps and T.
        ann: Boxes or classes of the ANN, None unless wanted.
        ann_outputs: Head tensors [1, ...] of the ANN, on the CPU; empty unless wanted.
        quantised: Boxes or classes of the ANN in 8 bits, None unless wanted.
        neurons_by_layer: Neurons of each layer; of an ON/OFF pair both count.
        macs: Multiply-accumulates of one ANN pass.
        analogue_macs: Multiply-accumulates of layers that receive analogue values.
        settled: The step after which nothing changes any more; None if that is not certain.
        seconds: What took how long.
        fresh: Whether the network's state started anew for this frame.
        cut: Whether this frame shows another scene.
        potential_bytes: See Run.
    """

    input: Input
    T: int
    size: Size
    steps: dict[int, StepObservation]
    seconds: Seconds
    ann: Prediction | None = None
    ann_outputs: tuple[Tensor, ...] = ()
    quantised: Prediction | None = None
    neurons_by_layer: dict[str, int] = field(default_factory=dict)
    macs: int = 0
    analogue_macs: int = 0
    settled: int | None = None
    fresh: bool = True
    cut: bool = False
    potential_bytes: int = 4

    @property
    def last(self) -> StepObservation:
        """The network after T steps; of the ANN alone NOTHING."""
        return self.steps.get(self.T, NOTHING)

    @property
    def neurons(self) -> int:
        return sum(self.neurons_by_layer.values())

    @property
    def ann_boxes(self) -> Detections:
        """The ANN's prediction, of a detector."""
        assert isinstance(self.ann, Detections)
        return self.ann

    def mean_rate(self, t: int) -> float:
        """See the function `mean_rate`, over all layers and t steps."""
        step = self.steps[t]
        return mean_rate(step.total_spikes, self.neurons, step.active_steps)

    def of_ann(self) -> "Observation":
        """Return the record of the ANN: its prediction, and the time that it took."""
        seconds = replace(self.seconds, network=self.seconds.ann, decode=self.seconds.ann_decode)
        return replace(self, T=0, steps={}, seconds=seconds)

    def record(self) -> "Observation":
        """Return the record without pixels and outputs, as logs and tables need it."""
        image = Input(torch.empty(0), path=self.input.path, frame=self.input.frame)
        steps = {t: replace(step, outputs=(), maps={}) for t, step in self.steps.items()}
        return replace(self, input=image, steps=steps, ann_outputs=())

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Observation":
        """A record that was written as JSON, see log.py.

        Raises:
            KeyError, TypeError, ValueError: It is damaged.
        """
        image = Input(**{**content["input"], "x": torch.empty(0)})
        steps = {int(t): StepObservation.from_json(one) for t, one in content["steps"].items()}
        size = tuple(content["size"])
        typed: dict[str, Any] = {"input": image, "size": size, "steps": steps}
        typed["quantised"] = _prediction(content["quantised"])
        seconds, ann = Seconds(**content["seconds"]), _prediction(content["ann"])
        return cls(**{**content, **typed, "seconds": seconds, "ann": ann, "ann_outputs": ()})


def _prediction(content: dict[str, Any] | None) -> Any:
    """Boxes or classes, as JSON has them."""
    if content is None:
        return None
    confidence = torch.tensor(content["confidence"], dtype=torch.float32)
    class_id = torch.tensor(content["class_id"], dtype=torch.int64)
    if "xyxy" not in content:
        return TopClasses(class_id, confidence)
    xyxy = torch.from_numpy(np.array(content["xyxy"], np.float32).reshape(-1, 4))
    return Detections(xyxy, confidence, class_id)


@dataclass(frozen=True, eq=False)
class Observer:
    """A spiking network beside the ANN that it was converted from.

    Args:
        networks: The spiking network, or those of several shapes.
        graph: The ANN, on the device of the network.
        spec: How images enter, and what outputs mean.
        selection: Which boxes of a detector count.
        quantised: The ANN in 8 bits, if its predictions are wanted.
    """

    networks: Network | Shapes
    graph: Graph
    spec: Spec
    selection: Selection = field(default_factory=Selection)
    quantised: Forward | None = None

    @property
    def network(self) -> Network:
        """The spiking network for images of the Spec's size."""
        if isinstance(self.networks, Shapes):
            return self.networks.network(self.spec)
        return self.networks

    def at(self, image: Input) -> "Observer":
        """The observer of images of the same shape as this one, which may be unprepared."""
        if not isinstance(self.networks, Shapes) or image.image is None:
            return self
        height, width = image.image.shape[:2]
        spec = self.networks.spec(width, height)
        if image.placement is not None and image.placement.network != (spec.width, spec.height):
            width, height = image.placement.network
            spec = replace(spec, height=height, width=width)
        return replace(self, spec=spec)

    def observe(
        self,
        images: Iterable[ImageSource | Input],
        T: int,
        steps: Iterable[int] = (),
        *,
        want: Wants = ("boxes",),
        batch: int = 1,
        progress: Callable[[int], Any] | None = None,
        probes: Sequence[Probe] = (),
    ) -> Iterator[Observation]:
        """Observe images, each as if nothing had been seen before it.

        Args:
            images: Files, PIL images or RGB arrays, read on use; or Inputs that are read already.
            T: Timesteps.
            steps: Timesteps in 1..T to observe besides T.
            want: What to find out; see Want. Events and operations are always counted.
            batch: Images that are simulated together.
            progress: Called with t after every timestep.
            probes: See SpikingNetwork.

        Yields:
            One Observation per image, in order.

        Raises:
            UserError: An image cannot be read, or steps lie outside of 1..T.
        """
        steps, maps = tuple(steps), "maps" in want or "layers" in want
        left = iter(images)
        while chunk := list(islice(left, batch)):
            for _, alike in groupby(list(map(self._read, chunk)), lambda one: one.x.shape):
                batch_of_shape = list(alike)
                observer = self.at(batch_of_shape[0])
                x = observer._stack(batch_of_shape)
                start = time.perf_counter()
                options: Any = {"probes": probes, "progress": progress, "maps": maps}
                run = observer.network.run(x, T, steps, **options)
                yield from observer._observations(batch_of_shape, x, run, T, want, start)

    def observe_ann(self, image: ImageSource | Input) -> Observation:
        """Run the ANN alone on an image. Raises UserError if it cannot be read."""
        inputs = [self._read(image)]
        observer = self.at(inputs[0])
        sizes = shapes(self.graph, observer.spec.height, observer.spec.width)
        senders = [node.name for node in self.graph.activations]
        run = Run({}, {}, 0, *total_macs(self.graph, sizes, senders))
        x, want = observer._stack(inputs), set[Want](("boxes", "ann"))
        (seen,) = observer._observations(inputs, x, run, 0, want, time.perf_counter())
        return seen

    def follow(
        self,
        frames: Iterable[ImageSource | Input],
        T: int = 1,
        steps: Sequence[int] = (),
        *,
        lossless: bool = False,
        want: Wants = ("boxes",),
    ) -> Iterator[Observation]:
        """Observe the frames of one video by a Stream, which keeps its state; costs are per frame.

        Where frames have another size than those before, and where a camera was opened again, the
        state starts anew; of sizes a Notice says so.

        Args:
            frames: The frames, in any form that `observe` takes.
            T: Timesteps per frame.
            steps: Timesteps in 1..T to observe besides T.
            lossless: See Stream.
            want: See `observe`.

        Raises:
            UserError: See `observe`; or lossless, and the method keeps no state.
        """
        sizes: list[tuple[int, int]] = []
        stream: Stream | None = None
        for frame in frames:
            inputs = [self._read(frame)]
            observer = self.at(inputs[0])
            if stream is None:
                stream = Stream(observer.network, T, lossless)
            stream.network = observer.network
            x, placed = observer._stack(inputs), inputs[0].placement
            resized = bool(sizes and placed and placed.image != sizes[-1])
            if placed is not None and (resized or not sizes):
                sizes.append(placed.image)
            anew = resized or inputs[0].anew
            if anew:
                stream.reset()
            if resized and len(sizes) == 2:
                text = "frames of {}x{} pixels follow those of {}x{}".format(*sizes[1], *sizes[0])
                notice(f"{text}: a video starts anew whenever their size changes")
            start = time.perf_counter()
            run = stream(x, steps=steps, maps="maps" in want or "layers" in want)
            run = replace(run, cut=run.cut or anew)
            yield from observer._observations(inputs, x, run, T, want, start)

    def predict(
        self, outputs: Sequence[Tensor], placements: Sequence[Placement]
    ) -> Sequence[Prediction]:
        """Boxes or classes of each image of a batch off the head tensors [N, ...]."""
        if self.spec.task == "classify":
            return top_classes(outputs[0])
        return self.selection.boxes(outputs, self.spec, placements)

    @own_dtypes()
    def _read(self, image: ImageSource | Input) -> Input:
        if not isinstance(image, Input):
            image = read_input(image)
        return image.prepared(self.at(image).spec)

    def _stack(self, inputs: Sequence[Input]) -> Tensor:
        like = next(iter(self.graph.tensors.values()))
        if len(inputs) == 1:
            return inputs[0].x[None].to(like.device)
        # In memory the channels come last.
        return torch.stack([one.x.movedim(0, -1) for one in inputs]).movedim(-1, 1).to(like.device)

    @own_dtypes()
    @torch.no_grad()
    def _observations(
        self, inputs: Sequence[Input], x: Tensor, run: Run, T: int, want: Wants, start: float
    ) -> list[Observation]:
        """The records of a batch x whose run began at `start`."""
        n = len(inputs)
        placements = [one.placement for one in inputs if one.placement is not None]

        def predict(heads: Sequence[Tensor]) -> Sequence[Any]:
            if "boxes" not in want or not heads:
                return [None] * n
            return self.predict(heads, placements)

        outputs = _each_once(_on_cpu, {t: one.outputs for t, one in run.snapshots.items()})
        simulated = time.perf_counter()
        predictions = _each_once(predict, outputs)
        decoded = time.perf_counter()
        ann_outputs: tuple[Tensor, ...] = ()
        if "ann" in want or self.quantised is not None:
            x = self.spec.normalised(x)
        if "ann" in want:
            ann_outputs = _on_cpu(forward(self.graph, x))
            for name, output in zip(self.graph.outputs, ann_outputs, strict=True):
                if not output.isfinite().all():
                    problem = "has values that are not finite"
                    raise UserError(f"output {name!r} {problem}: give other weights")
        passed = time.perf_counter()
        ann = predict(ann_outputs)
        read_ann = time.perf_counter()
        spent = (simulated - start, decoded - simulated, passed - decoded, read_ann - passed)
        quantised = predict(() if self.quantised is None else _on_cpu(self.quantised(x)))
        observations: list[Observation] = []
        for k, image in enumerate(inputs):
            expected = _of_image(ann_outputs, k)
            steps: dict[int, StepObservation] = {}
            for t, snapshot in run.snapshots.items():
                own = _of_image(outputs[t], k)
                error = relative_error(own, expected) if expected else math.nan
                named = {"outputs": own, "prediction": predictions[t][k], "error": error}
                steps[t] = _step(snapshot, k, "layers" in want, **named)
            seen = Observation(
                input=image,
                T=T,
                size=(self.spec.height, self.spec.width),
                steps=steps,
                seconds=Seconds(image.seconds, *(seconds / n for seconds in spent)),
                ann=ann[k],
                ann_outputs=expected,
                quantised=quantised[k],
                neurons_by_layer=run.neurons,
                macs=run.macs,
                analogue_macs=run.analogue_macs,
                settled=run.settled,
                fresh=run.fresh,
                cut=run.cut,
                potential_bytes=run.potential_bytes,
            )
            observations.append(seen)
        return observations


def _step(snapshot: Snapshot, k: int, layers: bool, **known: Any) -> StepObservation:
    """Image k of a batch, with what is known of it besides."""
    values: dict[str, Any] = {}
    for name, value in vars(snapshot).items():
        if name == "maps":
            values[name] = {layer: spikes[k].cpu() for layer, spikes in value.items()}
        elif name not in known and (layers or not name.endswith("_by_layer")):
            values[name] = _plain(value() if callable(value) else value, k)
    return StepObservation(**values, **known)


def _plain(value: Any, k: int) -> Any:
    """Return a value of a snapshot for image k of a batch, as numbers."""
    if isinstance(value, Counts):
        return value.of_image(k)
    if isinstance(value, dict):
        return {name: _plain(one, k) for name, one in value.items()}
    return value[k].item() if isinstance(value, Tensor) else value


def _each_once(f: Callable[[Any], Any], values: Mapping[int, Any]) -> dict[int, Any]:
    """Apply f to the value of each timestep, once to a value that is repeated because the network
    has settled.
    """
    results: dict[int, Any] = {}
    before = result = None
    for t, value in values.items():
        if value is not before:
            before, result = value, f(value)
        results[t] = result
    return results


def _on_cpu(outputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(output.cpu() for output in outputs)


def _of_image(outputs: Sequence[Tensor], k: int) -> tuple[Tensor, ...]:
    return tuple(output[k : k + 1] for output in outputs)


def mean_rate(spikes: float, neurons: int, active_steps: int) -> float:
    """Spikes per neuron and timestep, the firing rate of tables, files and pictures.

    Steps in which nothing travels any more, since a network has settled, do not count, so that it
    does not depend on how long one waits: see StepObservation.active_steps. Both neurons of a pair
    count.
    """
    return spikes / max(neurons * active_steps, 1)


def relative_error(outputs: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Norm of the difference over the norm of what was expected, over all outputs."""
    difference = total = 0.0
    for output, exact in zip(outputs, expected, strict=True):
        difference += float((output - exact).double().square().sum())
        total += float(exact.double().square().sum())
    return (difference / max(total, 1e-300)) ** 0.5
