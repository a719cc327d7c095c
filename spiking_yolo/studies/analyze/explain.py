"""Explain a conversion: where the error of every layer comes from, what the method spends, and what to try."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from spiking_yolo.convert.converted import Converted
from spiking_yolo.io.json_text import write_json
from spiking_yolo.io.tables import write_csv
from spiking_yolo.studies.analyze.cost import MethodCost, method_cost
from spiking_yolo.studies.analyze.diagnosis import diagnose
from spiking_yolo.studies.analyze.layer_table import NOTE, cost_table, layer_table, wrapped
from spiking_yolo.studies.analyze.options import AnalyzeOptions
from spiking_yolo.studies.analyze.run import Analysis, analyze, work
from spiking_yolo.studies.versions import versions


@dataclass(frozen=True)
class Explanation:
    """analysis: of the first method. costs: of all methods, by name, if there are several. diagnosis: sentences."""

    analysis: Analysis
    costs: Mapping[str, MethodCost]
    diagnosis: Sequence[str]
    tolerance: float

    def text(self) -> str:
        """Tables that fit 100 columns, and the diagnosis."""
        parts = [layer_table(self.analysis), NOTE, *([cost_table(self.costs)] if self.costs else [])]
        return "\n\n".join([*parts, wrapped(self.diagnosis)])

    def save(self, folder: Path) -> None:
        """Write layers.csv, analysis.json and the figures."""
        from spiking_yolo.studies.analyze.figures import draw_all

        write_csv(folder / "layers.csv", [layer.row() for layer in self.analysis.layers])
        write_json(folder / "analysis.json", self.content(), indent=1)
        draw_all(self.analysis, self.costs, folder)

    def content(self) -> dict[str, Any]:
        """analysis.json: rows as in layers.csv, SIN ratios of every step, the sampled neurons, and their origin."""
        analysis, sample = self.analysis, self.analysis.sample
        network = analysis.converted
        return {
            "method": analysis.method,
            "recipe": json.loads(network.recipe.to_json()),
            "weights_sha256": network.provenance.get("weights_sha256"),
            "versions": versions(),
            "T": analysis.T,
            "images": [Path(image).name for image in analysis.images],
            "limit": self.tolerance,
            "diagnosis": list(self.diagnosis),
            "output_error": {str(t): error for t, error in analysis.output_error.items()},
            "layers": [
                {**layer.row(), "sin": [layer.sin(t) for t in range(1, layer.T + 1)]} for layer in analysis.layers
            ],
            "sample": {
                "layer": sample.name,
                "activation": sample.activation.tolist(),
                "Theta": sample.top.tolist(),
                "t": sample.t,
                "theta": [values.tolist() for values in sample.theta],
                "potential": [values.tolist() for values in sample.potential],
            },
            "methods": {name: asdict(cost) for name, cost in self.costs.items()},
        }


def explain(
    networks: Mapping[str, Converted],
    photographs: Sequence[str],
    options: AnalyzeOptions = AnalyzeOptions(),  # noqa: B008
    progress: Callable[[str, int, int], Any] = lambda what, done, total: None,
) -> Explanation:
    """Analyse the first network on image files; of several, compare also what each spends and how far it is off.

    networks: by method. progress(what, done, total) is called after each timestep.
    Raises UserError for an unknown layer, a device that is not there, and files that are not images.
    """
    T, device = options.T, options.device
    first = next(iter(networks.values()))
    compared = networks if len(networks) > 1 else {}

    def ticks(what: str, per_image: int) -> Callable[[], Any]:
        done = count(1)
        return lambda: progress(what, next(done), len(photographs) * per_image)

    analysis = analyze(first, photographs, T, options.layer, device, ticks("layers", work(first, T)))
    costs = {name: method_cost(network, photographs, T, device, ticks(name, T)) for name, network in compared.items()}
    return Explanation(analysis, costs, diagnose(analysis, options.tolerance), options.tolerance)
