"""The page of an evaluation: figures over the timesteps and per class, and the photographs in which
the boxes of both networks differ most.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spiking_yolo.apps.evaluate.evaluation import Evaluation
from spiking_yolo.apps.evaluate.tables import Row
from spiking_yolo.apps.report.page import facts, report_page, rounded
from spiking_yolo.data.detection import DetectionSet
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.draw.page import Page, box_rows, class_ids, legend, photograph
from spiking_yolo.metrics.bootstrap import Interval
from spiking_yolo.metrics.matching import unmatched
from spiking_yolo.snn.counting import Counts

# Confidence of the boxes that are drawn and compared.
SURE = 0.25
# So many are shown, each of at most so many characters.
PHOTOGRAPHS = 12
PER_PHOTOGRAPH = 300_000


def evaluation_page(evaluation: Evaluation) -> Page:
    """The page of a finished evaluation.

    Raises:
        UserError: A photograph of it is gone.
    """
    table = evaluation.table
    scorer = evaluation.scorer
    steps = [row["T"] for row in table.steps]
    photographs, classes = _photographs(evaluation, steps)
    data = {
        "kind": "evaluation",
        **facts(evaluation.network, evaluation.accounts),
        "dataset": evaluation.dataset.name,
        "images": len(evaluation.dataset),
        "ofImages": evaluation.of_images,
        "notes": list(evaluation.dataset.notes),
        "figures": list(scorer.main),
        "measure": scorer.names[1],
        "T": steps[-1],
        "steps": steps,
        "macs": table.ann["macs"],
        "ann": {
            "row": _figures(evaluation, "ann", table.ann),
            "energy": _energy(evaluation, table.ann),
        },
        "baseline": [
            {"bits": row["bits"], **_figures(evaluation, f"{row['bits']} bit", row)}
            for row in table.baseline
        ],
        "rows": [_spiking(evaluation, row) for row in table.steps],
        "perClass": _per_class(evaluation, steps),
        "sure": SURE,
        "photographs": photographs,
        "classes": classes,
    }
    title = (
        f"{data['network']} as a spiking network, on {len(evaluation.dataset)} images of"
        f" {evaluation.dataset.name}"
    )
    return report_page(title, rounded(data))


def _figures(evaluation: Evaluation, name: str, row: Row) -> dict[str, Any]:
    """The main figures with their intervals, and the first one's difference to the ANN."""
    intervals = evaluation.intervals.get(name, {})
    figures: dict[str, Any] = {}
    for figure in evaluation.scorer.main:
        figures[figure] = {"value": row[figure], "interval": _ends(intervals.get(figure))}
    first = evaluation.scorer.main[0]
    minus = {
        "value": row[first] - evaluation.table.ann[first],
        "interval": _ends(intervals.get(f"{first}_minus_ann")),
    }
    return {"figures": figures, "minus": minus}


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


def _energy(evaluation: Evaluation, row: Row) -> dict[str, float]:
    return {account.key: row[account.energy] for account in evaluation.accounts}


def _spiking(evaluation: Evaluation, row: Row) -> dict[str, Any]:
    return {
        **_figures(evaluation, str(row["T"]), row),
        "error": row["output_error"],
        "spikes": row["spikes_per_image"],
        "operations": {counting: row[f"sops_per_mac_{counting}"] for counting in Counts._fields},
        "energy": _energy(evaluation, row),
    }


def _per_class(evaluation: Evaluation, steps: Sequence[int]) -> list[dict[str, Any]]:
    scored = evaluation.table.scored
    objects = scored["ann"].objects
    rows: list[dict[str, Any]] = []
    for name, ann in scored["ann"].per_class.items():
        by_step = [scored[str(t)].per_class[name] for t in steps]
        rows.append({"name": name, "n": objects[name], "ann": ann, "steps": by_step})
    return rows


def _photographs(
    evaluation: Evaluation, steps: Sequence[int]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The photographs in which the boxes at the last step differ most from the ANN's, and the
    legend of the classes in them.
    """
    dataset = evaluation.dataset
    if not isinstance(dataset, DetectionSet):
        return [], {}
    pairs: list[tuple[float, int]] = []
    for k, record in enumerate(evaluation.records):
        score = difference(_sure(record.ann), _sure(record.steps[steps[-1]].prediction))
        if score > 0:
            pairs.append((-score, k))
    photographs: list[dict[str, Any]] = []
    classes: set[int] = set()
    for negative, k in sorted(pairs)[:PHOTOGRAPHS]:
        record, sample = evaluation.records[k], dataset.samples[k]
        ann = _sure(record.ann)
        by_step = [_sure(record.steps[t].prediction) for t in steps]
        classes |= class_ids([ann, *by_step])
        photographs.append(
            {
                "name": Path(sample.path).name,
                "image": photograph(sample.image(), PER_PHOTOGRAPH),
                "width": sample.width,
                "height": sample.height,
                "difference": -negative,
                "ann": box_rows(ann),
                "boxes": [box_rows(boxes) for boxes in by_step],
            }
        )
    return photographs, legend(classes, dataset.classes)


def _sure(boxes: Any) -> Detections:
    """The boxes that are drawn and compared."""
    return boxes.take(boxes.confidence > SURE)


def difference(ann: Detections, snn: Detections) -> float:
    """Sum of the confidences of the boxes that only one of two networks has."""
    missed, added = unmatched(ann, snn)
    return float(ann.confidence[missed].sum() + snn.confidence[added].sum())
