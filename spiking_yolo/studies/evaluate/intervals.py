"""Bootstrap intervals of a table's rows, of their differences to the ANN, and of those between methods."""

from collections.abc import Mapping

from spiking_yolo.metrics.bootstrap import Interval, Resampling
from spiking_yolo.studies.evaluate.rows import Table
from spiking_yolo.studies.evaluate.scorers import COCO_NAMES

Intervals = dict[str, dict[str, Interval]]


def resamplings(table: Table, n: int, seed: int) -> dict[str, Resampling]:
    """By row, as in table.scored."""
    data = {name: scored.resampled() for name, scored in table.scored.items() if scored.resampled}
    return {name: Resampling.of(one, n, seed) for name, one in data.items()}


def row_intervals(rows: Mapping[str, Resampling]) -> Intervals:
    """Row -> figure -> 95 % interval; "FIGURE_minus_ann" is the paired difference. rows: with one named "ann"."""
    found = {name: intervals(one) for name, one in rows.items()}
    for name in found.keys() - {"ann"}:
        found[name] |= {f"{f}_minus_ann": i for f, i in intervals(rows[name] - rows["ann"]).items()}
    return found


def differences(methods: Mapping[str, Mapping[str, Resampling]]) -> dict[str, Intervals]:
    """Method -> T -> figure -> 95 % interval of the method minus the first method, on the same draws of images.

    methods: rows by method. Of the first there is nothing.
    """
    if not methods:
        return {}
    (_, reference), *others = methods.items()
    return {name: {t: intervals(rows[t] - reference[t]) for t in rows if t.isdecimal()} for name, rows in others}


def intervals(one: Resampling) -> dict[str, Interval]:
    """By figure, named as in a table."""
    return {COCO_NAMES.get(f, f): i for f, i in one.intervals().items()}
