"""Write a converted network for other tools: NIR, the Neuromorphic Intermediate Representation,
JSON or safetensors.

    spiking-yolo export --weights W --method p-norm --format nir -o net.nir
    spiking-yolo export --weights W --method p-norm --format nir --explain
    spiking-yolo export --weights W --format json -o net.json
    spiking-yolo export --weights W --format safetensors -o net.safetensors

nir: for simulators and neuromorphic chips, of networks with (leaky) ReLU, average pooling, strides,
additions and concatenations, by methods with IF neurons of one spike per step (p-norm,
channel-norm, rmp, opt, fixed-fraction, spike-norm). Spikes are ones; the file's metadata say how
the input is presented and what a timestep is. Needs the extra "export". --explain lists the nodes
that NIR cannot express. json: graph, shapes, thresholds and provenance, to read. safetensors: the
file of `spiking-yolo convert`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spiking_yolo.errors import UserError
from spiking_yolo.options import MethodOptions
from spiking_yolo.settings import setting


@dataclass(frozen=True, kw_only=True)
class ExportOptions(MethodOptions):
    """The network, the format, and where the file goes."""

    title = "options"

    format: Literal["nir", "json", "safetensors"] = setting(doc="of the file")
    output: Path | None = setting(None, "file to write, ending in the format's name")
    explain: bool = setting(
        False, "list every node that NIR cannot express, with the way out, and write nothing"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.explain and self.format != "nir":
            raise UserError(f"--explain is for --format nir: {self.format} takes every network")
        if self.output:
            check_suffix(self.output, self.format)
        elif not self.explain:
            raise UserError(f"--output is missing: give a file that ends in .{self.format}")


def check_suffix(path: Path, suffix: str) -> None:
    if path.suffix != f".{suffix}":
        raise UserError(f"--output must end in .{suffix}, not {path.name}")


def main(options: ExportOptions) -> None:
    from spiking_yolo.apps.export.write import explain, export

    if options.explain:
        print(explain(options))
    else:
        print(f"{export(options).text()}: saved to {options.output}")
