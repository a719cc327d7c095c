"""Checkpoints whose layers are not known here, opened by Ultralytics in a process of its own.

The only place that imports the package: importing it changes the whole process, and opening a
checkpoint unpickles it. `python -m spiking_yolo.models.ultralytics CHECKPOINT OUTPUT` is the
process; it writes the traced network as data.
"""

import copy
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spiking_yolo.errors import Notice, UserError, require
from spiking_yolo.graph import Graph
from spiking_yolo.graph.graph import graph_from, graph_metadata
from spiking_yolo.graph.trace import trace
from spiking_yolo.io.json import entry, json_text
from spiking_yolo.io.names import printable
from spiking_yolo.io.tensors import read_safetensors, write_safetensors
from spiking_yolo.models.checkpoint_file import Record, stand_in
from spiking_yolo.models.spec import Spec
from spiking_yolo.models.yolo_builder import FAMILIES, Builder
from spiking_yolo.models.yolo_checkpoint import RawHeads, network_of


def open_isolated(path: Path, head: str | None = None) -> tuple[Graph, Spec]:
    """Graph and Spec of an Ultralytics checkpoint. Call for trusted files only: it unpickles.

    head: See `read_checkpoint`.

    Raises:
        UserError: The file cannot be opened or converted.
    """
    with tempfile.TemporaryDirectory() as folder:
        # A copy under another name: Ultralytics opens or fetches another file in place of some
        # names, such as yolov5nu.pt for yolov5n.pt.
        checkpoint = Path(folder) / "checkpoint.pt"
        shutil.copyfile(path, checkpoint)
        output = Path(folder) / "network.safetensors"
        module = "spiking_yolo.models.ultralytics"
        process = subprocess.run(
            [sys.executable, "-P", "-m", module, str(checkpoint), str(output), head or ""],
            env=environment(folder),
            capture_output=True,
            text=True,
        )
        if process.returncode:
            lines = process.stderr.splitlines() or [f"exit status {process.returncode}"]
            message = lines[-1].replace(str(checkpoint), str(path))
            if process.returncode == 2:
                raise UserError(message.removeprefix("error: "))
            raise UserError(f"cannot open {path}: {message}")
        return read_network(output)


def environment(folder: str | Path) -> dict[str, str]:
    """Environment in which ultralytics is offline and quiet, with its settings in `folder`."""
    search = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        # Releases that support it unpickle only their own and torch's classes.
        "ULTRALYTICS_SAFE_LOAD": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, search)),
        "YOLO_AUTOINSTALL": "0",
        "YOLO_CONFIG_DIR": str(folder),
        "YOLO_OFFLINE": "1",
        "YOLO_VERBOSE": "false",
    }


def load_ultralytics(path: str | Path, head: str | None = None) -> tuple[RawHeads, Spec]:
    """The network in eval mode and its Spec. Unpickles the file.

    Raises:
        UserError: Ultralytics cannot open it, or it is no detector.
    """
    tasks = require("ultralytics.nn.tasks", "ultralytics")
    try:
        model: Any = tasks.load_checkpoint(str(path))[0]
    except Exception as error:  # Ultralytics raises whatever the file leads to
        lines = str(error).splitlines() or [type(error).__name__]
        raise UserError(
            f"Ultralytics cannot open {path} ({lines[0]}): give a checkpoint of its trainer"
        ) from error
    return adapt(model, head)


def adapt(model: nn.Module, head: str | None = None) -> tuple[RawHeads, Spec]:
    """Network and Spec of a DetectionModel: our blocks where they are known, its own elsewhere.

    Args:
        model: An ultralytics.nn.tasks.DetectionModel.
        head: See `read_checkpoint`.

    Raises:
        UserError: It is no detector.
    """
    return network_of(_record(model), Builder(_own_copy), head)


def _record(module: nn.Module) -> Record:
    """What a checkpoint would hold of a module; `args` holds the module itself."""
    kind = type(module)
    record = stand_in(f"{kind.__module__}.{kind.__qualname__}")(module)
    children: dict[str, Record] = {}
    for name, child in module._modules.items():
        if child is not None:
            children[name] = _record(child)
    record.state = {**vars(module), "_modules": children}
    return record


def _own_copy(record: Record) -> nn.Module:
    """A copy of Ultralytics' module, made ready for tracing.

    Every activation call has its own module, and so its own name.
    """
    (module,) = record.args
    copied = copy.deepcopy(module)
    for inner in copied.modules():
        if isinstance(act := getattr(inner, "act", None), nn.Module):
            inner.act = copy.deepcopy(act)
        # Iterating over chunks cannot be traced, splits say their sizes.
        if hasattr(inner, "forward_split"):
            inner.forward = inner.forward_split
    return copied


def write_network(path: Path, output: Path, head: str | None = None) -> None:
    """Run in the separate process: unpickle, trace, and write a file for `read_network`."""
    with warnings.catch_warnings(record=True) as notices:
        warnings.simplefilter("always")
        model, spec = load_ultralytics(path, head)
    try:
        graph = trace(model, torch.zeros(1, 3, spec.height, spec.width))
    except UserError as error:
        raise UserError(f"{error}; {FAMILIES}") from error
    said = [str(notice.message) for notice in notices if notice.category is Notice]
    metadata = {"spec": spec.to_json(), "notices": json_text(said)}
    write_safetensors(output, graph.tensors, {**graph_metadata(graph), **metadata})


def read_network(path: Path) -> tuple[Graph, Spec]:
    """Graph and Spec from a file of `write_network`. Raises UserError if it is not safetensors."""
    metadata, tensors = read_safetensors(path)
    # Copies, which outlive the file.
    copies = {key: value.clone() for key, value in tensors.items()}
    for said in entry(metadata, "notices", list[str]):
        warnings.warn(Notice(said), stacklevel=2)
    return graph_from(metadata, copies), Spec.from_json(metadata["spec"])


if __name__ == "__main__":
    try:
        write_network(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] or None)
    except UserError as error:
        print("error:", printable(" ".join(str(error).splitlines())), file=sys.stderr)
        sys.exit(2)
