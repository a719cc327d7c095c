"""One converted network, three formats."""

from dataclasses import dataclass

from spiking_yolo.convert.converted import Converted
from spiking_yolo.errors import UserError, require
from spiking_yolo.io.atomic import atomic_write
from spiking_yolo.studies.export.description import describe
from spiking_yolo.studies.export.expressible import missing, needed
from spiking_yolo.studies.export.nir_graph import to_nir
from spiking_yolo.studies.export.options import ConvertOptions, ExportOptions
from spiking_yolo.studies.export.refusal import listing
from spiking_yolo.studies.options import load


@dataclass(frozen=True)
class Exported:
    """What was written. nodes: of the NIR graph, None in another format."""

    converted: Converted
    nodes: int | None = None

    def text(self) -> str:
        layers = f"{len(self.converted.neurons)} layers of neurons, method {self.converted.recipe.name}"
        return layers if self.nodes is None else f"{layers}, {self.nodes} NIR nodes"


def convert(options: ConvertOptions) -> Exported:
    """Convert, and save one file that needs nothing else."""
    converted = load(options)
    converted.save(options.output)
    return Exported(converted)


def explain(options: ExportOptions) -> str:
    """What NIR cannot express of the network, node by node. Writes nothing."""
    converted, sizes = needed(load(options))
    return listing(missing(converted, sizes), len(converted.graph.nodes), sizes)


def export(options: ExportOptions) -> Exported:
    """Write the network in the format, whole or not at all.

    Raises UserError when NIR cannot express it, when there is no --output, or when the system refuses to write.
    """
    if options.output is None:
        raise UserError("--explain writes nothing: leave it out")
    converted = load(options)
    if options.format == "safetensors":
        converted.save(options.output)
    elif options.format == "json":
        text = describe(converted)
        with atomic_write(options.output) as temporary:
            temporary.write_text(text)
    else:
        nir = require("nir", "export")
        graph = to_nir(converted)
        with atomic_write(options.output) as temporary:
            nir.write(temporary, graph)
        return Exported(converted, len(graph.nodes))
    return Exported(converted)
