"""The runtimes that people use: which of them runs what, each as a function of one image.

What they run comes from the network of the options, or from the files that `write_files` leaves.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from spiking_yolo.apps.benchmark import BenchmarkOptions
from spiking_yolo.apps.benchmark.cases import Case, photograph_paths, photographs
from spiking_yolo.errors import UserError, require
from spiking_yolo.graph import forward
from spiking_yolo.models.load import Ann
from spiking_yolo.options import load_ann
from spiking_yolo.snn.network import SpikingNetwork
from spiking_yolo.snn.plan import SimulationOptions, missing
from spiking_yolo.snn.stream import Stream

ANN_FILE = "ann.onnx"
SPIKING_FILE = "spiking.onnx"
COUNTED_FILE = "spiking-counted.onnx"
PHOTOGRAPHS_FILE = "photographs.npy"
# Photographs that int8 models are calibrated on, at most.
CALIBRATION = 100
# The modules of the extra onnx.
ONNX = ("onnx", "onnxscript", "onnxruntime")

# Images [1, 3, H, W] -> the heads.
Run = Callable[[np.ndarray], Sequence[np.ndarray]]


@dataclass(frozen=True)
class Job:
    """What a runtime loads: the network of the options, or files of the folder."""

    options: BenchmarkOptions
    folder: Path
    threads: int


@dataclass(frozen=True)
class Runtime:
    """A network and what runs it.

    Attributes:
        load: Gets it ready to run; raises UserError where this machine lacks something.
        precision: Of the arithmetic.
        spiking: Whether it is the spiking network, and not the ANN.
        needs: Modules that are no dependencies of this package.
    """

    load: Callable[[Job], Run]
    precision: Literal["float32", "int8"] = "float32"
    spiking: bool = False
    needs: tuple[str, ...] = ()

    def absent(self) -> str:
        """What has to be installed; empty when nothing."""
        modules = [name for name in self.needs if find_spec(name) is None]
        if not modules:
            return ""
        return f"not installed: pip install {' '.join(modules)}"


def write_files(job: Job, ann: Ann) -> int:
    """The ANN and the default's spiking network as ONNX models, and photographs to calibrate on.

    Returns:
        How many photographs.
    """
    import onnx

    from spiking_yolo.onnx.model import ann_model, spiking_model

    # Photographs come normalised.
    spec = replace(ann.spec, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    onnx.save(ann_model(ann.graph, spec), job.folder / ANN_FILE)
    converted = Case("default").convert(ann)
    onnx.save(spiking_model(converted, normalised=True), job.folder / SPIKING_FILE)
    counted = spiking_model(converted, counts="totals", normalised=True)
    onnx.save(counted, job.folder / COUNTED_FILE)
    n = min(len(photograph_paths(job.options)), CALIBRATION)
    images = photographs(job.options, ann.spec, n).cpu().numpy()
    np.save(job.folder / PHOTOGRAPHS_FILE, images)
    return n


def _torch_run(network: Callable[[Tensor], Sequence[Tensor]]) -> Run:
    @torch.no_grad()
    def run(images: np.ndarray) -> list[np.ndarray]:
        return [output.numpy() for output in network(torch.from_numpy(images))]

    return run


def pytorch(job: Job) -> Run:
    """PyTorch without its compiler."""
    return _torch_run(partial(forward, load_ann(job.options).graph))


@torch.no_grad()
def pytorch_compiled(job: Job) -> Run:
    """torch.compile with the weights as constants, which it then lays out for oneDNN."""
    from torch.fx.experimental.proxy_tensor import make_fx

    if reason := missing():
        raise UserError(reason)
    ann = load_ann(job.options)
    traced = make_fx(partial(forward, ann.graph))(torch.zeros(1, 3, *ann.imgsz))
    return _torch_run(torch.compile(traced, options={"freezing": True}))


def _network(job: Job, compiled: bool = False) -> SpikingNetwork:
    converted = Case("default").convert(load_ann(job.options))
    return converted.network(simulation=SimulationOptions(compiled=compiled))


def simulator(job: Job, compiled: bool = False) -> Run:
    """The default at T = 1, from the image to the heads and the three counts."""
    if compiled and (reason := missing()):
        raise UserError(reason)
    network = _network(job, compiled)
    return _torch_run(lambda x: network(x, 1).snapshots[1].outputs)


def event_driven(job: Job) -> Run:
    """The default at T = 1 for the frames of one video, which have to come in order."""
    stream = Stream(_network(job))
    return _torch_run(lambda x: stream(x).run.snapshots[1].outputs)


def onnxruntime(job: Job, file: str) -> Run:
    """A model of the folder in onnxruntime."""
    ort = require("onnxruntime", "onnx")
    options = ort.SessionOptions()
    options.intra_op_num_threads = job.threads
    # Threads that wait by spinning slow whatever runs next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    path = str(job.folder / file)
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    heads = [k for k, name in enumerate(names) if name.startswith(("head_", "logits"))]

    def run(images: np.ndarray) -> list[np.ndarray]:
        outputs = session.run(None, {"images": images})
        return [outputs[k] for k in heads]

    return run


def onnxruntime_int8(job: Job) -> Run:
    """The ANN in onnxruntime with 8-bit weights per channel and static 8-bit activations."""
    quantization = require("onnxruntime.quantization", "onnx")
    plain = job.folder / "ann-plain.onnx"
    quantised = "ann-int8.onnx"
    quantization.quant_pre_process(job.folder / ANN_FILE, plain, skip_symbolic_shape=True)
    quantization.quantize_static(
        plain,
        job.folder / quantised,
        _Calibration(np.load(job.folder / PHOTOGRAPHS_FILE)),
        # Equally fast and accurate as QOperator, and recommended.
        quant_format=quantization.QuantFormat.QDQ,
        nodes_to_exclude=_padding(plain),
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    return onnxruntime(job, quantised)


class _Calibration:
    """Hands photographs to onnxruntime's calibration, as its CalibrationDataReader does."""

    def __init__(self, images: np.ndarray):
        self._images = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._images, None)
        return None if image is None else {"images": image[None]}


