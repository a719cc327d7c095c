"""A checkpoint that only Ultralytics can open, opened in a process of its own.

Importing ultralytics sets OpenCV's and torch's threads and print options, replaces functions of Pillow and torch,
writes a settings file and looks up the network; and a pickle can do anything. Here all of that ends with the process,
which is told to keep off the network and hands back tensors and JSON in a temporary folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from .. import cli
from ..errors import UserError
from ..files import sha256
from ..graph import Graph
from ..models.spec import Spec
from ..models.ultralytics import load_ultralytics
from ..tensors import read_safetensors, write_safetensors
from .graph_file import graph_from, graph_metadata
from .trace import trace


def open_apart(path: Path) -> tuple[Graph, Spec, str]:
    """The graph of an Ultralytics checkpoint, its Spec and the SHA-256 of the file. Call only for a trusted file."""
    digest = sha256(path)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "network.safetensors"
        command = [sys.executable, "-P", "-m", __name__, str(path.absolute()), str(output)]
        done = subprocess.run(command, env=environment(folder), capture_output=True, text=True)
        if done.returncode:
            said = (done.stderr.splitlines() or [f"exit status {done.returncode}"])[-1]
            raise UserError(said.removeprefix("error: ") if done.returncode == 2 else f"cannot open {path}: {said}")
        return *read_network(output), digest


def environment(folder: str | Path) -> dict[str, str]:
    """Of a process that imports ultralytics: off the network, quiet, and with its settings file in `folder`."""
    search = [str(cli.ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        "ULTRALYTICS_SAFE_LOAD": "1",  # where Ultralytics knows it, only its own and torch's classes are unpickled
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, search)),
        "YOLO_AUTOINSTALL": "0",
        "YOLO_CONFIG_DIR": str(folder),
        "YOLO_OFFLINE": "1",
        "YOLO_VERBOSE": "false",
    }


def write_network(path: Path, output: Path) -> None:
    """What the other process does: unpickle, trace, and write what `read_network` reads."""
    model, spec = load_ultralytics(path)
    graph = trace(model, torch.zeros(1, 3, spec.height, spec.width))
    write_safetensors(output, graph.tensors, {**graph_metadata(graph), "spec": spec.to_json()})


def read_network(path: Path) -> tuple[Graph, Spec]:
    metadata, tensors = read_safetensors(path)
    copies = {key: value.clone() for key, value in tensors.items()}  # they outlive the file
    return graph_from(metadata, copies), Spec.from_json(metadata["spec"])


if __name__ == "__main__":
    cli.run(lambda: write_network(*map(Path, sys.argv[1:])))
