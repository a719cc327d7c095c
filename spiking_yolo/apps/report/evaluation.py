"""The page of an evaluation: figures over the timesteps, per class, and the photographs that both
networks see differently.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spiking_yolo.apps.evaluate.evaluation import Evaluation
from spiking_yolo.apps.evaluate.tables import Row
from spiking_yolo.apps.report.page import Page, facts, legend, rounded
from spiking_yolo.apps.report.photographs import box_rows, class_ids, photograph, unmatched
from spiking_yolo.data.detection import DetectionSet
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.metrics.bootstrap import Interval
from spiking_yolo.snn.counting import Counts

# Confidence of the boxes that are drawn and compared.
SURE = 0.25
PHOTOGRAPHS = 12  # are shown
PER_PHOTOGRAPH = 300_000  # characters


def evaluation_page(evaluation: Evaluation) -> Page:
    """The page of a finished evaluation. Raises UserError where a photograph of it is gone."""
    table, scorer = evaluation.table, evaluation.scorer
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
    return Page(title, rounded(data))


def _figures(evaluation: Evaluation, name: str, row: Row) -> dict[str, Any]:
    """The main figures with their intervals, and the first one's difference to the ANN."""
    found = evaluation.intervals.get(name, {})
    first = evaluation.scorer.main[0]
    return {
        "figures": {
            f: {"value": row[f], "interval": _ends(found.get(f))} for f in evaluation.scorer.main
        },
        "minus": {
            "value": row[first] - evaluation.table.ann[first],
            "interval": _ends(found.get(f"{first}_minus_ann")),
        },
    }


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
    n = scored["ann"].objects
    return [
        {
            "name": name,
            "n": n[name],
            "ann": ann,
            "steps": [scored[str(t)].per_class[name] for t in steps],
        }
        for name, ann in scored["ann"].per_class.items()
    ]


def _photographs(
    evaluation: Evaluation, steps: Sequence[int]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Those in which the boxes at the last step differ most from the ANN's, and the classes in
    them.
    """
    dataset = evaluation.dataset
    if not isinstance(dataset, DetectionSet):
        return [], {}
    every = [
        (_sure(r.ann), [_sure(r.steps[t].prediction) for t in steps]) for r in evaluation.records
    ]
    differences = [difference(ann, of_steps[-1]) for ann, of_steps in every]
    order = sorted(range(len(every)), key=lambda k: -differences[k])
    chosen = [k for k in order if differences[k] > 0][:PHOTOGRAPHS]
    seen = class_ids(boxes for k in chosen for boxes in (every[k][0], *every[k][1]))
    shown = [
        {
            "name": Path(dataset.samples[k].path).name,
            "image": photograph(dataset.samples[k].image(), PER_PHOTOGRAPH),
            "width": dataset.samples[k].width,
            "height": dataset.samples[k].height,
            "difference": differences[k],
            "ann": box_rows(every[k][0]),
            "boxes": [box_rows(boxes) for boxes in every[k][1]],
        }
        for k in chosen
    ]
    return shown, legend(seen, dataset.classes)


def _sure(boxes: Any) -> Detections:
    return boxes.take(boxes.confidence > SURE)


def difference(ann: Detections, snn: Detections) -> float:
    """How differently two networks see a photograph: the confidences of the boxes that only one of
    them has, summed.
    """
    missed, added = unmatched(ann, snn)
    return float(ann.confidence[missed].sum() + snn.confidence[added].sum())
