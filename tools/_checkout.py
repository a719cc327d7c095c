"""Puts this checkout's package before an installed one; what the other files here import."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from spiking_yolo.cli import main as tool

__all__ = ["tool"]
