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
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spiking_yolo.errors import UserError, require
from spiking_yolo.graph import Graph
from spiking_yolo.graph.graph import graph_from, graph_metadata
from spiking_yolo.graph.trace import trace
from spiking_yolo.io.names import STRIDE, printable
from spiking_yolo.io.tensors import read_safetensors, write_safetensors
from spiking_yolo.models.spec import HeadSpec, Spec
from spiking_yolo.models.yolo_blocks import FAMILIES, refuse_attention
from spiking_yolo.models.yolo_checkpoint import RawHeads


def open_isolated(path: Path) -> tuple[Graph, Spec]:
    """Graph and Spec of an Ultralytics checkpoint. Call for trusted files only: it unpickles.

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
            [sys.executable, "-P", "-m", module, str(checkpoint), str(output)],
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


def load_ultralytics(path: str | Path) -> tuple[RawHeads, Spec]:
    """The network in eval mode and its Spec. Unpickles the file.

    Raises:
        UserError: Ultralytics cannot open it, or it is not a plain detector.
    """
    tasks = require("ultralytics.nn.tasks", "ultralytics")
    try:
        model: Any = tasks.load_checkpoint(str(path))[0]
    except Exception as error:  # Ultralytics raises whatever the file leads to
        lines = str(error).splitlines() or [type(error).__name__]
        raise UserError(
            f"Ultralytics cannot open {path} ({lines[0]}): give a checkpoint of its trainer"
        ) from error
    return adapt(model, model.args.get("imgsz", 640))


def adapt(model: Any, imgsz: int | list[int]) -> tuple[RawHeads, Spec]:
    """Network and Spec of a DetectionModel.

    Args:
        model: An ultralytics.nn.tasks.DetectionModel.
        imgsz: Side, or (height, width), in pixels; rounded up to whole strides.

    Raises:
        UserError: A part cannot be converted; names it.
    """
    head = model.model[-1] if isinstance(getattr(model, "model", None), nn.Sequential) else model
    if type(head).__name__ != "Detect" or getattr(head, "one2one_cv2", None) is not None:
        raise UserError(
            f"node 'model.{getattr(head, 'i', '')}' ({type(head).__name__}) is not the plain"
            " detection head of v3u, v5u and v8: give a checkpoint of one of them, trained for the"
            " task detect"
        )
    if getattr(model, "yaml", {}).get("channels", 3) != 3 or head.stride.max() > STRIDE:
        raise UserError(
            f"only RGB networks with strides up to {STRIDE} can be converted: give one without P6"
        )
    for name, module in model.named_modules():
        refuse_attention(type(module).__name__, name)
    sides = imgsz if isinstance(imgsz, (list, tuple)) else (imgsz, imgsz)
    height, width = (-(-int(side) // STRIDE) * STRIDE for side in sides)
    names = tuple(str(model.names[i]) for i in range(head.nc))
    heads = (HeadSpec("yolov8", classes=head.nc, num=1, bins=head.reg_max),) * head.nl
    return raw_heads(model).eval(), Spec("detect", names, height, width, "letterbox-114", heads)


def raw_heads(model: Any) -> RawHeads:
    """A DetectionModel up to its head's last convolutions, [N, 4 bins + C, H, W] per stride.

    A copy in which every activation call has its own module, and so its own name.
    """
    layers = copy.deepcopy(model.model)
    for module in layers.modules():
        if isinstance(act := getattr(module, "act", None), nn.Module):
            module.act = copy.deepcopy(act)
        # C2f: iterating over chunks cannot be traced, splits say their sizes.
        if hasattr(module, "forward_split"):
            module.forward = module.forward_split
    return RawHeads(layers, [layer.f for layer in layers])


def write_network(path: Path, output: Path) -> None:
    """Run in the separate process: unpickle, trace, and write a file for `read_network`."""
    model, spec = load_ultralytics(path)
    try:
        graph = trace(model, torch.zeros(1, 3, spec.height, spec.width))
    except UserError as error:
        raise UserError(f"{error}; {FAMILIES}") from error
    write_safetensors(output, graph.tensors, {**graph_metadata(graph), "spec": spec.to_json()})


def read_network(path: Path) -> tuple[Graph, Spec]:
    """Graph and Spec from a file of `write_network`. Raises UserError if it is not safetensors."""
    metadata, tensors = read_safetensors(path)
    # Copies, which outlive the file.
    copies = {key: value.clone() for key, value in tensors.items()}
    return graph_from(metadata, copies), Spec.from_json(metadata["spec"])


if __name__ == "__main__":
    try:
        write_network(Path(sys.argv[1]), Path(sys.argv[2]))
    except UserError as error:
        print("error:", printable(" ".join(str(error).splitlines())), file=sys.stderr)
        sys.exit(2)
