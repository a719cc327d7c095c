"""The ANN as others run it: in PyTorch or onnxruntime, in float32 or 8 bits; and with its
activations and weights rounded to 8 bits, whose boxes are scored beside the spiking network's.

Uniform affine quantisation of activations (Jacob et al. 2018) with one range per channel, which
folds into the next layer's weights just as a spike's value does. The range is that of the least
squared error (Li et al. 2021). One range per layer makes a weaker baseline: Tiny-YOLOv3 then has an
mAP50 of 40.4 to 40.6 on 126 COCO train2017 photographs, instead of 42.1 to 42.4 (ANN 42.6).
"""

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiking_yolo.convert.learn.statistics import Histogram, Statistics
from spiking_yolo.convert.load import Converted
from spiking_yolo.convert.thresholds import mmse
from spiking_yolo.data.images import preprocess, read_image
from spiking_yolo.errors import UserError, require
from spiking_yolo.graph import Activation, Graph, Node, forward
from spiking_yolo.integer.parameters import BITS
from spiking_yolo.io.files import samples_folder
from spiking_yolo.io.text import Size
from spiking_yolo.models.spec import Spec
from spiking_yolo.observe import Forward
from spiking_yolo.spikes.layout import per_channel, rounded_weights

# A function of an image, normalised.
Reference = Callable[[Tensor], Any]


def baseline_of(converted: Converted, name: str, device: torch.device) -> Reference:
    """A forward pass of the ANN. Raises UserError if what runs it is not installed."""
    if name != "pytorch":
        return onnxruntime(converted, int8=name == "onnxruntime-int8")
    graph = converted.graph.to(device)

    @torch.no_grad()
    def run(x: Tensor) -> Any:
        return forward(graph, x)

    return run


def onnxruntime(converted: Converted, int8: bool = False) -> Reference:
    """The ANN in onnxruntime. int8: see `quantize`."""
    ort = require("onnxruntime", "onnx")
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that wait by spinning slow whatever runs next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with TemporaryDirectory() as folder:
        path = write_ann(converted, Path(folder))
        if int8:
            path = quantize(path, photographs(converted.spec))
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"images": x.cpu().numpy()})


class EightBits:
    """The time of the ANN in onnxruntime in 8 bits, by the clock.

    Frames are timed in turn with the spiking network, so that a machine that becomes faster or
    slower favours neither.

    Args:
        converted: The network; its ANN is timed.
    """

    def __init__(self, converted: Converted):
        self._converted = converted
        self._runs: dict[Size, Reference] = {}
        self._spent: dict[Size, list[float]] = {}

    def beside(self, ann: Forward) -> Forward:
        """The ANN as it is, whose images are timed as well where onnxruntime is installed."""

        def run(x: Tensor) -> tuple[Tensor, ...]:
            with suppress(UserError):
                self.time(x)
            return ann(x)

        return run

    def time(self, x: Tensor) -> None:
        """Time an image, [1, 3, H, W], as the ANN takes it. Raises UserError if that cannot be."""
        size = x.shape[2], x.shape[3]
        if size not in self._runs:
            spec = replace(self._converted.spec, height=size[0], width=size[1])
            self._runs[size] = onnxruntime(replace(self._converted, spec=spec), int8=True)
            self._runs[size](x)
        start = time.perf_counter()
        self._runs[size](x)
        self._spent.setdefault(size, []).append(time.perf_counter() - start)

    def seconds(self, height: int, width: int) -> float:
        """The median for images of this size; nan where none was timed."""
        return median(self._spent.get((height, width), [math.nan]))