def _padding(path: Path) -> list[str]:
    """Nodes that pad for max pooling, and the pooling: -inf has no place in 8 bits."""
    nodes = require("onnx", "onnx").load(path).graph.node
    padded = {name for node in nodes if node.op_type == "Pad" for name in node.output}
    return [node.name for node in nodes if padded & {*node.input, *node.output}]


def openvino(job: Job) -> Run:
    """The ANN in OpenVINO."""
    return _openvino_run(job, _openvino_ann(job))


def openvino_int8(job: Job) -> Run:
    """The ANN in OpenVINO after NNCF's post-training quantisation."""
    # Its telemetry leaves the machine otherwise.
    os.environ["NNCF_CI"] = "1"
    import nncf  # pyright: ignore

    photographs = np.load(job.folder / PHOTOGRAPHS_FILE)
    dataset = nncf.Dataset([image[None] for image in photographs])
    model = nncf.quantize(_openvino_ann(job), dataset, subset_size=len(photographs))
    return _openvino_run(job, model)


def _openvino_ann(job: Job) -> Any:
    from openvino import Core  # pyright: ignore

    return Core().read_model(job.folder / ANN_FILE)


def _openvino_run(job: Job, model: Any) -> Run:
    from openvino import Core  # pyright: ignore

    # Of what is not quantised: it would take bfloat16 where the processor has it.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": job.threads}
    compiled = Core().compile_model(model, "CPU", {**settings, "PERFORMANCE_HINT": "LATENCY"})

    def run(images: np.ndarray) -> list[np.ndarray]:
        return list(compiled(images).values())

    return run


# What goals are stated against.
BASIS = "ANN, onnxruntime"
RUNTIMES: dict[str, Runtime] = {
    "ANN, PyTorch": Runtime(pytorch),
    "ANN, PyTorch compiled": Runtime(pytorch_compiled),
    BASIS: Runtime(partial(onnxruntime, file=ANN_FILE)),
    "ANN, OpenVINO": Runtime(openvino, needs=("openvino",)),
    "ANN, onnxruntime int8": Runtime(onnxruntime_int8, "int8"),
    "ANN, OpenVINO int8": Runtime(openvino_int8, "int8", needs=("openvino", "nncf")),
    "spiking, simulator": Runtime(simulator, spiking=True),
    "spiking, simulator compiled": Runtime(partial(simulator, compiled=True), spiking=True),
    "spiking, onnxruntime": Runtime(partial(onnxruntime, file=COUNTED_FILE), spiking=True),
    "spiking, onnxruntime, not counted": Runtime(
        partial(onnxruntime, file=SPIKING_FILE), spiking=True
    ),
}
