"""The results.json of a small evaluation, as `eval` writes it."""

import json
from pathlib import Path
from typing import Any


def results(**changes: Any) -> dict[str, Any]:
    """A results.json with other values for some keys; None leaves a key out."""
    steps = [
        {
            "T": T,
            "mAP50": 0.2 * T,
            "mAP50-95": 0.1 * T,
            "sops_per_mac_spikes": 1.0 * T,
            "sops_per_mac_digits": 0.5 * T,
            "sops_per_mac_messages": 0.25 * T,
        }
        for T in (1, 2)
    ]
    content = {
        "dataset": "val2017",
        "images": 8,
        "seed": 0,
        "weights": "tiny.weights",
        "weights_sha256": "12",
        "imgsz": [416, 416],
        "method": "p-norm",
        "recipe": {"name": "p-norm", "neuron": {"gamma": 1}},
        "date": "2026-11-28",
        "ann": {"mAP50": 0.5, "mAP50-95": 0.3, "macs": 2e9},
        "steps": steps,
        **changes,
    }
    return {key: value for key, value in content.items() if value is not None}


def write_results(path: Path, **changes: Any) -> Path:
    """Write `results(**changes)`; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results(**changes)))
    return path
