"""Open an Ultralytics checkpoint in a separate process.

Importing ultralytics sets OpenCV's and torch's threads and print options, patches Pillow and torch, writes a settings
file and looks for the network; and a pickle can do anything that the user can. What it does to the process ends with
it; models/confined.py says what it is kept from. It hands back tensors and JSON in a temporary folder.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph
from spiking_yolo.graph.serialise import graph_from, graph_metadata
from spiking_yolo.graph.trace import trace
from spiking_yolo.io.tensors import read_safetensors, write_safetensors
from spiking_yolo.models.spec import Spec
from spiking_yolo.models.ultralytics import load_ultralytics
from spiking_yolo.models.yolo_blocks import FAMILIES


def open_isolated(path: Path) -> tuple[Graph, Spec]:
    """Graph and Spec of an Ultralytics checkpoint. Call for trusted files only: it unpickles.

    Raises UserError for what cannot be opened or converted.
    """
    with tempfile.TemporaryDirectory() as folder:
        # Ultralytics looks for, or fetches, another file in place of some names, such as yolov5n.pt.
        output, checkpoint = Path(folder) / "network.safetensors", Path(folder) / "checkpoint.pt"
        shutil.copyfile(path, checkpoint)
        command = [sys.executable, "-P", "-m", "spiking_yolo.models.confined", str(checkpoint), str(output)]
        done = subprocess.run(command, env=environment(folder), capture_output=True, text=True)
        if done.returncode:
            said = (done.stderr.splitlines() or [f"exit status {done.returncode}"])[-1]
            said = said.replace(str(checkpoint), str(path))
            raise UserError(said.removeprefix("error: ") if done.returncode == 2 else f"cannot open {path}: {said}")
        return read_network(output)


def environment(folder: str | Path) -> dict[str, str]:
    """Environment of a process that imports ultralytics: offline, quiet, its settings file in `folder`."""
    search = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "ULTRALYTICS_SAFE_LOAD": "1",  # where Ultralytics knows it, only its own and torch's classes are unpickled
        "PYTHONPATH": os.pathsep.join(filter(None, search)),
        "YOLO_AUTOINSTALL": "0",
        "YOLO_CONFIG_DIR": str(folder),
        "YOLO_OFFLINE": "1",
        "YOLO_VERBOSE": "false",
    }


def write_network(path: Path, output: Path) -> None:
    """Run in the separate process: unpickle, trace, and write a file for `read_network`."""
    model, spec = load_ultralytics(path)
    try:
        graph = trace(model, torch.zeros(1, 3, spec.height, spec.width))
    except UserError as error:
        raise UserError(f"{error}; {FAMILIES}") from error
    write_safetensors(output, graph.tensors, {**graph_metadata(graph), "spec": spec.to_json()})


def read_network(path: Path) -> tuple[Graph, Spec]:
    """Graph and Spec from a file of `write_network`. Raises UserError when it is not a safetensors file."""
    metadata, tensors = read_safetensors(path)
    copies = {key: value.clone() for key, value in tensors.items()}  # they outlive the file
    return graph_from(metadata, copies), Spec.from_json(metadata["spec"])
