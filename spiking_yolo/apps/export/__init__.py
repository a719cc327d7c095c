"""Write a converted network for other tools: ONNX, NIR (the Neuromorphic Intermediate
Representation), JSON or safetensors.

    spiking-yolo export --weights W --format onnx -o net.onnx
    spiking-yolo export --weights W --format onnx --stateful --boxes --counts totals -o net.onnx
    spiking-yolo export --weights W --method p-norm --format nir -o net.nir
    spiking-yolo export --weights W --method p-norm --format nir --explain
    spiking-yolo export --weights W --format json -o net.json
    spiking-yolo export --weights W --format safetensors -o net.safetensors

onnx: for onnxruntime, OpenVINO, browsers: standard operators, images as RGB / 255 [batch, 3, H, W].
Methods that send complete values (signed-digits, few-spikes) make a graph of one step, which with
--stateful takes the frames of a video one after the other; of rate-coded methods it is one
timestep, with the potentials as states. Needs the extra "onnx".

nir: for simulators and neuromorphic chips, of networks with (leaky) ReLU, average pooling, strides,
additions and concatenations, by methods with IF neurons of one spike per step (p-norm,
channel-norm, rmp, opt, fixed-fraction, spike-norm). Spikes are ones; the file's metadata say how
the input is presented and what a timestep is. Needs the extra "export". --explain lists the nodes
that NIR cannot express.

json: graph, shapes, thresholds and provenance, to read. safetensors: the file of `spiking-yolo
convert`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spiking_yolo.errors import UserError
from spiking_yolo.options import DetectionOptions, MethodOptions
from spiking_yolo.settings import setting


@dataclass(frozen=True, kw_only=True)
class ExportOptions(MethodOptions, DetectionOptions):
    """The network, the format, and where the file goes."""

    title = "options"

    format: Literal["onnx", "nir", "json", "safetensors"] = setting(doc="of the file")
    output: Path | None = setting(None, "file to write, ending in the format's name")
    overwrite: bool = setting(False, "replace the file if there is one")
    ann: bool = setting(False, "for onnx: the original network, not the spiking one")
    stateful: bool = setting(
        False, "for onnx: what each layer has sent goes in and comes out, for the frames of a video"
    )
    boxes: bool = setting(
        False, "for onnx: boxes as --conf and --iou choose them, in place of the heads"
    )
    counts: Literal["none", "totals", "maps"] = setting(
        "none",
        "for onnx: spikes, digits and messages by layer, and the operations of all, come out too;"
        " maps: at each position instead",
    )
    explain: bool = setting(
        False, "list every node that NIR cannot express, with the way out, and write nothing"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.explain and self.format != "nir":
            raise UserError(f"--explain is for --format nir: {self.format} takes every network")
        if self.format != "onnx":
            self._refuse_for_others()
        elif self.ann and (self.stateful or self.counts != "none"):
            raise UserError("--ann has no states and sends no events: leave the others out")
        if self.output:
            check_suffix(self.output, self.format)
            if self.output.exists() and not self.overwrite:
                raise UserError(f"{self.output} exists: give another --output, or --overwrite")
        elif not self.explain:
            raise UserError(f"--output is missing: give a file that ends in .{self.format}")

    def _refuse_for_others(self) -> None:
        chosen = {"ann": self.ann, "stateful": self.stateful, "boxes": self.boxes}
        chosen["counts"] = self.counts != "none"
        for name, value in chosen.items():
            if value:
                raise UserError(f"--{name} is for --format onnx, not {self.format}: leave it out")


def check_suffix(path: Path, suffix: str) -> None:
    if path.suffix != f".{suffix}":
        raise UserError(f"--output must end in .{suffix}, not {path.name}")


def main(options: ExportOptions) -> None:
    from spiking_yolo.apps.export.write import explain, export

    if options.explain:
        print(explain(options))
    else:
        print(f"{export(options).text()}: saved to {options.output}")
