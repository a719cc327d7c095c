"""Bootstrap intervals of a table's rows, and of their differences to the ANN."""

import warnings

from spiking_yolo.metrics.bootstrap import Interval, bootstrap, paired_difference
from spiking_yolo.metrics.coco import FIGURES
from spiking_yolo.studies.evaluate.rows import Table
from spiking_yolo.studies.evaluate.scorers import COCO_NAMES

Intervals = dict[str, dict[str, Interval]]


def row_intervals(table: Table, n: int, seed: int) -> Intervals:
    """Row -> figure -> 95 % interval; "FIGURE_minus_ann" is the paired difference. Rows as in table.scored."""
    data = {name: scored.resampled() for name, scored in table.scored.items() if scored.resampled}
    intervals: Intervals = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)  # without objects every draw is nan
        for name, resampled in data.items():
            intervals[name] = {_name(f): i for f, i in bootstrap(resampled, n, seed).items()}
            if name != "ann":
                difference = paired_difference(resampled, data["ann"], n, seed)
                intervals[name] |= {f"{_name(f)}_minus_ann": i for f, i in difference.items()}
    return intervals


def _name(figure: str) -> str:
    return COCO_NAMES.get(figure, figure) if figure in FIGURES else figure
