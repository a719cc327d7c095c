"""Ultralytics' detectors (v3u, v5u, v8) as traceable modules. The only place that imports the
package.

The import changes the whole process and opening a checkpoint unpickles, so models/ultralytics.py
calls this elsewhere.
"""

import copy
import ctypes
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
from spiking_yolo.io.names import STRIDE, shown
from spiking_yolo.io.tensors import read_safetensors, write_safetensors
from spiking_yolo.models.spec import HeadSpec, Spec
from spiking_yolo.models.yolo_blocks import FAMILIES, refuse_attention
from spiking_yolo.models.yolo_checkpoint import RawHeads

# Of unshare(2); os has it from Python 3.12 on.
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000
# Bytes of address space, of processor time, bytes of any file.
MEMORY, SECONDS, FILE = 32 << 30, 600, 4 << 30


def confine() -> bool:
    """Give up the network, and what is beyond the limits. Returns whether the network is gone."""
    try:
        import resource
    except ImportError:  # Windows
        return False
    limits = {"AS": MEMORY, "CPU": SECONDS, "FSIZE": FILE, "CORE": 0}
    for name, most in limits.items():
        which = getattr(resource, f"RLIMIT_{name}")
        soft, hard = resource.getrlimit(which)
        allowed = [most, *(limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY)]
        resource.setrlimit(which, (min(allowed), hard))
    unshare = getattr(ctypes.CDLL(None, use_errno=True), "unshare", None)
    return unshare is not None and any(
        unshare(flags) == 0 for flags in (_NEW_USER | _NEW_NETWORK, _NEW_NETWORK)
    )


def main(checkpoint: str, output: str) -> None:
    confine()

    try:
        write_network(Path(checkpoint), Path(output))
    except UserError as error:
        print("error:", shown(" ".join(str(error).splitlines())), file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main(*sys.argv[1:])


def raw_heads(model: Any) -> RawHeads:
    """A DetectionModel up to its head's last convolutions, [N, 4 bins + C, H, W] per stride: a copy
    in which every activation call has its own module, and so its own name, and splits give their
    sizes.
    """
    layers = copy.deepcopy(model.model)
    for module in layers.modules():
        if isinstance(act := getattr(module, "act", None), nn.Module):
            module.act = copy.deepcopy(act)
        if hasattr(module, "forward_split"):  # C2f: iterating over chunks cannot be traced
            module.forward = module.forward_split
    return RawHeads(layers, [layer.f for layer in layers])


def load_ultralytics(path: str | Path) -> tuple[RawHeads, Spec]:
    """The network in eval mode and its Spec, with the checkpoint's class names and input size.
    Unpickles the file.

    Raises UserError for what Ultralytics cannot open, and for what is not a plain detector.
    """
    tasks = require("ultralytics.nn.tasks", "ultralytics")
    try:
        model: Any = tasks.load_checkpoint(str(path))[0]
    except Exception as error:  # Ultralytics raises whatever the file leads to
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"Ultralytics cannot open {path} ({reason}): give a checkpoint of its trainer"
        ) from error
    return adapt(model, model.args.get("imgsz", 640))


def adapt(model: Any, imgsz: int | list[int]) -> tuple[RawHeads, Spec]:
    """Network and Spec of a DetectionModel. imgsz: side or (height, width) in pixels, rounded up to
    whole strides.

    Raises UserError naming the part that cannot be converted.
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
    height, width = (-(-int(side) // STRIDE) * STRIDE for side in _pair(imgsz))
    names = tuple(str(model.names[i]) for i in range(head.nc))
    heads = (HeadSpec("yolov8", classes=head.nc, num=1, bins=head.reg_max),) * head.nl
    return raw_heads(model).eval(), Spec("detect", names, height, width, "letterbox-114", heads)


def _pair(value: int | list[int]) -> list[int]:
    return list(value) if isinstance(value, (list, tuple)) else [value, value]


def open_isolated(path: Path) -> tuple[Graph, Spec]:
    """Graph and Spec of an Ultralytics checkpoint. Call for trusted files only: it unpickles.

    Raises UserError for what cannot be opened or converted.
    """
    with tempfile.TemporaryDirectory() as folder:
        # Ultralytics looks for, or fetches, another file in place of some names, such as
        # yolov5n.pt.
        output, checkpoint = Path(folder) / "network.safetensors", Path(folder) / "checkpoint.pt"
        shutil.copyfile(path, checkpoint)
        command = [
            sys.executable,
            "-P",
            "-m",
            "spiking_yolo.models.ultralytics",
            str(checkpoint),
            str(output),
        ]
        done = subprocess.run(command, env=environment(folder), capture_output=True, text=True)
        if done.returncode:
            said = (done.stderr.splitlines() or [f"exit status {done.returncode}"])[-1]
            said = said.replace(str(checkpoint), str(path))
            raise UserError(
                said.removeprefix("error: ")
                if done.returncode == 2
                else f"cannot open {path}: {said}"
            )
        return read_network(output)


def environment(folder: str | Path) -> dict[str, str]:
    """Environment of a process that imports ultralytics: offline, quiet, its settings file in
    `folder`.
    """
    search = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        # Where Ultralytics knows it, only its own and torch's classes are unpickled.
        "ULTRALYTICS_SAFE_LOAD": "1",
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
    """Graph and Spec from a file of `write_network`. Raises UserError when it is not a safetensors
    file.
    """
    metadata, tensors = read_safetensors(path)
    copies = {key: value.clone() for key, value in tensors.items()}  # they outlive the file
    return graph_from(metadata, copies), Spec.from_json(metadata["spec"])
