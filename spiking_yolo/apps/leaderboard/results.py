"""The results.json files of a leaderboard, read and checked, and which row of several counts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from spiking_yolo.apps.leaderboard.fields import Fields
from spiking_yolo.errors import UserError
from spiking_yolo.io.json import fits, read_json_file
from spiking_yolo.io.names import label, size_name

RESULTS = "results.json"
# From the most operations to the fewest.
COUNTINGS = ("spikes", "digits", "messages")
# What figures that were rounded may differ by.
ROUNDING = 1.01


@dataclass(frozen=True)
class Score:
    """AP at an IoU of 0.5, and its mean over 0.5 to 0.95, as fractions."""

    ap50: float
    ap: float


@dataclass(frozen=True)
class Step:
    """A spiking network after T steps.

    Attributes:
        T: Timesteps.
        score: Of all images.
        interval: 95 % interval of its AP50 minus the ANN's, None without a bootstrap.
        operations: Synaptic operations per image, by counting.
    """

    T: int
    score: Score
    interval: tuple[float, float] | None
    operations: Mapping[str, float]


@dataclass(frozen=True)
class Run:
    """A results.json.

    Attributes:
        source: The file.
        dataset: Its name, as `eval` gives it.
        rule: "COCO" or "VOC", by which AP50 is computed; for VOC it is mAP_area.
        network: Name of the weights file without its suffix.
        size: Of the input, such as "416" or "288x416".
        method: Its name.
        remark: Of the method, such as "weights tuned without labels".
        n: Images.
        seed: Drew them, and the bootstrap.
        day: Of the run, as in "2026-11-28".
        sha256: Of the weights, "" where the file does not say.
        recipe: Settings of the method, by slot; empty where the file does not say.
        ann: Scores of the ANN; None for a network that was trained as a spiking one.
        macs: Multiply-accumulates of the ANN per image.
        steps: At every T.
    """

    source: Path
    dataset: str
    rule: str
    network: str
    size: str
    method: str
    remark: str
    n: int
    seed: int
    day: str
    sha256: str
    recipe: Mapping[str, Any]
    ann: Score | None
    macs: float
    steps: tuple[Step, ...]

    def had_before(self, step: Step) -> bool:
        """Whether an earlier step has the same figures: the network had settled by then."""
        earlier = [other for other in self.steps if other.T < step.T]
        return any(replace(other, T=step.T) == step for other in earlier)


class Key(NamedTuple):
    """What a leaderboard has one row of."""

    dataset: str
    rule: str
    network: str
    size: str
    method: str
    T: int


def read_runs(sources: Iterable[Path]) -> list[Run]:
    """The runs of files, and of all results.json files inside of folders.

    Raises:
        UserError: A file is missing, is no results.json of a detector, or lacks a field.
    """
    files: dict[Path, None] = {}
    for source in sources:
        inside = sorted(source.rglob(RESULTS)) if source.is_dir() else [source]
        if not inside:
            raise UserError(f"{source} has no {RESULTS} inside: give a folder that `eval` wrote")
        files |= dict.fromkeys(inside)
    return [read_run(file) for file in files]


def read_run(path: Path) -> Run:
    """A results.json of `eval`, or one that somebody wrote in its format.

    Raises:
        UserError: It cannot be read, or is no such file; says which field is wrong.
    """
    content = read_json_file(path, f"a {RESULTS} of eval")
    if not isinstance(content, dict) or not {"ann", "steps"} <= content.keys():
        raise UserError(f"{path} is no {RESULTS} of eval, which has ann and steps: give another")
    fields = Fields(path, content)
    ann = Fields(path, fields.get("ann", dict[str, Any]), "ann.")
    if "top1" in ann.content:
        raise UserError(f"{path} is of a classifier, which has no AP: leave it out")
    rows = fields.get("steps", list[dict[str, Any]])
    if not rows:
        raise fields.wrong("steps", "is empty")
    rule = "VOC" if any("mAP_area" in row for row in rows) else "COCO"
    size = fields.get("imgsz", list[int])
    if len(size) != 2 or min(size) < 1:
        raise fields.wrong("imgsz", "is not [height, width]")
    day = fields.get("date", str)
    try:
        date.fromisoformat(day)
    except ValueError:
        raise fields.wrong("date", "is no date like 2026-11-28") from None
    macs = ann.number("macs", float, 1)
    steps: list[Step] = []
    for i, row in enumerate(rows):
        steps.append(_step(Fields(path, row, f"steps[{i}]."), rule, macs))
    if len({step.T for step in steps}) < len(steps):
        raise fields.wrong("steps", "has one T twice")
    network = Path(fields.text("weights")).stem
    if not network:
        raise fields.wrong("weights", "is not the name of a file")
    return Run(
        source=path,
        dataset=fields.text("dataset"),
        rule=rule,
        network=network,
        size=size_name((size[0], size[1])),
        method=fields.text("method"),
        remark=label(fields.get("remark", str, "")),
        n=fields.number("images", int, 1),
        seed=fields.number("seed", int, 0),
        day=day,
        sha256=fields.get("weights_sha256", str | None, None) or "",
        recipe=fields.get("recipe", dict[str, Any], {}),
        ann=_score(ann, rule) if _figure(rule) in ann.content else None,
        macs=macs,
        steps=tuple(steps),
    )


def _step(row: Fields, rule: str, macs: float) -> Step:
    operations: dict[str, float] = {}
    for counting in COUNTINGS:
        operations[counting] = row.number(f"sops_per_mac_{counting}", float, 0) * macs
    counted = list(operations.values())
    if any(fewer > ROUNDING * more for more, fewer in pairwise(counted)):
        raise row.wrong("sops_per_mac_*", "are not spikes >= digits >= messages")
    return Step(
        T=row.number("T", int, 1),
        score=_score(row, rule),
        interval=_interval(row, f"{_figure(rule)}_minus_ann"),
        operations=operations,
    )


def _score(row: Fields, rule: str) -> Score:
    ap50 = row.number(_figure(rule), float, 0, 1)
    return Score(ap50, row.number("mAP50-95", float, 0, 1))


def _figure(rule: str) -> str:
    return "mAP_area" if rule == "VOC" else "mAP50"


def _interval(row: Fields, name: str) -> tuple[float, float] | None:
    intervals = row.get("interval_95", dict[str, Any], {})
    if name not in intervals:
        return None
    ends = intervals[name]
    if not fits(ends, list[float]) or len(ends) != 2 or not -1 <= ends[0] <= ends[1] <= 1:
        raise row.wrong(f"interval_95.{name}", "is not [low, high], fractions")
    return ends[0], ends[1]


def best_rows(runs: Sequence[Run]) -> dict[Key, tuple[Run, Step]]:
    """One row per key: of several that with the most images, then the latest, then the smallest
    seed.

    Raises:
        UserError: Two files contradict each other.
    """
    check_networks(runs)
    chosen: dict[Key, tuple[Run, Step]] = {}
    for run in runs:
        for step in run.steps:
            key = Key(run.dataset, run.rule, run.network, run.size, run.method, step.T)
            before = chosen.setdefault(key, (run, step))
            if _rank(before[0]) == _rank(run) and before[1] != step:
                raise UserError(
                    f"{before[0].source} and {run.source} contradict each other: other figures for"
                    f" {run.method} at T={step.T}, n={run.n}, seed={run.seed}, {run.day}: leave one"
                    " out"
                )
            if _rank(run) > _rank(before[0]):
                chosen[key] = (run, step)
    return chosen


def _rank(run: Run) -> tuple[int, date, int]:
    return run.n, date.fromisoformat(run.day), -run.seed


def check_networks(runs: Sequence[Run]) -> None:
    """Check that one name stands for one network and, of each network, for one method.

    Raises:
        UserError: Two files give other weights, MACs or settings to one name.
    """
    networks: dict[tuple[str, str], Run] = {}
    methods: dict[tuple[str, str, str], Run] = {}
    for run in runs:
        other = networks.setdefault((run.network, run.size), run)
        known = {run.sha256, other.sha256} - {""}
        if len(known) > 1 or run.macs != other.macs:
            raise UserError(
                f"{other.source} and {run.source} contradict each other: two networks are called"
                f" {run.network}; rename the weights of one, or leave it out"
            )
        other = methods.setdefault((run.network, run.size, run.method), run)
        if run.recipe and other.recipe and run.recipe != other.recipe:
            raise UserError(
                f"{other.source} and {run.source} contradict each other: {run.method} with other"
                f" {_difference(run.recipe, other.recipe)}; give one a recipe with a name of its"
                " own, or leave it out"
            )


def _difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """The first setting that two recipes do not share, such as "neuron.gamma"."""
    for slot in sorted(a.keys() | b.keys()):
        one = a.get(slot)
        two = b.get(slot)
        if one == two:
            continue
        if isinstance(one, dict) and isinstance(two, dict):
            key = next(k for k in sorted(one.keys() | two.keys()) if one.get(k) != two.get(k))
            return f"{slot}.{key}"
        return slot
    return "settings"
