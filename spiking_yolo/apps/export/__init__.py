"""Convert a network and write it to one file: safetensors, ONNX, or NIR (the Neuromorphic
Intermediate Representation), by the suffix of --output.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from spiking_yolo.errors import UserError, require
from spiking_yolo.io.files import atomic_write
from spiking_yolo.options import DetectionOptions, MethodOptions

if TYPE_CHECKING:
    from spiking_yolo.convert.load import Converted


@dataclass(frozen=True, kw_only=True)
class ExportOptions(MethodOptions, DetectionOptions):
    """The network, and where its file goes."""

    output: Annotated[Path, Parameter(alias="-o")]
    """File to write, ending in .safetensors, .onnx, .nir."""
    overwrite: bool = False
    """Replace the file if there is one."""
    ann: bool = False
    """For .onnx: the original network, not the spiking one."""
    stateful: bool = False
    """For .onnx: what each layer has sent goes in and comes out, for frames of a video."""
    boxes: bool = False
    """For .onnx: boxes as --conf and --iou choose them, in place of the heads."""
    counts: bool = False
    """For .onnx: spikes, digits and messages by layer and position, and the operations of all,
    come out too.
    """

    def __post_init__(self) -> None:
        suffix = self.output.suffix
        if suffix not in (".safetensors", ".onnx", ".nir"):
            raise UserError(f"--output {self.output} must end in .safetensors, .onnx or .nir")
        events = self.stateful or self.counts
        if suffix != ".onnx" and (self.ann or self.boxes or events):
            raise UserError(f"--ann, --stateful, --boxes and --counts are for .onnx, not {suffix}")
        if self.ann and events:
            raise UserError("--ann has no states and sends no events: leave the others out")
        if self.output.exists() and not self.overwrite:
            raise UserError(f"{self.output} exists: give another --output, or --overwrite")


def main(options: ExportOptions) -> None:
    """Convert a network and write it to one file: safetensors, ONNX, or NIR (the Neuromorphic
    Intermediate Representation), by the suffix of --output.

    ```
    spiking-yolo export --weights best.pt -o net.safetensors
    spiking-yolo export --weights W -o net.onnx
    spiking-yolo export --weights W --stateful --boxes --counts -o net.onnx
    spiking-yolo export --weights W --method p-norm -o net.nir
    ```

    .safetensors: graph, weights, thresholds, recipe and provenance, all that `detect`, `eval`
    and `analyze` need: they take it as --weights. Loading it executes no code.

    .onnx: for onnxruntime, OpenVINO, browsers: standard operators, images as RGB / 255 [batch, 3,
    H, W]; the default method in one step, which with --stateful takes the frames of a video one
    after the other. Needs the extra "onnx".

    .nir: for simulators and neuromorphic chips, of networks with ReLU, average pooling, strides and
    additions, by methods with IF neurons of one spike per step (p-norm, channel-norm, rmp,
    spike-norm). Spikes are ones; the file's metadata say how the input is presented and what a
    timestep is. Needs the extra "export".
    """
    if options.output.suffix == ".onnx":
        what = write_onnx(options)
    elif options.output.suffix == ".nir":
        nir = require("nir", "export")
        from spiking_yolo.apps.export.nir_graph import to_nir

        converted = options.convert()
        graph = to_nir(converted)
        with atomic_write(options.output) as temporary:
            nir.write(temporary, graph)
        what = f"{_described(converted)}, {len(graph.nodes)} nodes"
    else:
        converted = options.convert()
        converted.save(options.output)
        what = _described(converted)
    print(f"{what}: saved to {options.output}")


def write_onnx(options: ExportOptions) -> str:
    """Write an ONNX model, see onnx.model; returns what it holds, in words."""
    onnx = require("onnx", "onnx")
    require("onnxscript", "onnx")
    from spiking_yolo.onnx.model import ann_model, spiking_model

    boxes = options.selection() if options.boxes else None
    if options.ann:
        ann = options.open_ann()
        model = ann_model(ann.graph, ann.spec, boxes=boxes)
        what = "the original network"
    else:
        # A stream takes a calibration for video where there is one.
        converted = options.convert(video=options.stateful)
        model = spiking_model(
            converted, stateful=options.stateful, boxes=boxes, counts=options.counts
        )
        what = _described(converted)
    with atomic_write(options.output) as temporary:
        onnx.save(model, temporary)
    return f"{what}, {len(model.graph.node)} nodes"


def _described(converted: "Converted") -> str:
    return f"{len(converted.graph.activations)} layers of neurons, method {converted.recipe.label}"
