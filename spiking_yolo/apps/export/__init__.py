"""A converted network for other tools: Neuromorphic Intermediate Representation, JSON,
safetensors.
"""

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

from spiking_yolo.errors import UserError
from spiking_yolo.options import MethodOptions
from spiking_yolo.settings import setting


@dataclass(frozen=True)
class ConvertOptions(MethodOptions):
    """Which network, and where its file goes."""

    title = "options"

    network: Path | None = setting(None, "the same as --weights")
    _: KW_ONLY
    output: Path = setting(doc="file to write, ending in .safetensors")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_suffix(self.output, "safetensors")
        if self.network and self.weights:
            raise UserError("give the weights once: as the first argument or with --weights")
        object.__setattr__(self, "weights", self.network or self.weights)


@dataclass(frozen=True, kw_only=True)
class ExportOptions(MethodOptions):
    """Which network, in which format, and where its file goes."""

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
