"""A torchvision classifier from the user's state dict, with the preprocessing of its ImageNet weights."""

from pathlib import Path

import torch
from torch import Tensor, nn

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import sha256
from spiking_yolo.io.names import reason
from spiking_yolo.models.classifiers import TORCHVISION, build
from spiking_yolo.models.load_darknet import class_names
from spiking_yolo.models.spec import Spec

SIZE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def load_torchvision(weights: str | Path, arch: str, names: str | Path | None = None) -> tuple[nn.Module, Spec, str]:
    """The network in eval mode, its Spec and the SHA-256 of the weights.

    arch: "torchvision:NAME". names: a file of class names, by default <stem>.names beside the weights; without one,
    classes are numbered. Raises UserError for an unknown network and for weights that are not its state dict.
    """
    digest = sha256(weights)
    state = read_state_dict(weights)
    classes = len(next(value for value in reversed(state.values()) if value.ndim))  # bias of the last layer
    with torch.device("meta"):
        model = build(arch, classes)
    try:
        model.load_state_dict(state, assign=True)
    except RuntimeError as e:
        raise UserError(f"{weights} is no state dict of {arch.removeprefix(TORCHVISION)}: {reason(e)}") from e
    known = class_names(Path(weights), names, classes)
    return model.float().eval(), Spec("classify", known, SIZE, SIZE, "crop", mean=MEAN, std=STD), digest


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict saved by torch.save without executing code. Raises UserError for anything else."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # torch.load raises whatever the damage leads to
        raise UserError(f"{path} is no state dict ({reason(e)}): pass what torch.save(model.state_dict()) wrote") from e
    if not isinstance(state, dict) or not any(isinstance(v, Tensor) and v.ndim for v in state.values()):
        raise UserError(f"{path} holds no tensors by name: pass what torch.save(model.state_dict()) wrote")
    tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    if sum(value.numel() for value in tensors.values()) > Path(path).stat().st_size:  # expanded ones take no memory yet
        raise UserError(f"{path} says that it holds more numbers than it has bytes: fetch it again")
    return tensors
