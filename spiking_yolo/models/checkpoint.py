"""Checkpoints of networks trained here: safetensors files that hold all that is needed to rebuild them, but no code.

Kernels are stored as float16; vectors (biases, batch norm, thresholds) stay float32, since running variances can
overflow float16. Metadata: format, arch, options, spec and provenance, the last three as JSON.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spiking_yolo.errors import UserError
from spiking_yolo.io.assets import command
from spiking_yolo.io.files import sha256
from spiking_yolo.io.json_text import json_text
from spiking_yolo.io.names import reason
from spiking_yolo.io.tensors import read_safetensors, write_safetensors
from spiking_yolo.io.typed_json import entry
from spiking_yolo.models.check import check_spec
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
        "options": json_text(dict(options)),
        "spec": spec.to_json(),
        "provenance": json_text(dict(provenance)),
    }
    write_safetensors(path, {k: _compact(v) for k, v in model.state_dict().items()}, metadata)


def load_checkpoint(path: str | Path) -> tuple[nn.Module, Spec, str]:
    """The network in eval mode with float32 weights, its Spec, and the file's SHA-256.

    Raises UserError when the file is missing, damaged or not written by save_checkpoint.
    """
    digest = sha256(path)
    metadata, tensors = read_safetensors(path)
    if metadata.get("format", "").startswith("spiking_yolo-network"):
        raise UserError(f"{path} is already converted: give the original weights")
    if metadata.get("format") != FORMAT:
        raise UserError(f"{path} is no network of `{command('train')}`: pass a file that it wrote")
    try:
        spec = Spec.from_json(metadata["spec"])
        check_spec(spec)
        with torch.device("meta"):  # whatever the file says, it takes no more memory than its tensors
            model = build_model(metadata["arch"], spec, entry(metadata, "options", dict[str, Any]))
        model.load_state_dict(tensors, assign=True)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        raise UserError(f"{path} does not describe a network ({reason(e)}): train or fetch it again") from e
    return model.float().eval(), spec, digest


def _compact(tensor: Tensor) -> Tensor:
    wanted = torch.float16 if tensor.is_floating_point() and tensor.ndim > 1 else tensor.dtype
    return tensor.to("cpu", wanted)
