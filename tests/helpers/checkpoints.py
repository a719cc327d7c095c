"""What a checkpoint says about its training, and Ultralytics in a process of its own."""

import json
import os
from pathlib import Path
from typing import Any

from spiking_yolo.io.tensors import read_safetensors


def read_provenance(path: str | Path) -> dict[str, Any]:
    """The `provenance` given to save_checkpoint."""
    return json.loads(read_safetensors(path)[0]["provenance"])


def ultralytics_environment(folder: str | Path) -> dict[str, str]:
    """Environment in which ultralytics is offline and quiet, with its settings in `folder`."""
    search = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(search),
        "YOLO_AUTOINSTALL": "0",
        "YOLO_CONFIG_DIR": str(folder),
        "YOLO_OFFLINE": "1",
        "YOLO_VERBOSE": "false",
    }
