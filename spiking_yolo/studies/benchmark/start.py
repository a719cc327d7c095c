"""How long the command takes before it does anything: to print its help, and to refuse a file that is not there."""

import subprocess
import sys
import time
from statistics import median

CALLS = {"help": ("detect", "--help"), "missing file": ("detect", "no-such-file.jpg")}


def start(repeats: int) -> dict[str, dict[str, float]]:
    """Call -> "s", the median of so many runs in a process of its own."""
    return {name: {"s": median(_seconds(call) for _ in range(repeats))} for name, call in CALLS.items()}


def _seconds(call: tuple[str, ...]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "spiking_yolo.cli", *call], capture_output=True, check=False)
    return time.perf_counter() - began
