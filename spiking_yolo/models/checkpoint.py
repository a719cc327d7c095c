"""Checkpoints of networks trained here: safetensors files that hold all that is needed to rebuild them, but no code.

Kernels are stored as float16; vectors (biases, batch norm, thresholds) stay float32, since running variances can
overflow float16. Metadata: format, arch, options, spec and provenance, the last three as JSON.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import atomic_write, sha256
from spiking_yolo.models.classifiers import build
from spiking_yolo.models.spec import Spec
from spiking_yolo.models.yolov1 import YOLOv1

FORMAT = "spiking_yolo-ann"


def build_model(arch: str, spec: Spec, options: Mapping[str, Any]) -> nn.Module:
    """The network that `arch` names, newly initialised. Raises UserError for an unknown name or option."""
    if arch != "yolov1":
        return build(arch, len(spec.names), **options)
    try:
        return YOLOv1(classes=len(spec.names), num=spec.heads[0].num, **options)
    except TypeError as e:
        raise UserError(f"cannot build yolov1: {e}; check the options") from e


def save_checkpoint(
    path: str | Path,
    model: nn.Module,
    arch: str,
    options: Mapping[str, Any],
    spec: Spec,
    provenance: Mapping[str, Any],
) -> None:
    """Write the weights of `model`, which build_model(arch, spec, options) must be able to rebuild.

    provenance: facts about the training that can be written as JSON. The file is written whole or not at all.
    """
    metadata = {
        "format": FORMAT,
        "arch": arch,
        "options": json.dumps(dict(options)),
        "spec": spec.to_json(),
        "provenance": json.dumps(dict(provenance)),
    }
    with atomic_write(path) as temporary:
        save_file({k: _compact(v) for k, v in model.state_dict().items()}, temporary, metadata)


def load_checkpoint(path: str | Path) -> tuple[nn.Module, Spec, str]:
    """The network in eval mode with float32 weights, its Spec, and the file's SHA-256.

    Raises UserError when the file is missing, damaged or not written by save_checkpoint.
    """
    digest = sha256(path)
    metadata, tensors = _read(path)
    try:
        spec = Spec.from_json(metadata["spec"])
        model = build_model(metadata["arch"], spec, json.loads(metadata["options"]))
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError) as e:
        reason = str(e).splitlines()[0]
        raise UserError(f"{path} does not describe a network ({reason}): train or fetch it again") from e
    return model.float().eval(), spec, digest


def read_provenance(path: str | Path) -> dict[str, Any]:
    """The `provenance` given to save_checkpoint. Raises UserError as load_checkpoint does."""
    return json.loads(_read(path)[0].get("provenance", "{}"))


def _compact(tensor: Tensor) -> Tensor:
    wanted = torch.float16 if tensor.is_floating_point() and tensor.ndim > 1 else tensor.dtype
    return tensor.detach().to("cpu", wanted).contiguous()


def _read(path: str | Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as f:
            metadata = f.metadata() or {}
            tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as e:
        raise UserError(f"{path} is no readable safetensors file ({e}): check the path") from e
    if metadata.get("format") != FORMAT:
        raise UserError(f"{path} is no network of tools/train.py: pass a file that it wrote")
    return metadata, tensors