def quantize(path: Path, images: list[np.ndarray]) -> Path:
    """A model in 8 bits, beside that of float32: static, per channel, as onnxruntime advises.

    images: The images from which the ranges are taken.
    """
    onnx, q = require("onnx", "onnx"), require("onnxruntime.quantization", "onnx")
    shapes = require("onnxruntime.quantization.shape_inference", "onnx")
    prepared, result = path.with_name("prepared.onnx"), path.with_name("int8.onnx")
    shapes.quant_pre_process(path, prepared, skip_symbolic_shape=True)
    # The padding of a max pooling is -inf, which has no scale.
    nodes = onnx.load(prepared).graph.node
    padded = {name for node in nodes if node.op_type == "Pad" for name in node.output}
    excluded = [n.name for n in nodes if padded & {*n.input, *n.output}]

    inputs = iter([{"images": x} for x in images])
    reader = type("Reader", (q.CalibrationDataReader,), {"get_next": lambda _: next(inputs, None)})
    # Sums of two products must fit 16 bits where there are no instructions for 8 bits.
    processor = torch.cpu.get_capabilities()
    adds_four = any(processor.get(name) for name in ("avx512_vnni", "avx_vnni"))
    how = {"per_channel": True, "reduce_range": not adds_four, "nodes_to_exclude": excluded}
    with np.errstate(invalid="ignore"):
        q.quantize_static(prepared, result, reader(), activation_type=q.QuantType.QUInt8, **how)
    return result


def write_ann(converted: Converted, folder: Path) -> Path:
    """The ANN as an ONNX model, which takes images normalised."""
    onnx = require("onnx", "onnx")
    require("onnxscript", "onnx")
    from spiking_yolo.onnx.model import ann_model

    spec = replace(converted.spec, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    path = folder / "ann.onnx"
    onnx.save(ann_model(converted.graph, spec), path)
    return path


def photographs(spec: Spec) -> list[np.ndarray]:
    """The sample photographs, normalised, float32 [1, 3, H, W] each."""
    result: list[np.ndarray] = []
    for path in sorted(samples_folder().glob("*.jpg")):
        result.append(spec.normalised(preprocess(read_image(path), spec)[0][None]).numpy())
    return result


# The number of steps between the smallest and the largest value of 8 bits.
LEVELS = 2**BITS - 1


def activation_range(histogram: Histogram, phi: Activation) -> tuple[Tensor, Tensor]:
    """What an activation is clipped to: magnitudes below and above zero, float64 [C] each."""
    above = mmse(histogram, 0, LEVELS, gamma=1, rounds=True, cap=phi.cap)
    below = torch.zeros_like(above)
    if phi.slope or phi.gate:
        below = mmse(histogram, 1, LEVELS, gamma=1, rounds=True)
    above, below = phi.reach(above, below)
    return below, above


def quantise(x: Tensor, below: Tensor, above: Tensor) -> Tensor:
    """The nearest of 256 equally spaced values from about -below to about +above, zero being one
    of them.

    x: [N, C, ...]; below, above: [C]. A channel whose range is empty becomes zero.
    """
    below, above = per_channel(below, x), per_channel(above, x)
    step = (below + above) / LEVELS
    step = torch.where(step > 0, step, torch.inf)
    zero = (below / step).round()
    return (x / step).round().clamp(-zero, LEVELS - zero) * torch.where(step.isinf(), 0.0, step)


def quantised_ann(graph: Graph, statistics: Statistics) -> Forward:
    """The forward pass of the graph with every activation quantised, and weights of 8 bits as a
    chip holds them.
    """
    ranges: dict[str, tuple[Tensor, Tensor]] = {}
    steps: dict[str, Tensor] = {}
    for node in graph.activations:
        below, above = activation_range(statistics.histograms[node.name], node.phi)
        ranges[node.name] = below, above
        steps[node.name] = torch.where(below + above > 0, below + above, 1.0)
    graph = replace(graph, tensors=rounded_weights(graph, steps, BITS))

    def put_on_grid(node: Node, before: Tensor, after: Tensor) -> None:
        # The graph goes on with this tensor.
        after.copy_(quantise(after, *ranges[node.name]))

    return lambda x: forward(graph.to(x.device), x, put_on_grid)
