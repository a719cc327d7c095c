"""One converted network, three formats."""

from __future__ import annotations

from pathlib import Path

from spiking_yolo.convert.converted import Converted
from spiking_yolo.io.files import atomic_write
from spiking_yolo.studies.export.description import describe
from spiking_yolo.studies.export.nir_graph import to_nir


def write(converted: Converted, format: str, path: Path) -> str:
    """Write the network as "nir", "json" or "safetensors", whole or not at all. Returns what was written, in words.

    Raises UserError when NIR cannot express it, or when the system refuses to write.
    """
    layers = f"{len(converted.graph.activations)} layers of neurons, method {converted.recipe.name}"
    if format == "safetensors":
        converted.save(path)
    elif format == "json":
        text = describe(converted)
        with atomic_write(path) as temporary:
            temporary.write_text(text)
    else:
        graph = to_nir(converted)
        import nir

        with atomic_write(path) as temporary:
            nir.write(temporary, graph)
        layers += f", {len(graph.nodes)} NIR nodes"
    return layers
