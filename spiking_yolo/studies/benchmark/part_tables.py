"""The tables that are printed of a benchmark, one for each part."""

from collections.abc import Mapping
from typing import Any

from spiking_yolo.io.tables import columns


def machine_text(machine: Mapping[str, Any]) -> str:
    return (
        f"{machine['processor']}, {machine['threads']} threads, {machine['capability']}, torch {machine['torch']}. "
        "Ratios are to one forward pass of the ANN beside each run"
    )


def _timed(title: str, rows: Mapping[str, Any]) -> str:
    table = [[title, "ratio", "from", "to", "ms per step", "steps", "s per run"]]
    for name, row in rows.items():
        ratios = row["ratio"], min(row["ratios"]), max(row["ratios"])
        times = f"{row['ms_per_step']:.1f}", str(row["steps"]), f"{row['ms_of_run'] / 1e3:.3g}"
        table.append([name, *(f"{r:.2f}" for r in ratios), *times])
    return columns(table)


def _shares(rows: Mapping[str, Any]) -> str:
    kinds = list(next(iter(rows.values()))["ms_per_step"])
    table = [["ms per step", *kinds, "sum"]]
    for name, row in rows.items():
        times = row["ms_per_step"]
        table.append([name, *(f"{times[kind]:.1f}" for kind in kinds), f"{sum(times.values()):.1f}"])
    return columns(table)


def _memory(peaks: Mapping[str, float | None]) -> str:
    rows = ([name, "unknown" if mb is None else f"{mb:.0f}"] for name, mb in peaks.items())
    return columns([["peak memory of the process", "MB"], *rows])


def _spikingjelly(part: Mapping[str, Any]) -> str:
    if not part:
        return "spikingjelly 2 is not installed: no comparison with it"
    table = [["the same T steps", "times faster", "s per run", "steps"]]
    for name, row in part["runs"].items():
        table.append([name, f"{row['faster']:.2f}", f"{row['ms_of_run'] / 1e3:.3g}", str(row["steps"])])
    return f"against {part['twin']}\n{columns(table)}"


def _video(rows: Mapping[str, Any]) -> str:
    kinds = list(next(iter(rows.values()))["ms_by_kind"])
    table = [["a later frame of", "mean", "median", "10 %", "90 %", "ms", "ANN ms", "frames", "cuts"]]
    times = [["ms per frame", *kinds, "sum"]]
    for name, row in rows.items():
        ratios = row["mean"], row["ratio"], *row["tenths"]
        numbers = f"{row['ms']:.1f}", f"{row['ann_ms']:.1f}", str(row["frames"]), str(row["cuts"])
        table.append([name, *(f"{r:.2f}" for r in ratios), *numbers])
        taken = row["ms_by_kind"].values()
        times.append([name, *(f"{ms:.1f}" for ms in taken), f"{sum(taken):.1f}"])
    return f"{columns(table)}\n\n{columns(times)}"


def _start(rows: Mapping[str, Any]) -> str:
    return columns([["from the call to its end", "s"], *([name, f"{row['s']:.2f}"] for name, row in rows.items())])


TABLES = {
    "machine": machine_text,
    "one_step": lambda rows: _timed("one image, T=1", rows),
    "steps": lambda rows: _timed("one image", rows),
    "batch": lambda rows: _timed("eight images", rows),
    "shares": _shares,
    "memory": _memory,
    "spikingjelly": _spikingjelly,
    "growth": lambda rows: _timed("growth", rows),
    "video": _video,
    "start": _start,
}
