"""Reading what a checkpoint says about its training."""

import json
from pathlib import Path
from typing import Any

from spiking_yolo.io.tensors import read_safetensors


def read_provenance(path: str | Path) -> dict[str, Any]:
    """The `provenance` given to save_checkpoint."""
    return json.loads(read_safetensors(path)[0]["provenance"])
