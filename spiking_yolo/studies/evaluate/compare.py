"""One converted network on one dataset, from nothing to the rows of a table: for scripts that compare methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from spiking_yolo.convert.converted import Converted
from spiking_yolo.datasets.detection import DetectionSet
from spiking_yolo.metrics.energy import Costs
from spiking_yolo.snn.options import SimulationOptions
from spiking_yolo.studies.evaluate.detection import DetectionTask
from spiking_yolo.studies.evaluate.engine import Engine, Settings
from spiking_yolo.studies.evaluate.ranks import Ranks
from spiking_yolo.studies.evaluate.records import dataset_call, network_call, run_records
from spiking_yolo.studies.evaluate.rows import Method, Table, table
from spiking_yolo.studies.evaluate.scorers import CocoScorer, Scorer


def evaluate_detector(
    converted: Converted,
    dataset: DetectionSet,
    settings: Settings,
    scorer: Scorer | None = None,
    *,
    thresholds: Mapping[str, float] | None = None,
    costs: Costs | None = None,
    directory: Path | None = None,
    ranks: Ranks | None = None,
    quantised: Mapping[int, Callable[[Tensor], tuple[Tensor, ...]]] | None = None,
    simulation: SimulationOptions = SimulationOptions(),
) -> Table | None:
    """Rows of the ANN and of the spiking network at every step of the settings.

    scorer: COCO's by default. thresholds: as of DetectionTask. directory: keeps the records of finished images, and
    goes on with those of an interrupted call with the same arguments. ranks: this process among those of torchrun; in
    all but the first the answer is None.
    """
    thresholds = dict(thresholds or {})
    task = DetectionTask(converted.spec, dataset, **thresholds)  # type: ignore[arg-type]
    engine = Engine(converted, task, settings, (ranks or Ranks()).device, quantised, simulation)
    call: dict[str, Any] = network_call(converted, engine, dataset_call(dataset), **thresholds)
    records = run_records(engine, call, directory, ranks)
    return table(records, scorer or CocoScorer(dataset), Method.of(converted), costs) if records else None
